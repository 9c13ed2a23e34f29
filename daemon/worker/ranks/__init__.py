"""Ranks: several worker processes that share one job's passes. The first is the job's worker; the others do what it tells them."""
