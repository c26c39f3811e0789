"""Where label maps come from: stores, Zarr metadata, readers, and layouts (which array is which image)."""
