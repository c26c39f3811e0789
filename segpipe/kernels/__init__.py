"""Counting pixels: NumPy arrays in, small NumPy arrays out."""
