"""Training clips from videos, images and generated shapes."""
