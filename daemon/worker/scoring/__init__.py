"""Computes log-probabilities of completions: which run together, and how."""
