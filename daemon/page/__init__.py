"""The page: `prefd web` serves what a browser shows of a home, from a process of its own."""
