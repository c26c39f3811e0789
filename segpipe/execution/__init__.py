"""Where tasks run: Dask clusters or threads, and the loop that drives them."""
