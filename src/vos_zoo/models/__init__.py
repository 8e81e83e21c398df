"""One folder per paper, and the two contracts they share."""
