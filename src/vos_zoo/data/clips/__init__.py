"""Training clips from videos, pictures and generated shapes."""
