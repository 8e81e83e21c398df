"""Clips from DAVIS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.modules.base import ClipDataModule, check_least
from vos_zoo.data.modules.options import CACHE_BYTES, existing_root
from vos_zoo.data.modules.sets import video_clips


class DAVISDataModule(ClipDataModule):
    """Clips from annotated videos in DAVIS layout.

    Validation runs on the same root if ``validation_set`` is given without ``validation_root``.

    Args:
        root: Folder that contains ``JPEGImages/`` and ``Annotations/``, as plain folders or in zip shards.
        resolution: Folder below those two: ``480p`` or ``Full-Resolution``.
        image_set: List of training videos below ``ImageSets/``, for example ``2017/train``; null means all videos.
        merges_objects: Whether all objects of a video count as one, as in DAVIS 2016.
        frame_step: Filmed frames per listed frame: 1 if every frame is there, 5 if every fifth is.
        paste: Whether cut-out objects of other videos move over the clips.
        is_chained: Whether the added motion follows a random walk; false draws it for each frame, as in the papers.
        cache_bytes: Limit of decoded frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        resolution: str = "480p",
        image_set: str | None = None,
        merges_objects: bool = False,
        frame_step: int = 1,
        paste: bool = False,
        is_chained: bool = False,
        cache_bytes: int = CACHE_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_least("frame_step", frame_step, 1)
        check_least("cache_bytes", cache_bytes, 0)
        self.root = Path(root)
        self.resolution = resolution
        self.image_set = image_set
        self.merges_objects = merges_objects
        self.frame_step = frame_step
        self.paste = paste
        self.is_chained = is_chained
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The videos alone."""
        videos = self._videos(image_set=self.image_set, cache_bytes=self.cache_bytes)
        return [(video_clips(videos, self.frame_step, self.paste, self.is_chained), 1.0)]

    def own_validation_videos(self) -> AnnotatedVideos | None:
        """The videos of ``validation_set``, if it is given."""
        if self.validation_set is None:
            return None
        return self._videos(image_set=self.validation_set, names=self.validation_names, min_frames=2, cache_bytes=0)

    def _videos(self, **options: Any) -> DavisVideos:
        return DavisVideos(
            existing_root(self.root), resolution=self.resolution, merges_objects=self.merges_objects, **options
        )
