"""The kinds of reports, one file each; a new file here is found by the registry."""
