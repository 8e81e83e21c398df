"""Lightning data modules, one for each layout of training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from vos_zoo.data.base import ClipDataModule as ClipDataModule
from vos_zoo.data.base import check_least
from vos_zoo.data.bl30k import Bl30kVideos
from vos_zoo.data.clips import ClipSource
from vos_zoo.data.davis import DavisVideos
from vos_zoo.data.folder import FolderVideos
from vos_zoo.data.layers import PasteSettings
from vos_zoo.data.motion import CHAINED_STATIC, CHAINED_VIDEO, PAPER_STATIC, PAPER_VIDEO, MotionRange
from vos_zoo.data.pictures import CocoInstances, ImageMaskPairs, LabelledPictures
from vos_zoo.data.static_images import StaticImageClips
from vos_zoo.data.synthetic import MovingShapes
from vos_zoo.data.video_clips import VideoClips
from vos_zoo.data.videos import AnnotatedVideos
from vos_zoo.data.youtube_vos import YouTubeVosVideos
from vos_zoo.errors import ConfigError, DataError, MissingFileError

_CACHE_BYTES = 512 * 2**20


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


@dataclass(frozen=True)
class PictureSet:
    """One of several sets of pictures with masks.

    Attributes:
        path: Folder of the pictures, relative to the data root.
        masks: Folder of the masks, relative to the data root; null means beside the pictures.
        annotations: COCO file with instance annotations, relative to the data root, instead of mask files.
        repeat: How often each picture of the set counts.
    """

    path: str
    masks: str | None = None
    annotations: str | None = None
    repeat: float = 1.0

    def open(self, root: Path) -> LabelledPictures:
        """Open the set.

        Raises:
            MissingFileError: If the folder or the file does not exist.
            DataError: If it holds no usable picture.
        """
        if self.annotations is not None:
            return CocoInstances(root / self.path, root / self.annotations)
        return ImageMaskPairs(root / self.path, masks=None if self.masks is None else root / self.masks)


class StaticImagesDataModule(ClipDataModule):
    """Clips synthesised from pictures with masks.

    Args:
        root: Folder that contains ``pairs/``, or the folder of the pairs itself: plain files or zip shards.
        sets: Sets of pictures below the root, of which every picture is equally likely but for its ``repeat``; null
            means the pairs alone.
        paste: Whether cut-out objects move over the clips, or how.
        is_chained: Whether frames follow a random walk; false draws the motion of each frame on its own, as in the
            papers.
        motion: How far frames move; null means the ranges of STCN and RDE-VOS, or steps alike with ``is_chained``.
        pair_sources: Sources of the pairs to use, as in their index; null means all.
        options: Arguments of :class:`ClipDataModule`.

    Raises:
        ConfigError: If an argument is out of range.
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
        **options: Any,
    ) -> None:
        super().__init__(**options)
        _check_repeats(sets or [])
        if sets is not None and pair_sources is not None:
            raise ConfigError("Both sets and pair_sources are given. Expected one: pair_sources chooses among pairs.")
        self.root = Path(root)
        self.sets = sets
        self.paste = _paste_settings(paste)
        self.motion = motion or (CHAINED_STATIC if is_chained else PAPER_STATIC)
        self.pair_sources = pair_sources

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The sets, each weighted by its number of pictures and its ``repeat``."""
        folder = _existing(self.root)
        if self.sets is None:
            pairs = ImageMaskPairs(
                folder / "pairs" if (folder / "pairs").exists() else folder, sources=self.pair_sources
            )
            return [(StaticImageClips(pairs, self.motion, paste=self.paste), 1.0)]
        opened = [(entry.open(folder), entry.repeat) for entry in self.sets]
        return [
            (StaticImageClips(pictures, self.motion, paste=self.paste), len(pictures) * repeat)
            for pictures, repeat in opened
        ]


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
        cache_bytes: int = _CACHE_BYTES,
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
        return [(_video_clips(videos, self.frame_step, self.paste, self.is_chained), 1.0)]

    def own_validation_videos(self) -> AnnotatedVideos | None:
        """The videos of ``validation_set``, if it is given."""
        if self.validation_set is None:
            return None
        return self._videos(image_set=self.validation_set, names=self.validation_names, min_frames=2, cache_bytes=0)

    def _videos(self, **options: Any) -> DavisVideos:
        return DavisVideos(
            _existing(self.root), resolution=self.resolution, merges_objects=self.merges_objects, **options
        )


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
        cache_bytes: int = _CACHE_BYTES,
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
            _existing(self.root),
            split=self.split,
            names=self.video_names,
            without=_held_back(self),
            cache_bytes=self.cache_bytes,
        )
        return [(_video_clips(videos, 1, self.paste, self.is_chained), 1.0)]

    def own_validation_videos(self) -> AnnotatedVideos | None:
        """The videos of ``validation_names``, if they are given."""
        if self.validation_names is None:
            return None
        return YouTubeVosVideos(
            _existing(self.root),
            split=self.split,
            all_frames=self.all_frames,
            names=self.validation_names,
            min_frames=2,
            cache_bytes=0,
        )


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

    def __init__(self, root: str, *, is_chained: bool = False, cache_bytes: int = _CACHE_BYTES, **options: Any) -> None:
        super().__init__(**options)
        check_least("cache_bytes", cache_bytes, 0)
        self.root = Path(root)
        self.is_chained = is_chained
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The videos alone."""
        folder = _existing(self.root)
        videos = Bl30kVideos(folder / "bl30k" if (folder / "bl30k").is_dir() else folder, cache_bytes=self.cache_bytes)
        motion = CHAINED_VIDEO if self.is_chained else PAPER_VIDEO
        return [(VideoClips(videos, motion=motion, area=(0.25, 1.0), drops_growing=True), 1.0)]


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
        cache_bytes: int = _CACHE_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check_least("cache_bytes", cache_bytes, 0)
        if not 0 <= still <= 1:
            raise ConfigError(f"still is {still}. Expected a share of the clips, from 0 to 1.")
        _check_area(crop_area)
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
        clips = _video_clips(self._training_videos(), 1, self.paste, self.is_chained)
        return [(replace(clips, still=self.still, area=self.crop_area), 1.0)]

    def own_validation_videos(self) -> AnnotatedVideos | None:
        """The videos of ``validation_names``, or all."""
        return self._videos(names=self.validation_names, cache_bytes=0)

    def _training_videos(self) -> FolderVideos:
        return self._videos(names=self.video_names, without=_held_back(self), cache_bytes=self.cache_bytes)

    def _videos(self, **options: Any) -> FolderVideos:
        return FolderVideos(_existing(self.root), frames_folder=self.frames_folder, **options)


