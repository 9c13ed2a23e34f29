"""The endpoints that clients ask, a file for each part of the protocol."""
