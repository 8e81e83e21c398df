"""Frames, masks, videos and images: reading, writing, drawing."""
