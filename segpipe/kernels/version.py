"""The version of everything that decides a count; part of the key of partial counts."""

COUNTING_VERSION = 1
"""Raise it when the same pixels would be counted otherwise: every dataset is then counted again."""
