"""The segpipe command and what it prints."""