@dataclass(frozen=True)
class VideoSet:
    """One of several sets of annotated videos.

    Attributes:
        path: Root of the set, relative to the data root.
        layout: How its files lie.
        image_set: List of videos below ``ImageSets/`` of a DAVIS root; null means all.
        names: Videos to use; null means all, or those of ``image_set``.
        resolution: Folder of a DAVIS root.
        frame_step: Filmed frames per listed frame of a DAVIS root; the other layouts say it themselves.
        repeat: How often each video of the set counts, for example 5 for DAVIS beside YouTube-VOS.
    """

    path: str = "train"
    layout: Literal["davis", "youtube-vos", "folder"] = "davis"
    image_set: str | None = None
    names: list[str] | None = None
    resolution: str = "480p"
    frame_step: int = 1
    repeat: float = 1.0

    def open(self, root: Path, cache_bytes: int) -> AnnotatedVideos:
        """Open the set.

        Raises:
            MissingFileError: If a folder does not exist.
            DataError: If it holds no usable video.
        """
        path = root / self.path
        if self.layout == "folder":
            return FolderVideos(path, names=self.names, cache_bytes=cache_bytes)
        if self.layout == "youtube-vos":
            return YouTubeVosVideos(path.parent, split=path.name, names=self.names, cache_bytes=cache_bytes)
        return DavisVideos(
            path, resolution=self.resolution, names=self.names, image_set=self.image_set, cache_bytes=cache_bytes
        )


