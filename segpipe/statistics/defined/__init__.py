"""Statistics that come with segpipe: one file each, found by the registry."""
