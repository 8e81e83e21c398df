"""Clips of single objects of YouTube-VOS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.clips.from_objects import ObjectClips
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.data.modules.base import ClipDataModule, check_least
from vos_zoo.data.modules.options import CACHE_BYTES, existing_root
from vos_zoo.errors import MissingFileError


class ObjectsDataModule(ClipDataModule):
    """Clips that follow one object of YouTube-VOS at a time through the frames that ``meta.json`` lists for it.

    Frames are resized as a whole to ``crop_size``. A batch is as long as the shortest of its clips.

    Args:
        root: Data root.
        path: Folder of the split below it, with ``JPEGImages/``, ``Annotations/`` and ``meta.json``.
        without: Text file that names videos to leave out, one a line, relative to the data root or the working
            directory; null means none.
        samples_per_epoch: Clips per epoch, all devices together; null means as many as there are objects in all videos.
        cache_bytes: Limit of decoded frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.

    Source: training of HS2S, Azimi et al., 2020, as released.
    """

    def __init__(
        self,
        root: str,
        *,
        path: str = "youtube-vos/train",
        without: str | None = None,
        samples_per_epoch: int | None = None,
        cache_bytes: int = CACHE_BYTES,
        **options: Any,
    ) -> None:
        # Until the videos are opened, one batch stands for all objects.
        super().__init__(samples_per_epoch=samples_per_epoch or options.get("batch_size", 8), **options)
        check_least("cache_bytes", cache_bytes, 0)
        self.root = Path(root)
        self.path = path
        self.without = without
        self.is_one_pass = samples_per_epoch is None
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The objects of all videos."""
        folder = existing_root(self.root) / self.path
        videos = YouTubeVosVideos(
            folder.parent, split=folder.name, without=self._left_out(), min_frames=2, cache_bytes=self.cache_bytes
        )
        clips = ObjectClips(videos)
        if self.is_one_pass:
            self.samples_per_epoch = len(clips.objects)
        return [(clips, 1.0)]

    def _left_out(self) -> list[str]:
        if self.without is None:
            return []
        for path in (self.root / self.without, Path(self.without)):
            if path.is_file():
                return path.read_text(encoding="utf-8").split()
        raise MissingFileError(
            f"There is no file {self.without!r} in the data root or the working directory. Expected the names of the "
            "videos to leave out, one a line; write it, or set `--data.without null`."
        )
