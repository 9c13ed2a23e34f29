"""`prefd serve` speaks to Tinker clients: it accepts what they ask, journals it, and has workers do it."""
