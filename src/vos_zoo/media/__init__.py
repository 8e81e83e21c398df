"""Frames, masks, videos and pictures: reading, writing, drawing."""
