"""Scores what a job needs from its reference, once, and stores it."""
