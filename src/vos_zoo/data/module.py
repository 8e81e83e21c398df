"""Lightning data modules: clips for training, whole videos for validation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vos_zoo.data.clips import ClipDataset, ClipItem, ClipRequest, ClipSettings, ClipSource, collate_clips
from vos_zoo.data.davis import DavisClips, DavisVideos
from vos_zoo.data.layers import PasteSettings
from vos_zoo.data.motion import CHAINED_STATIC, CHAINED_VIDEO, PAPER_STATIC, PAPER_VIDEO
from vos_zoo.data.static_images import ImageMaskPairs, StaticImageClips
from vos_zoo.data.synthetic import MovingShapes, moving_shapes
from vos_zoo.errors import ConfigError, DataError, MissingFileError


class VideoItem(TypedDict):
    """A whole validation video: RGB uint8 (T, H, W, 3), object ids (T, H, W), and its name."""

    frames: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    name: str


class ClipDataModule(pl.LightningDataModule):
    """Base of the data modules: what kind of clips there are is said by :meth:`clip_sources`.

    The clip at a place of an epoch depends on ``seed``, the epoch and the place alone, not on the number of workers or
    devices. ``max_gap`` may be set at any time, as :class:`vos_zoo.data.curriculum.GapCurriculum` does.

    Args:
        batch_size: Clips per batch and device.
        crop_size: Side of the square training frames in pixels.
        num_frames: Frames per clip.
        max_objects: Object planes per clip.
        samples_per_epoch: Clips per epoch, all devices together.
        num_workers: Processes that prepare clips; 0 prepares them in the training process.
        perturb_first_mask: Range of the overlap (0-1) that perturbed first masks keep, or null for exact ones.
        seed: Seed of everything random.
        max_gap: Largest step between neighbouring frames of video clips, in listed frames.
        validation_root: Folder in DAVIS layout with videos for validation; null means generated videos.
        validation_names: Videos to use from it; null means all.
        validation_frames: Use only so many first frames of each; null means all.
    """

    def __init__(
        self,
        *,
        batch_size: int = 8,
        crop_size: int = 384,
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
        lowest = {
            "batch_size": 1,
            "samples_per_epoch": 1,
            "num_workers": 0,
            "max_gap": 1,
            "seed": 0,
            "validation_frames": 1,
        }
        given = {
            "batch_size": batch_size,
            "samples_per_epoch": samples_per_epoch,
            "num_workers": num_workers,
            "max_gap": max_gap,
            "seed": seed,
            "validation_frames": 1 if validation_frames is None else validation_frames,
        }
        for name, value in given.items():
            if value < lowest[name]:
                raise ConfigError(f"{name} is {value}. Expected a whole number of at least {lowest[name]}.")
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
        """Sources of training clips with their weights; subclasses open their files here."""
        raise NotImplementedError

    def setup(self, stage: str) -> None:
        """Open the data of a stage; missing files are reported here."""
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
        """Batches of :class:`vos_zoo.data.clips.ClipBatch`."""
        if self._train is None:
            self.setup("fit")
        assert self._train is not None
        trainer = self.trainer
        sampler = _RequestSampler(
            self,
            self._train,
            num_replicas=trainer.world_size if trainer is not None else 1,
            rank=trainer.global_rank if trainer is not None else 0,
        )
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
        """Whole videos, one :class:`VideoItem` at a time."""
        if self._validation is None:
            self._validation = self._open_validation()
        return DataLoader(self._validation, batch_size=1, collate_fn=_only_item, num_workers=0)

    def test_dataloader(self) -> DataLoader[VideoItem]:
        """The validation videos."""
        return self.val_dataloader()

    def _open_validation(self) -> Dataset[VideoItem]:
        if self.validation_root is None:
            return GeneratedVideos(frames=self.validation_frames or 10)
        videos = DavisVideos(self.validation_root, names=self.validation_names, min_frames=1, cache_bytes=0)
        return WholeVideos(videos, self.validation_frames)


class SyntheticDataModule(ClipDataModule):
    """Generated moving shapes; needs no file. Arguments as for :class:`ClipDataModule`."""

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """Moving shapes alone."""
        return [(MovingShapes(), 1.0)]


class MixedDataModule(ClipDataModule):
    """Clips from pictures with masks, from annotated videos and from generated shapes, mixed by weight.

    Args:
        root: Folder that contains ``pairs/`` (pictures with masks), ``train/`` (videos in DAVIS layout), or both; each holds
            plain files or zip shards.
        pairs_weight: Share of clips from pictures.
        videos_weight: Share of clips from videos.
        shapes_weight: Share of generated clips.
        paste: Whether cut-out objects move over the clips.
        is_chained: Whether frames follow a random walk; false draws the motion of each frame on its own, as in the papers.
        frame_step: Listed frames per unit of ``max_gap``.
        pair_sources: Sources of pictures to use, as in the index; null means all.
        video_names: Videos to train on; null means all.
        cache_bytes: Limit of decoded video frames kept by each worker, in bytes.
        options: Arguments of :class:`ClipDataModule`.

    Raises:
        ConfigError: If an argument is out of range.
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
        cache_bytes: int = 512 * 2**20,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        weights = (pairs_weight, videos_weight, shapes_weight)
        if min(weights) < 0 or sum(weights) == 0:
            raise ConfigError(
                f"The weights of pairs, videos and shapes are {weights}. Expected none below 0 and at least one above."
            )
        if frame_step < 1 or cache_bytes < 0:
            raise ConfigError(
                f"frame_step is {frame_step} and cache_bytes is {cache_bytes}. Expected at least 1 and at least 0."
            )
        self.root = Path(root)
        self.weights = weights
        self.paste = PasteSettings() if paste else None
        self.is_chained = is_chained
        self.frame_step = frame_step
        self.pair_sources = pair_sources
        self.video_names = video_names
        self.cache_bytes = cache_bytes

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """The sources with a weight above 0.

        Raises:
            MissingFileError: If the root or one of its two folders is missing.
            DataError: If nothing usable lies there.
        """
        pairs_weight, videos_weight, shapes_weight = self.weights
        sources: list[tuple[ClipSource, float]] = []
        pairs = None
        if pairs_weight > 0:
            pairs = ImageMaskPairs(_part(self.root, "pairs", "pairs_weight"), sources=self.pair_sources)
            motion = CHAINED_STATIC if self.is_chained else PAPER_STATIC
            sources.append((StaticImageClips(pairs, motion, paste=self.paste), pairs_weight))
        if videos_weight > 0:
            videos = DavisVideos(
                _part(self.root, "train", "videos_weight"), names=self.video_names, cache_bytes=self.cache_bytes
            )
            motion = CHAINED_VIDEO if self.is_chained else PAPER_VIDEO
            sources.append((DavisClips(videos, self.frame_step, motion, paste=self.paste, pairs=pairs), videos_weight))
        if shapes_weight > 0:
            sources.append((MovingShapes(), shapes_weight))
        return sources


