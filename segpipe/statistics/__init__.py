"""Statistics: what is summed over pixels, and what a window must hold for it."""
