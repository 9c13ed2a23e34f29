"""Finds, identifies, checks and loads models and adapters."""
