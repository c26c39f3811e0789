"""Scores of summed counts: pure functions of arrays of shape (..., K)."""
