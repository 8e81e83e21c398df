"""Implementations of the memory read, one file each, and the choice among them."""
