"""The checks of `prefd selftest` that need a model: one a file, found by this folder."""
