"""Draws answers with mlx-lm's own generation, for clients of `prefd serve` and while a policy trains."""
