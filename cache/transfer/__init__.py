"""Caches as archives: exported, imported, unpacked."""
