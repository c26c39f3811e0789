"""The files that people and programs read: JSON, CSV, Parquet, Markdown."""
