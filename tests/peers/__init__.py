"""The tools that others use, in an environment of their own: `make test-peers`."""
