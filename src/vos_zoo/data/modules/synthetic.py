"""Generated clips."""

from __future__ import annotations

from typing import Any

from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.clips.shapes import MovingShapes
from vos_zoo.data.modules.base import ClipDataModule


class SyntheticDataModule(ClipDataModule):
    """Generated moving shapes; needs no file.

    Args:
        options: Arguments of :class:`ClipDataModule`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """Moving shapes alone."""
        return [(MovingShapes(), 1.0)]
