"""The conventions, a file for each family of tools; a new file here is found by the registry."""
