"""Clips from images with masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.configs import check_type
from vos_zoo.data.clips.compositing import PasteSettings
from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.clips.from_pictures import StaticImageClips
from vos_zoo.data.clips.motion import CHAINED_STATIC, PAPER_STATIC, MotionRange
from vos_zoo.data.layouts.pictures import ImageMaskPairs
from vos_zoo.data.modules.base import ClipDataModule, check_least
from vos_zoo.data.modules.options import check_repeats, existing_root, paste_settings
from vos_zoo.data.modules.sets import PictureSet
from vos_zoo.errors import ConfigError


class StaticImagesDataModule(ClipDataModule):
    """Clips synthesised from images with masks.

    Args:
        root: Folder that contains ``pairs/``, or the folder of the pairs itself: plain files or zip shards.
        sets: Sets of images below the root, of which every image is equally likely except for its ``repeat``; null
            means the pairs alone.
        paste: Whether cut-out objects move over the clips, or how.
        is_chained: Whether frames follow a random walk; false draws the motion of each frame on its own, as in the
            papers.
        motion: How far frames move; null means the ranges of STCN and RDE-VOS, or steps alike with ``is_chained``.
        pair_sources: Sources of the pairs to use, as in their index; null means all.
        held_back: Number of pairs that are never trained on, chosen by their names, so that they can measure.
        options: Arguments of :class:`ClipDataModule`.

    Raises:
        ConfigError: If an argument is out of range or of another type.
    """

    def __init__(
        self,
        root: str,
        *,
        sets: list[PictureSet] | None = None,
        paste: bool | PasteSettings = True,
        is_chained: bool = True,
        motion: MotionRange | None = None,
        pair_sources: list[str] | None = None,
        held_back: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for number, entry in enumerate(sets or []):
            check_type(f"sets[{number}]", entry, PictureSet)
        check_repeats([entry.repeat for entry in sets or []])
        if sets is not None and (pair_sources is not None or held_back):
            name = "held_back" if pair_sources is None else "pair_sources"
            raise ConfigError(f"Both sets and {name} are given. Expected one: {name} chooses among pairs.")
        check_least("held_back", held_back, 0)
        self.root = Path(root)
        self.sets = sets
        self.paste = paste_settings(paste)
        check_type("motion", motion, MotionRange)
        self.motion = motion or (CHAINED_STATIC if is_chained else PAPER_STATIC)
        self.pair_sources = pair_sources
        self.held_back = held_back

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The sets, each weighted by its number of images and its ``repeat``."""
        folder = existing_root(self.root)
        if self.sets is None:
            pairs = ImageMaskPairs(
                folder / "pairs" if (folder / "pairs").exists() else folder,
                sources=self.pair_sources,
                held_back=self.held_back,
            )
            return [(StaticImageClips(pairs, self.motion, paste=self.paste), 1.0)]
        opened = [(entry.open(folder), entry.repeat) for entry in self.sets]
        return [
            (StaticImageClips(pictures, self.motion, paste=self.paste), len(pictures) * repeat)
            for pictures, repeat in opened
        ]
