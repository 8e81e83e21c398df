"""Clips from images, videos and shapes, mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vos_zoo.configs import check_type
from vos_zoo.data.clips.colour import STATIC_FRAME_COLOUR, VIDEO_FRAME_COLOUR, ColourRange
from vos_zoo.data.clips.compositing import PasteSettings
from vos_zoo.data.clips.dataset import ClipSource
from vos_zoo.data.clips.from_pictures import StaticImageClips
from vos_zoo.data.clips.from_videos import VideoClips
from vos_zoo.data.clips.motion import CHAINED_STATIC, CHAINED_VIDEO, PAPER_STATIC, PAPER_VIDEO, MotionRange
from vos_zoo.data.clips.shapes import MovingShapes
from vos_zoo.data.layouts.pictures import ImageMaskPairs, LabelledPictures
from vos_zoo.data.modules.base import ClipDataModule, check_least
from vos_zoo.data.modules.options import CACHE_BYTES, check_area, check_repeats, part_of_root, paste_settings
from vos_zoo.data.modules.sets import VideoSet
from vos_zoo.errors import ConfigError


class MixedDataModule(ClipDataModule):
    """Clips from images with masks, from annotated videos and from generated shapes, mixed by weight.

    Args:
        root: Folder that contains ``pairs/`` (images with masks), ``train/`` (videos in DAVIS layout), or both; each
            holds plain files or zip shards.
        pairs_weight: Share of clips from images.
        videos_weight: Share of clips from videos.
        shapes_weight: Share of generated clips.
        video_sets: Sets of videos below the root. Every video is equally likely except for its set's ``repeat``; null
            means ``train/`` alone.
        paste: Whether cut-out objects move over the clips, or how.
        is_chained: Whether frames follow a random walk; false draws the motion of each frame on its own, as in the
            papers.
        pair_motion: How far frames of images move; null means the ranges of STCN and RDE-VOS, or steps alike with
            ``is_chained``.
        video_motion: How far frames of videos move, on top of what was filmed; null likewise.
        frame_colour: How light, colour and sharpness change from frame to frame; null means the ranges of STCN and
            RDE-VOS, which differ between images and videos.
        crop_area: Range of the area of crops from videos, as share of the frame.
        has_one_gap: Whether all neighbours of a video clip are equally far apart, instead of one draw for each.
        reverses: Whether every second video clip runs backwards.
        frame_step: Filmed frames per listed frame of ``train/``.
        pair_sources: Sources of images to use, as in the index; null means all.
        video_names: Videos of ``train/`` to train on; null means all.
        cache_bytes: Limit of decoded video frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.

    Raises:
        ConfigError: If an argument is out of range or of another type, or if ``frame_step`` or ``video_names``
            stand beside ``video_sets``.
    """

    def __init__(
        self,
        root: str,
        *,
        pairs_weight: float = 0.5,
        videos_weight: float = 0.5,
        shapes_weight: float = 0.0,
        video_sets: list[VideoSet] | None = None,
        paste: bool | PasteSettings = True,
        is_chained: bool = True,
        pair_motion: MotionRange | None = None,
        video_motion: MotionRange | None = None,
        frame_colour: ColourRange | None = None,
        crop_area: tuple[float, float] = (0.36, 1.0),
        has_one_gap: bool = False,
        reverses: bool = True,
        frame_step: int = 1,
        pair_sources: list[str] | None = None,
        video_names: list[str] | None = None,
        cache_bytes: int = CACHE_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        weights = (pairs_weight, videos_weight, shapes_weight)
        if min(weights) < 0 or sum(weights) <= 0:
            raise ConfigError(
                f"pairs_weight, videos_weight and shapes_weight are {weights}. Expected none below 0 and at least "
                "one above."
            )
        check_least("frame_step", frame_step, 1)
        check_least("cache_bytes", cache_bytes, 0)
        if video_sets is not None and (frame_step != 1 or video_names is not None):
            raise ConfigError(
                "frame_step or video_names is given beside video_sets. Expected them inside of the sets, where they "
                "are called frame_step and names."
            )
        self.video_sets = [VideoSet(names=video_names, frame_step=frame_step)] if video_sets is None else video_sets
        for number, entry in enumerate(self.video_sets):
            check_type(f"video_sets[{number}]", entry, VideoSet)
        check_repeats([entry.repeat for entry in self.video_sets])
        self.root = Path(root)
        self.weights = weights
        check_area(crop_area)
        self.paste = paste_settings(paste)
        check_type("pair_motion", pair_motion, MotionRange)
        check_type("video_motion", video_motion, MotionRange)
        check_type("frame_colour", frame_colour, ColourRange)
        self.pair_motion = pair_motion or (CHAINED_STATIC if is_chained else PAPER_STATIC)
        self.video_motion = video_motion or (CHAINED_VIDEO if is_chained else PAPER_VIDEO)
        self.frame_colour = frame_colour
        self.crop_area = crop_area
        self.has_one_gap = has_one_gap
        self.reverses = reverses
        self.pair_sources = pair_sources
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The sources with a weight above 0.

        Raises:
            MissingFileError: If the root is missing.
            DataError: If one of its folders is missing or holds nothing usable.
        """
        pairs_weight, videos_weight, shapes_weight = self.weights
        sources: list[tuple[ClipSource, float]] = []
        pairs = None
        if pairs_weight > 0:
            pairs = ImageMaskPairs(part_of_root(self.root, "pairs", "pairs_weight"), sources=self.pair_sources)
            clips = StaticImageClips(
                pairs, self.pair_motion, paste=self.paste, frame_colour=self.frame_colour or STATIC_FRAME_COLOUR
            )
            sources.append((clips, pairs_weight))
        if videos_weight > 0:
            sources += self._video_sources(videos_weight, pairs)
        if shapes_weight > 0:
            sources.append((MovingShapes(), shapes_weight))
        return sources

    def _video_sources(self, weight: float, pairs: LabelledPictures | None) -> list[tuple[ClipSource, float]]:
        for entry in self.video_sets:
            part_of_root(self.root, entry.path, "videos_weight")
        # The sets are drawn from one at a time, so that the cache's limit is shared out.
        share = self.cache_bytes // len(self.video_sets)
        opened = [entry.open(self.root, share) for entry in self.video_sets]
        counts = [len(videos) * entry.repeat for videos, entry in zip(opened, self.video_sets, strict=True)]
        clips = [
            VideoClips(
                videos,
                entry.frame_step,
                self.video_motion,
                self.crop_area,
                paste=self.paste,
                pairs=pairs,
                has_one_gap=self.has_one_gap,
                reverses=self.reverses,
                frame_colour=self.frame_colour or VIDEO_FRAME_COLOUR,
            )
            for videos, entry in zip(opened, self.video_sets, strict=True)
        ]
        return [(source, weight * count / sum(counts)) for source, count in zip(clips, counts, strict=True)]
