"""Models and adapters: found, identified, checked, loaded."""
