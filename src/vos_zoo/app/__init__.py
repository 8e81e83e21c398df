"""The web page: point at objects of a video, track them, correct, download. Needs the extra ``app``."""
