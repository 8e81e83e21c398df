"""One video at a time: the session around a network."""
