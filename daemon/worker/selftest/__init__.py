"""What `prefd selftest` measures of models, in a worker: a file in `checks` for each check."""
