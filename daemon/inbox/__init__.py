"""The watched folder: specs that are dropped there are noticed, claimed, and moved to accepted or rejected."""
