"""What `prefd selftest` does: checks of models, each in a worker, and checks of the system with a daemon of their own."""
