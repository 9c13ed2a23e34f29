"""The daemon, its commands and its workers. Only `prefd.daemon.worker` imports mlx."""
