"""The stages of an evaluation as plain functions, and the record of a run."""
