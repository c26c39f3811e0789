"""Writing label maps to Zarr."""
