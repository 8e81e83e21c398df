"""Clips from packed videos, read from front to back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.data.clips.dataset import ClipDataset, ClipSource
from vos_zoo.data.clips.in_order import ClipsInOrder
from vos_zoo.data.layouts.packed import PackedVideos
from vos_zoo.data.modules.base import ClipDataModule
from vos_zoo.data.modules.options import existing_root
from vos_zoo.data.modules.sets import video_clips


class PackedDataModule(ClipDataModule):
    """Clips from the shards that ``vos-zoo data pack`` makes, for data on slow or distant disks.

    Shards are read from front to back, in an order drawn for each pass over the data. Every video gives one clip before
    any gives its second one, whatever the number of devices, and over the ends of epochs too. With a
    ``samples_per_epoch`` that batches and devices divide evenly an epoch leaves out no clip.

    Args:
        root: Folder of the shards.
        video_names: Videos to train on; null means all.
        frame_step: Filmed frames per annotated frame, on top of what each video says.
        is_chained: Whether the added motion follows a random walk; false draws it for each frame, as in the papers.
        options: Arguments of :class:`ClipDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        video_names: list[str] | None = None,
        frame_step: int = 1,
        is_chained: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.video_names = video_names
        self.frame_step = frame_step
        self.is_chained = is_chained

    def new_dataset(self) -> ClipDataset:
        """Clips in the order of the shards."""
        videos = self._open()
        clips = video_clips(videos, self.frame_step, paste=False, is_chained=self.is_chained)
        return ClipsInOrder(clips, videos, self.settings, seed=self.seed, length=self.samples_per_epoch)

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The videos alone, drawn in any order."""
        return [(video_clips(self._open(), self.frame_step, paste=False, is_chained=self.is_chained), 1.0)]

    def _open(self) -> PackedVideos:
        return PackedVideos(existing_root(self.root), names=self.video_names, cache_bytes=0)
