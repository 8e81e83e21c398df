"""Clips from own videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.layouts.folder import FolderVideos
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.modules.base import ClipDataModule, check_least
from vos_zoo.data.modules.options import CACHE_BYTES, check_area, existing_root, held_back
from vos_zoo.data.modules.sets import video_clips
from vos_zoo.errors import ConfigError


class FolderDataModule(ClipDataModule):
    """Clips from own videos, of which a few frames may be annotated.

    ``root`` holds ``videos/NAME.mp4`` (or a folder ``videos/NAME`` of frames) and ``masks/NAME/*.png``, named like
    their frames. Clips are made of annotated frames; if a video has fewer than a clip, frames occur twice, under
    different motion. Validation scores the annotated frames of whole videos: those of ``validation_names``, which are
    then not trained on, or all.

    Args:
        root: Folder that holds ``videos`` and ``masks``.
        video_names: Videos to train on; null means all but those of ``validation_names``.
        paste: Whether cut-out objects of the videos move over the clips.
        is_chained: Whether the added motion follows a random walk; false draws it for each frame, as in the papers.
        still: Share of clips that repeat one annotated frame, so that all movement is added, in 0-1.
        crop_area: Range of the area of crops, as share of the frame. Objects are seen as large as in use if the area is
            that of the crops when videos are segmented.
        frames_folder: Where annotated frames of video files are kept; null means ``.frames`` in ``root``.
        cache_bytes: Limit of decoded frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        video_names: list[str] | None = None,
        paste: bool = False,
        is_chained: bool = True,
        still: float = 0.0,
        crop_area: tuple[float, float] = (0.36, 1.0),
        frames_folder: str | None = None,
        cache_bytes: int = CACHE_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_least("cache_bytes", cache_bytes, 0)
        if not 0 <= still <= 1:
            raise ConfigError(f"still is {still}. Expected a share of the clips, from 0 to 1.")
        check_area(crop_area)
        self.root = Path(root)
        self.video_names = video_names
        self.paste = paste
        self.is_chained = is_chained
        self.still = still
        self.crop_area = crop_area
        self.frames_folder = frames_folder
        self.cache_bytes = cache_bytes

    def prepare_data(self) -> None:
        """Write the annotated frames of video files, once per machine, before training starts."""
        self._training_videos().keep_frames()

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The videos alone."""
        clips = video_clips(self._training_videos(), 1, self.paste, self.is_chained)
        return [(replace(clips, still=self.still, area=self.crop_area), 1.0)]

    def own_validation_videos(self) -> AnnotatedVideos | None:
        """The videos of ``validation_names``, or all."""
        return self._videos(names=self.validation_names, cache_bytes=0)

    def _training_videos(self) -> FolderVideos:
        return self._videos(names=self.video_names, without=held_back(self), cache_bytes=self.cache_bytes)

    def _videos(self, **options: Any) -> FolderVideos:
        return FolderVideos(existing_root(self.root), frames_folder=self.frames_folder, **options)
