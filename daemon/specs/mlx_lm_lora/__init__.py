"""Flat configurations of mlx-lm-lora, translated to specs."""
