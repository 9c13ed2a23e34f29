"""The endpoints that the page's own process alone serves: they need more memory, or more libraries, than the daemon has."""
