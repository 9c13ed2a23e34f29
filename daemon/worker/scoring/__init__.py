"""Log-probabilities of completions: what is computed together, and how."""
