"""Data modules of Lightning, one file each."""
