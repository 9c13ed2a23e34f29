"""Holds what plugins import. Import the module you need (`prefd.plugins.types`, `prefd.plugins.hookspecs`).

Nothing is imported here: the daemon reads `prefd.plugins.schema`, and must stay without mlx.
"""
