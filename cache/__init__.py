"""The reference-logprob store: numpy and zarr, no model library."""
