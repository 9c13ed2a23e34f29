"""The home folder: where each thing lies in it, its settings, its lock."""
