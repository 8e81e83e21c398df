"""One folder per paper, and ``load_model``."""
