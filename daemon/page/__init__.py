"""The page: `prefd web`, which serves what a browser shows of a home, from a process of its own."""
