"""The metrics, one small function each; a new file here is found by the registry."""
