"""The socket over which commands talk to the daemon: the server, who may connect, the client."""
