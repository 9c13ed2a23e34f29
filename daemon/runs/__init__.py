"""A job's folder on disk: the frozen spec, metrics, the worker's log, checkpoints."""
