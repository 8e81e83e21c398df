"""One video at a time: sessions, readers, writers and overlays."""
