"""Clips from BL30K."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.clips.from_videos import VideoClips
from vos_zoo.data.clips.motion import CHAINED_VIDEO, PAPER_VIDEO
from vos_zoo.data.layouts.bl30k import Bl30kVideos
from vos_zoo.data.modules.base import ClipDataModule, check_least
from vos_zoo.data.modules.options import CACHE_BYTES, existing_root


class BL30KDataModule(ClipDataModule):
    """Clips from the rendered videos of BL30K.

    Args:
        root: Folder into which the archives were unpacked, all or some of the parts a to f, or the folder that holds
            it as ``bl30k``.
        is_chained: Whether the added motion follows a random walk; false draws it for each frame, as in the papers.
        cache_bytes: Limit of decoded frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.

    Source: Cheng et al., "Modular Interactive Video Object Segmentation", CVPR 2021; crops and choice of objects as in
        the released settings of STCN and RDE-VOS.
    """

    def __init__(self, root: str, *, is_chained: bool = False, cache_bytes: int = CACHE_BYTES, **options: Any) -> None:
        super().__init__(**options)
        check_least("cache_bytes", cache_bytes, 0)
        self.root = Path(root)
        self.is_chained = is_chained
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The videos alone."""
        folder = existing_root(self.root)
        videos = Bl30kVideos(folder / "bl30k" if (folder / "bl30k").is_dir() else folder, cache_bytes=self.cache_bytes)
        motion = CHAINED_VIDEO if self.is_chained else PAPER_VIDEO
        return [(VideoClips(videos, motion=motion, area=(0.25, 1.0), drops_growing=True), 1.0)]
