"""Trains a policy: the loop, its optimizer, schedule, metrics, checkpoints."""
