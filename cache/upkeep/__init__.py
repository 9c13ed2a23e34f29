"""What keeps a cache in order: verify, compact, prune, rescue, strays."""
