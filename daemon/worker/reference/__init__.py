"""The reference's part: what is needed of it, scored once and stored."""
