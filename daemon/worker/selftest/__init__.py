"""The part of `prefd selftest` that measures models, in a worker: a file in `checks` for each check."""