class StaticImagesDataModule(MixedDataModule):
    """Clips synthesised from pictures with masks below ``root/pairs``.

    Args:
        root: Folder that contains ``pairs/``.
        paste: Whether cut-out objects move over the clips.
        is_chained: Whether frames follow a random walk.
        pair_sources: Sources of pictures to use; null means all.
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
        _refuse(options, "pairs_weight", "videos_weight", "shapes_weight")
        super().__init__(
            root,
            pairs_weight=1,
            videos_weight=0,
            paste=paste,
            is_chained=is_chained,
            pair_sources=pair_sources,
            **options,
        )


class GeneratedVideos(Dataset[VideoItem]):
    """A few generated videos for validation without files.

    Args:
        count: Number of videos.
        frames: Frames of each.
        height: Pixels.
        width: Pixels.
    """

    def __init__(self, count: int = 4, frames: int = 10, height: int = 120, width: int = 160) -> None:
        self._shape = (frames, height, width)
        self._count = count

    def __len__(self) -> int:
        """Number of videos."""
        return self._count

    def __getitem__(self, index: int) -> VideoItem:
        """Generate one video; the same index gives the same video."""
        if not 0 <= index < self._count:
            raise IndexError(index)
        video = moving_shapes(*self._shape, num_objects=1 + index % 2, rng=index)
        return {"frames": video.frames, "masks": video.masks, "name": f"{video.name}-{index}"}


class WholeVideos(Dataset[VideoItem]):
    """Whole annotated videos, or their first frames."""

    def __init__(self, videos: DavisVideos, frames: int | None = None) -> None:
        self._videos = videos
        self._frames = frames

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)

    def __getitem__(self, index: int) -> VideoItem:
        """Read one video."""
        video = self._videos.videos[index]
        read = [self._videos.read(index, frame) for frame in range(len(video.frames))[: self._frames]]
        return {
            "frames": np.stack([image for image, _ in read]),
            "masks": np.stack([mask for _, mask in read]),
            "name": video.name,
        }


class _RequestSampler(DistributedSampler[ClipItem]):
    """Sends requests to workers instead of bare indices: persistent workers hold copies that know no new epoch or gap."""

    def __init__(self, data: ClipDataModule, dataset: ClipDataset, *, num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False, drop_last=True)
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        """Requests of this rank for the epoch that Lightning has set."""
        for place in range(self.num_samples):
            yield ClipRequest(self.epoch, self.rank + place * self.num_replicas, self._data.max_gap)


def _only_item(items: Sequence[VideoItem]) -> VideoItem:
    return items[0]


def _refuse(options: dict[str, Any], *names: str) -> None:
    for name in names:
        if name in options:
            raise ConfigError(
                f"{name} was given. This data module has one source; use MixedDataModule to weigh several."
            )


def _part(root: Path, name: str, weight: str) -> Path:
    if not root.is_dir():
        raise MissingFileError(
            f"Data root {os.fspath(root)!r} is no folder. Expected a folder that contains `pairs/`, `train/` or both. "
            "Check `--data.root`."
        )
    if not (root / name).exists():
        found = sorted(path.name for path in root.iterdir())[:10]
        raise DataError(
            f"Data root {os.fspath(root)!r} has no `{name}/` (found: {', '.join(found) or 'nothing'}). Expected it because "
            f"{weight} is above 0. Add the data or set {weight} to 0."
        )
    return root / name
