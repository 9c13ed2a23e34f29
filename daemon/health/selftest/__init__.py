"""The work of `prefd selftest`: checks of models, each in a worker, and checks of the system with a daemon of their own."""
