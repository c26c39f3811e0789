"""What is to be read and counted: inventory, alignment, buckets, keys, memory and cost."""
