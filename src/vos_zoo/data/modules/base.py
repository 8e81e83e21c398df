"""What all data modules share: clips for training, whole videos for validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from vos_zoo.data.clips.dataset import ClipDataset, ClipItem, ClipRequest, ClipSettings, ClipSource, collate_clips
from vos_zoo.data.layouts.open import open_videos
from vos_zoo.data.layouts.videos import AnnotatedVideos
from vos_zoo.data.modules.loader import NamingLoader
from vos_zoo.data.modules.prediction import (
    PredictionVideo,
    ValidationAsPrediction,
    opened_videos,
    prediction_loader,
)
from vos_zoo.data.modules.validation import GeneratedVideos, VideoItem, WholeVideos, single_video
from vos_zoo.errors import ConfigError


class ClipDataModule(pl.LightningDataModule):
    """Base of the data modules; a subclass says in :meth:`clip_sources` where its clips come from.

    The clip at a place of an epoch depends on ``seed``, the epoch, the place and the gap there alone, not on the number
    of workers or devices, and a run that is resumed within an epoch continues after the clips that it has seen. The gap
    is ``max_gap``, or follows a schedule such as that of :class:`vos_zoo.data.modules.curriculum.GapCurriculum`.

    Args:
        batch_size: Clips per batch and device.
        crop_size: Side of square training frames in pixels, or (height, width).
        num_frames: Frames per clip.
        max_objects: Object planes per clip.
        min_object_area: Least share (0-1) of a clip's first frame that an object must cover to be followed; 0 follows
            every object that shows there, as the papers do (on BL30K those of more than 100 pixels).
        samples_per_epoch: Clips per epoch, all devices together.
        num_workers: Processes that prepare clips; 0 prepares them in the training process.
        perturb_first_mask: Range of the overlap (0-1) that perturbed first masks keep, or null for exact ones.
        seed: Seed of everything random.
        max_gap: Largest step between neighbouring frames of video clips, in filmed frames.
        validation_root: Folder with videos for validation, in the layout of DAVIS, of YouTube-VOS (a split's folder)
            or of own videos, relative to the working directory or the data root; null means the module's own root
            where it says so, and generated videos otherwise.
        validation_names: Videos to use from it; null means all.
        validation_set: List of videos below ``ImageSets/`` of a DAVIS root, for example ``2017/val``, used if
            ``validation_names`` is null.
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
        min_object_area: float = 0.002,
        samples_per_epoch: int = 4000,
        num_workers: int = 2,
        perturb_first_mask: tuple[float, float] | None = None,
        seed: int = 14159265,
        max_gap: int = 5,
        validation_root: str | None = None,
        validation_names: list[str] | None = None,
        validation_set: str | None = None,
        validation_frames: int | None = None,
    ) -> None:
        super().__init__()
        check_least("batch_size", batch_size, 1)
        check_least("samples_per_epoch", samples_per_epoch, batch_size)
        check_least("num_workers", num_workers, 0)
        check_least("seed", seed, 0)
        check_least("max_gap", max_gap, 1)
        if validation_frames is not None:
            check_least("validation_frames", validation_frames, 2)
        self.settings = ClipSettings(num_frames, crop_size, max_objects, perturb_first_mask, min_object_area)
        self.batch_size = batch_size
        self.samples_per_epoch = samples_per_epoch
        self.num_workers = num_workers
        self.seed = seed
        self.max_gap = max_gap
        self.validation_root = validation_root
        self.validation_names = validation_names
        self.validation_set = validation_set
        self.validation_frames = validation_frames
        self._train: ClipDataset | None = None
        self._validation: Dataset[VideoItem] | None = None
        self._validation_videos: AnnotatedVideos | None = None
        #: What :meth:`gap_of` asks, with its arguments; a function of the place alone, so that clips which workers
        #: prepare ahead, and those of a run that is resumed, are the same.
        self.gap_schedule: Callable[[int, int, int], int] | None = None

    def clip_sources(self) -> list[tuple[ClipSource, float]]:
        """Sources of training clips with their weights; files are opened here."""
        raise NotImplementedError

    def new_dataset(self) -> ClipDataset:
        """Clips drawn from the sources by their weights."""
        sources = self.clip_sources()
        return ClipDataset(
            [source for source, _ in sources],
            self.settings,
            weights=[weight for _, weight in sources],
            seed=self.seed,
            length=self.samples_per_epoch,
        )

    def setup(self, stage: str) -> None:
        """Open the data of a stage; whatever is missing is reported here, before training starts."""
        if stage == "fit" and self._train is None:
            self._train = self.new_dataset()
        if self._validation is None:
            self._validation = self._open_validation()

    def train_dataloader(self) -> DataLoader[ClipItem]:
        """Batches of :class:`vos_zoo.data.clips.dataset.ClipBatch`; the module must be set up for ``fit``."""
        assert self._train is not None, "setup('fit') comes first"
        trainer = self.trainer
        devices = 1 if trainer is None else trainer.world_size
        if self.samples_per_epoch < self.batch_size * devices:
            raise ConfigError(
                f"samples_per_epoch is {self.samples_per_epoch}. Expected at least one batch of {self.batch_size} "
                f"clips on each of {devices} devices, {self.batch_size * devices} clips."
            )
        rank = 0 if trainer is None else trainer.global_rank
        sampler = _RequestSampler(self, self._train, batch_size=self.batch_size, num_replicas=devices, rank=rank)
        return _ResumableLoader(
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
        """Whole videos, one :class:`vos_zoo.data.modules.validation.VideoItem` at a time."""
        assert self._validation is not None, "setup comes first"
        return DataLoader(self._validation, batch_size=1, collate_fn=single_video, num_workers=0)

    def test_dataloader(self) -> DataLoader[VideoItem]:
        """The validation videos."""
        return self.val_dataloader()

    def predict_dataloader(self) -> DataLoader[PredictionVideo]:
        """The validation videos, to their last frames; :class:`PredictionDataModule` predicts any others."""
        assert self._validation is not None, "setup comes first"
        if self._validation_videos is None:
            return prediction_loader(ValidationAsPrediction(self._validation))
        return prediction_loader(opened_videos(self._validation_videos))

    def gap_of(self, epoch: int, batch: int, batches: int) -> int:
        """Largest frame gap of the clips of a batch: ``max_gap``, unless a schedule was set.

        Args:
            epoch: Number of the epoch.
            batch: Number of the batch in it.
            batches: Batches of an epoch.
        """
        return self.max_gap if self.gap_schedule is None else self.gap_schedule(epoch, batch, batches)

    def own_validation_videos(self) -> AnnotatedVideos | None:
        """Videos to validate on if no ``validation_root`` is given; None means generated ones."""
        return None

    def _open_validation(self) -> Dataset[VideoItem]:
        if self.validation_root is None:
            videos = self.own_validation_videos()
        else:
            beside = Path(getattr(self, "root", "."), self.validation_root)
            root = beside if beside.exists() and not Path(self.validation_root).exists() else self.validation_root
            # Each frame is read once per validation, so that a cache would only hold memory.
            videos = open_videos(root, names=self.validation_names, image_set=self.validation_set, cache_bytes=0)
        self._validation_videos = videos
        if videos is None:
            return GeneratedVideos(frames=self.validation_frames or 10)
        return WholeVideos(videos, self.validation_frames)


class _RequestSampler(DistributedSampler[ClipItem]):
    """Sends requests instead of bare indices: persistent workers hold copies that hear of no new epoch or gap.

    The clips to ask for follow from the number of clips that training has used. (Lightning's number of the epoch will
    not do: after a resumption it may be wrong, and it is set only after workers were given their first requests.)
    """

    def __init__(
        self, data: ClipDataModule, dataset: ClipDataset, *, batch_size: int, num_replicas: int, rank: int
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False, drop_last=True)
        self._data = data
        self._batch_size = batch_size
        self._resumed_at = (0, 0)  # clips and batches, of all epochs, when training was resumed

    @property
    def batches(self) -> int:
        """Batches of an epoch that training uses."""
        batches = self.num_samples // self._batch_size
        limit = 1.0 if self._data.trainer is None else self._data.trainer.limit_train_batches
        return min(batches, limit) if isinstance(limit, int) else int(batches * limit)

    @property
    def clips_used(self) -> int:
        """Clips of all epochs and devices that training has used; those prepared ahead do not count."""
        trainer = self._data.trainer
        if trainer is None or trainer.state.fn != TrainerFn.FITTING:
            return self.epoch * self.batches * self._clips_per_batch
        clips, batches = self._resumed_at
        return clips + (_batches_used(trainer) - batches) * self._clips_per_batch

    @clips_used.setter
    def clips_used(self, clips: int) -> None:
        trainer = self._data.trainer
        assert trainer is not None, "checkpoints are loaded by a trainer"
        self._resumed_at = (clips, _batches_used(trainer))

    def __iter__(self) -> Iterator[Any]:
        """Requests of this rank for the rest of the epoch."""
        batches = self.batches
        epoch, done = divmod(self.clips_used, max(batches, 1) * self._clips_per_batch)
        for number in range(done + self.rank, self.num_samples * self.num_replicas, self.num_replicas):
            gap = self._data.gap_of(epoch, number // self._clips_per_batch, batches)
            yield ClipRequest(epoch, number, gap)

    @property
    def _clips_per_batch(self) -> int:
        return self._batch_size * self.num_replicas


def _batches_used(trainer: pl.Trainer) -> int:
    """Batches of all epochs that training has used."""
    total: Any = trainer.fit_loop.epoch_loop.batch_progress.total  # declared without the counter that it has
    return int(total.processed)


class _ResumableLoader(NamingLoader[ClipItem]):
    """Training batches; Lightning keeps its place in checkpoints, so that a resumed epoch continues with new clips."""

    def state_dict(self) -> dict[str, int]:
        """Number of clips used."""
        return {"clips_used": cast("_RequestSampler", self.sampler).clips_used}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after these clips, possibly with another batch size or number of devices."""
        cast("_RequestSampler", self.sampler).clips_used = state["clips_used"]


def check_least(name: str, value: int, least: int) -> None:
    """Refuse a number that is too small.

    Raises:
        ConfigError: If it is.
    """
    if value < least:
        raise ConfigError(f"{name} is {value}. Expected a whole number of at least {least}.")
