"""The checks of `prefd selftest` that need no model library here: one a file, found by this folder."""
