"""Answers questions about specs that are being written, one after the other, in a process that keeps what it has loaded."""
