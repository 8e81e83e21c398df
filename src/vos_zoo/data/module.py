"""Lightning data modules: clips for training, whole videos for validation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vos_zoo.data.clips import ClipDataset, ClipItem, ClipRequest, ClipSettings, ClipSource, collate_clips
from vos_zoo.data.davis import DavisClips, DavisVideos
from vos_zoo.data.layers import PasteSettings
from vos_zoo.data.motion import CHAINED_STATIC, CHAINED_VIDEO, PAPER_STATIC, PAPER_VIDEO
from vos_zoo.data.static_images import ImageMaskPairs, StaticImageClips
from vos_zoo.data.synthetic import MovingShapes
from vos_zoo.data.validation import GeneratedVideos, VideoItem, WholeVideos, single_video
from vos_zoo.errors import ConfigError, DataError, MissingFileError

_CACHE_BYTES = 512 * 2**20


class ClipDataModule(pl.LightningDataModule):
    """Base of the data modules; a subclass says in :meth:`clip_sources` where its clips come from.

    The clip at a place of an epoch depends on ``seed``, the epoch, the place and ``max_gap`` alone, not on the number
    of workers or devices. ``max_gap`` may be set at any time, as :class:`vos_zoo.data.curriculum.GapCurriculum` does.

    Args:
        batch_size: Clips per batch and device.
        crop_size: Side of square training frames in pixels, or (height, width).
        num_frames: Frames per clip.
        max_objects: Object planes per clip.
        samples_per_epoch: Clips per epoch, all devices together.
        num_workers: Processes that prepare clips; 0 prepares them in the training process.
        perturb_first_mask: Range of the overlap (0-1) that perturbed first masks keep, or null for exact ones.
        seed: Seed of everything random.
        max_gap: Largest step between neighbouring frames of video clips, in filmed frames.
        validation_root: Folder in DAVIS layout with videos for validation; null means generated videos.
        validation_names: Videos to use from it; null means all.
        validation_frames: Use only so many first frames of each; null means all.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(
        self,
        *,
        batch_size: int = 8,
        crop_size: int | tuple[int, int] = 384,
        num_frames: int = 3,
        max_objects: int = 2,
        samples_per_epoch: int = 4000,
        num_workers: int = 2,
        perturb_first_mask: tuple[float, float] | None = None,
        seed: int = 14159265,
        max_gap: int = 5,
        validation_root: str | None = None,
        validation_names: list[str] | None = None,
        validation_frames: int | None = None,
    ) -> None:
        super().__init__()
        _check_least("batch_size", batch_size, 1)
        _check_least("samples_per_epoch", samples_per_epoch, batch_size)
        _check_least("num_workers", num_workers, 0)
        _check_least("seed", seed, 0)
        _check_least("max_gap", max_gap, 1)
        if validation_frames is not None:
            _check_least("validation_frames", validation_frames, 2)
        self.settings = ClipSettings(num_frames, crop_size, max_objects, perturb_first_mask)
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.num_workers = num_workers
        self.seed = seed
        self.max_gap = max_gap
        self.validation_root = validation_root
        self.validation_names = validation_names
        self.validation_frames = validation_frames
        self._train: ClipDataset | None = None
        self._validation: Dataset[VideoItem] | None = None

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """Sources of training clips with their weights; files are opened here."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Open the data of a stage; whatever is missing is reported here, before training starts."""
        if stage == "fit" and self._train is None:
            sources = self.clip_sources()
            self._train = ClipDataset(
                [source for source, _ in sources],
                self.settings,
                weights=[weight for _, weight in sources],
                seed=self.seed,
                length=self.samples_per_epoch,
            )
        if self._validation is None:
            self._validation = self._open_validation()

    def train_dataloader(self) -> DataLoader[ClipItem]:
        """Batches of :class:`vos_zoo.data.clips.ClipBatch`; the module must be set up for ``fit``."""
        assert self._train is not None, "setup('fit') comes first"
        trainer = self.trainer
        devices = 1 if trainer is None else trainer.world_size
        if self.samples_per_epoch < self.batch_size * devices:
            raise ConfigError(
                f"samples_per_epoch is {self.samples_per_epoch}. Expected at least one batch of {self.batch_size} "
                f"clips on each of {devices} devices, {self.batch_size * devices} clips."
            )
        rank = 0 if trainer is None else trainer.global_rank
        sampler = _RequestSampler(self, self._train, num_replicas=devices, rank=rank)
        return DataLoader(
            self._train,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate_clips,
            drop_last=True,
            persistent_workers=self.num_workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def val_dataloader(self) -> DataLoader[VideoItem]:
        """Whole videos, one :class:`vos_zoo.data.validation.VideoItem` at a time."""
        assert self._validation is not None, "setup comes first"
        return DataLoader(self._validation, batch_size=1, collate_fn=single_video, num_workers=0)

    def test_dataloader(self) -> DataLoader[VideoItem]:
        """The validation videos."""
        return self.val_dataloader()

    def _open_validation(self) -> Dataset[VideoItem]:
        if self.validation_root is None:
            return GeneratedVideos(frames=self.validation_frames or 10)
        # Each frame is read once per validation, so that a cache would only hold memory.
        videos = DavisVideos(self.validation_root, names=self.validation_names, min_frames=2, cache_bytes=0)
        return WholeVideos(videos, self.validation_frames)


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


class StaticImagesDataModule(ClipDataModule):
    """Clips synthesised from pictures with masks.

    Args:
        root: Folder that contains ``pairs/``, or the folder of the pairs itself: plain files or zip shards.
        paste: Whether cut-out objects move over the clips.
        is_chained: Whether frames follow a random walk; false draws the motion of each frame on its own, as in the
            papers.
        pair_sources: Sources of pictures to use, as in the index; null means all.
        options: Arguments of :class:`ClipDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        paste: bool = True,
        is_chained: bool = True,
        pair_sources: list[str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root = Path(root)
        self.paste = paste
        self.is_chained = is_chained
        self.pair_sources = pair_sources

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The pictures alone."""
        folder = _existing(self.root)
        pairs = ImageMaskPairs(folder / "pairs" if (folder / "pairs").exists() else folder, sources=self.pair_sources)
        return [(_static_clips(pairs, self.paste, self.is_chained), 1.0)]


class DAVISDataModule(ClipDataModule):
    """Clips from annotated videos in DAVIS layout.

    Args:
        root: Folder that contains ``JPEGImages/`` and ``Annotations/``, as plain folders or in zip shards.
        resolution: Folder below those two.
        image_set: List of training videos below ``ImageSets/``, for example ``2017/train``; null means all videos.
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
        frame_step: int = 1,
        paste: bool = False,
        is_chained: bool = False,
        cache_bytes: int = _CACHE_BYTES,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        _check_least("frame_step", frame_step, 1)
        _check_least("cache_bytes", cache_bytes, 0)
        self.root = Path(root)
        self.resolution = resolution
        self.image_set = image_set
        self.frame_step = frame_step
        self.paste = paste
        self.is_chained = is_chained
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The videos alone."""
        videos = DavisVideos(
            _existing(self.root),
            resolution=self.resolution,
            image_set=self.image_set,
            cache_bytes=self.cache_bytes,
        )
        return [(_video_clips(videos, self.frame_step, self.paste, self.is_chained, None), 1.0)]


class MixedDataModule(ClipDataModule):
    """Clips from pictures with masks, from annotated videos and from generated shapes, mixed by weight.

    Args:
        root: Folder that contains ``pairs/`` (pictures with masks), ``train/`` (videos in DAVIS layout), or both; each
            holds plain files or zip shards.
        pairs_weight: Share of clips from pictures.
        videos_weight: Share of clips from videos.
        shapes_weight: Share of generated clips.
        paste: Whether cut-out objects move over the clips.
        is_chained: Whether frames follow a random walk; false draws the motion of each frame on its own, as in the
            papers.
        frame_step: Filmed frames per listed frame of the videos.
        pair_sources: Sources of pictures to use, as in the index; null means all.
        video_names: Videos to train on; null means all.
        cache_bytes: Limit of decoded video frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.
    """

    def __init__(
        self,
        root: str,
        *,
        pairs_weight: float = 0.5,
        videos_weight: float = 0.5,
        shapes_weight: float = 0.0,
        paste: bool = True,
        is_chained: bool = True,
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
        _check_least("frame_step", frame_step, 1)
        _check_least("cache_bytes", cache_bytes, 0)
        self.root = Path(root)
        self.weights = weights
        self.paste = paste
        self.is_chained = is_chained
        self.frame_step = frame_step
        self.pair_sources = pair_sources
        self.video_names = video_names
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The sources with a weight above 0.

        Raises:
            MissingFileError: If the root is missing.
            DataError: If one of its two folders is missing or holds nothing usable.
        """
        pairs_weight, videos_weight, shapes_weight = self.weights
        sources: list[tuple[ClipSource, float]] = []
        pairs = None
        if pairs_weight > 0:
            pairs = ImageMaskPairs(_part(self.root, "pairs", "pairs_weight"), sources=self.pair_sources)
            sources.append((_static_clips(pairs, self.paste, self.is_chained), pairs_weight))
        if videos_weight > 0:
            folder = _part(self.root, "train", "videos_weight")
            videos = DavisVideos(folder, names=self.video_names, cache_bytes=self.cache_bytes)
            clips = _video_clips(videos, self.frame_step, self.paste, self.is_chained, pairs)
            sources.append((clips, videos_weight))
        if shapes_weight > 0:
            sources.append((MovingShapes(), shapes_weight))
        return sources


class _RequestSampler(DistributedSampler[ClipItem]):
    """Sends requests instead of bare indices: persistent workers hold copies that hear of no new epoch or gap."""

    def __init__(self, data: ClipDataModule, dataset: ClipDataset, *, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False, drop_last=True)
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        """Requests of this rank for the epoch that Lightning has set."""
        for place in range(self.num_samples):
            yield ClipRequest(self.epoch, self.rank + place * self.num_replicas, self._data.max_gap)


def _static_clips(pairs: ImageMaskPairs, paste: bool, is_chained: bool) -> StaticImageClips:
    motion = CHAINED_STATIC if is_chained else PAPER_STATIC
    return StaticImageClips(pairs, motion, paste=PasteSettings() if paste else None)


def _video_clips(
    videos: DavisVideos, frame_step: int, paste: bool, is_chained: bool, pairs: ImageMaskPairs | None
) -> DavisClips:
    motion = CHAINED_VIDEO if is_chained else PAPER_VIDEO
    return DavisClips(videos, frame_step, motion, paste=PasteSettings() if paste else None, pairs=pairs)


def _check_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name} is {value}. Expected a whole number of at least {least}.")


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
