"""How annotated videos and pictures lie on disk, one file per layout."""
