"""A run's metrics as columns that are read once, and as series that a chart can draw without losing an extreme."""
