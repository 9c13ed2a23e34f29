"""The daemon process itself: its start and end, the admission of specs, its logs and notices to the system."""
