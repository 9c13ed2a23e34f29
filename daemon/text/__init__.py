"""Reading and writing text: sizes, times, wording, YAML, JSON, and what is said of a mistake."""
