"""How annotated videos and images lie on disk, one file per layout."""
