"""Masks as folders of images: black and white per object, and cut-outs with transparency."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame

__all__ = ["BinaryMaskExporter", "CutoutExporter"]


class BinaryMaskExporter(Exporter):
    """One folder per object, named by its id; in it, one grey PNG per frame: 255 inside, 0 outside."""

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        path.mkdir()
        for object_id in video.objects:
            (path / str(object_id)).mkdir()

    def write(self, frame: ResultFrame) -> None:
        """Write one image per object, all black where the object is not visible."""
        for object_id in self.video.objects:
            _write_png(self.path / str(object_id) / f"{frame.name}.png", frame.opacity(object_id))

    def close(self) -> None:
        """Do nothing: every file is complete."""


class CutoutExporter(Exporter):
    """One RGBA PNG per frame: the objects as they look, everything else transparent and black."""

    needs_images = True

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        path.mkdir()

    def write(self, frame: ResultFrame) -> None:
        """Write the image; pixels that cannot be seen keep no colours either."""
        opacity = frame.opacity()
        colours = frame.image * (opacity > 0).astype(np.uint8)[..., None]
        _write_png(self.path / f"{frame.name}.png", np.dstack([colours, opacity]))

    def close(self) -> None:
        """Do nothing: every file is complete."""


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    content = io.BytesIO()  # Pillow writing to a full disk does not say that it is full
    Image.fromarray(pixels).save(content, format="PNG", compress_level=3)
    path.write_bytes(content.getvalue())
