"""The `prefd service` commands."""