class MixedDataModule(ClipDataModule):
    """Clips from pictures with masks, from annotated videos and from generated shapes, mixed by weight.

    Args:
        root: Folder that contains ``pairs/`` (pictures with masks), ``train/`` (videos in DAVIS layout), or both; each
            holds plain files or zip shards.
        pairs_weight: Share of clips from pictures.
        videos_weight: Share of clips from videos.
        shapes_weight: Share of generated clips.
        video_sets: Sets of videos below the root, of which every video is equally likely but for its set's ``repeat``;
            null means ``train/`` alone.
        paste: Whether cut-out objects move over the clips, or how.
        is_chained: Whether frames follow a random walk; false draws the motion of each frame on its own, as in the
            papers.
        video_motion: How far frames of videos move, on top of what was filmed; null means the ranges of STCN and
            RDE-VOS, or steps alike with ``is_chained``.
        crop_area: Range of the area of crops from videos, as share of the frame.
        has_one_gap: Whether all neighbours of a video clip are equally far apart, instead of one draw for each.
        reverses: Whether every second video clip runs backwards.
        frame_step: Filmed frames per listed frame of ``train/``.
        pair_sources: Sources of pictures to use, as in the index; null means all.
        video_names: Videos of ``train/`` to train on; null means all.
        cache_bytes: Limit of decoded video frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.

    Raises:
        ConfigError: If an argument is out of range, or ``frame_step`` or ``video_names`` stand beside ``video_sets``.
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
        video_motion: MotionRange | None = None,
        crop_area: tuple[float, float] = (0.36, 1.0),
        has_one_gap: bool = False,
        reverses: bool = True,
        frame_step: int = 1,
        pair_sources: list[str] | None = None,
        video_names: list[str] | None = None,
        cache_bytes: int = _CACHE_BYTES,
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
        _check_repeats(self.video_sets)
        self.root = Path(root)
        self.weights = weights
        _check_area(crop_area)
        self.paste = _paste_settings(paste)
        self.is_chained = is_chained
        self.video_motion = video_motion or (CHAINED_VIDEO if is_chained else PAPER_VIDEO)
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
            pairs = ImageMaskPairs(_part(self.root, "pairs", "pairs_weight"), sources=self.pair_sources)
            motion = CHAINED_STATIC if self.is_chained else PAPER_STATIC
            sources.append((StaticImageClips(pairs, motion, paste=self.paste), pairs_weight))
        if videos_weight > 0:
            sources += self._video_sources(videos_weight, pairs)
        if shapes_weight > 0:
            sources.append((MovingShapes(), shapes_weight))
        return sources

    def _video_sources(self, weight: float, pairs: LabelledPictures | None) -> list[tuple[ClipSource, float]]:
        for entry in self.video_sets:
            _part(self.root, entry.path, "videos_weight")
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
            )
            for videos, entry in zip(opened, self.video_sets, strict=True)
        ]
        return [(source, weight * count / sum(counts)) for source, count in zip(clips, counts, strict=True)]


def _check_area(crop_area: tuple[float, float]) -> None:
    if not 0 < crop_area[0] <= crop_area[1] <= 1:
        raise ConfigError(f"crop_area is {crop_area}. Expected shares of the frame with 0 < low <= high <= 1.")


def _video_clips(videos: AnnotatedVideos, frame_step: int, paste: bool, is_chained: bool) -> VideoClips:
    motion = CHAINED_VIDEO if is_chained else PAPER_VIDEO
    return VideoClips(videos, frame_step, motion, paste=_paste_settings(paste))


def _paste_settings(paste: bool | PasteSettings) -> PasteSettings | None:
    if isinstance(paste, PasteSettings):
        return paste
    return PasteSettings() if paste else None


def _held_back(data: ClipDataModule) -> list[str]:
    """Videos of the module's own root that are for validation only."""
    return data.validation_names or [] if data.validation_root is None else []


def _check_repeats(sets: Sequence[PictureSet | VideoSet]) -> None:
    if any(entry.repeat <= 0 for entry in sets):
        raise ConfigError(
            f"Sets repeat {[entry.repeat for entry in sets]} times. Expected numbers above 0; leave a set out instead."
        )


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise MissingFileError(
            f"Data root {str(root)!r} is no folder. Expected the folder that holds the training data. Check "
            "`--data.root`."
        )
    return root


def _part(root: Path, name: str, weight: str) -> Path:
    if not (_existing(root) / name).exists():
        found = ", ".join(sorted(path.name for path in root.iterdir())[:10]) or "nothing"
        raise DataError(
            f"Data root {str(root)!r} has no `{name}/` (found: {found}). Expected it because {weight} is above 0. "
            f"Add the data or set {weight} to 0."
        )
    return root / name
