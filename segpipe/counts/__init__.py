"""Counts on disk: partial counts by key, and the results dataset."""
