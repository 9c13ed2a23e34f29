"""The `prefd cache` commands, a file for each subject."""
