"""Laws of planning: buckets, keys, read amplification, the plan on disk."""
