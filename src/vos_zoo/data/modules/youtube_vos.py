"""Clips from YouTube-VOS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.data.modules.base import ClipDataModule, check_least
from vos_zoo.data.modules.options import CACHE_BYTES, existing_root, held_back
from vos_zoo.data.modules.sets import video_clips


class YouTubeVOSDataModule(ClipDataModule):
    """Clips from YouTube-VOS, 2018 or 2019: the archives of both years have one layout.

    The official validation set keeps its masks to itself, so ``validation_names`` may hold back training videos: they
    are scored on every fifth frame and never trained on.

    Args:
        root: Folder that contains ``train/``.
        split: Folder of the training videos, with ``JPEGImages/``, ``Annotations/`` and ``meta.json``.
        video_names: Videos to train on; null means all but those of ``validation_names``.
        all_frames: Whether whole videos are read from ``<split>_all_frames``; training clips hold annotated frames,
            every fifth, either way.
        paste: Whether cut-out objects of other videos move over the clips.
        is_chained: Whether the added motion follows a random walk; false draws it for each frame, as in the papers.
        cache_bytes: Limit of decoded frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        split: str = "train",
        video_names: list[str] | None = None,
        all_frames: bool = False,
        paste: bool = False,
        is_chained: bool = False,
        cache_bytes: int = CACHE_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_least("cache_bytes", cache_bytes, 0)
        self.root = Path(root)
        self.split = split
        self.video_names = video_names
        self.all_frames = all_frames
        self.paste = paste
        self.is_chained = is_chained
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The videos alone."""
        videos = YouTubeVosVideos(
            existing_root(self.root),
            split=self.split,
            names=self.video_names,
            without=held_back(self),
            cache_bytes=self.cache_bytes,
        )
        return [(video_clips(videos, 1, self.paste, self.is_chained), 1.0)]

    def own_validation_videos(self) -> AnnotatedVideos | None:
        """The videos of ``validation_names``, if they are given."""
        if self.validation_names is None:
            return None
        return YouTubeVosVideos(
            existing_root(self.root),
            split=self.split,
            all_frames=self.all_frames,
            names=self.validation_names,
            min_frames=2,
            cache_bytes=0,
        )
