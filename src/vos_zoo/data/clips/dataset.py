"""Training clips: what a source of clips gives, how objects are chosen, and the batch that training steps receive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypedDict

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from vos_zoo.data.clips.motion import FrameSize, Matrix, height_and_width
from vos_zoo.data.clips.perturbation import perturb_mask
from vos_zoo.data.layouts.last_read import last_read
from vos_zoo.errors import ConfigError, DataError, VosZooError
from vos_zoo.network import IMAGENET_MEAN, IMAGENET_STD


class ClipRequest(NamedTuple):
    """Which clip to make; travels from the sampler to a worker, so that workers need no state of their own.

    Attributes:
        epoch: Number of the epoch.
        number: Number of the clip in the epoch.
        max_gap: Largest step between neighbouring frames of a video clip, in filmed frames.
    """

    epoch: int
    number: int
    max_gap: int


class FrameOrigin(NamedTuple):
    """Where a frame of a clip comes from, so that whatever else is known of it can follow its augmentation.

    Attributes:
        name: Its file without ending, below the folder of the images or of the videos' folders.
        size: Its (height, width) in pixels.
        matrix: From its pixels to those of the clip, shape (3, 3).
        displacement: Displacement on top, see :func:`vos_zoo.data.clips.motion.source_positions`.
    """

    name: str
    size: tuple[int, int]
    matrix: Matrix
    displacement: Matrix | None


class LabelledClip(NamedTuple):
    """Augmented frames before objects are chosen.

    Attributes:
        images: RGB uint8, shape (T, H, W, 3).
        labels: Object ids uint8, 0 background, shape (T, H, W).
        name: Where the clip comes from.
        origins: Where its frames come from; empty if they are generated.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    name: str
    origins: tuple[FrameOrigin, ...] = ()


class ClipSource(Protocol):
    """Anything that draws augmented clips from a generator."""

    def sample(
        self, rng: np.random.Generator, *, num_frames: int, crop_size: FrameSize, max_gap: int, max_objects: int
    ) -> LabelledClip:
        """Draw one clip that follows at least ``max_objects`` objects, if there are so many.

        It has ``num_frames`` frames, or fewer if the source has no more.
        """
        ...


class ClipItem(TypedDict):
    """One training clip; K is the number of object planes.

    ``images`` float32 (T, 3, H, W) with ImageNet normalisation; ``masks`` uint8 (T, H, W), 0 background and 1..K
    objects; ``valid_objects`` bool (K,); ``first_masks`` float32 (K, H, W), masks of frame 0, perturbed if asked for;
    ``name``; ``origins`` of the frames, empty if they are generated.
    """

    images: Tensor
    masks: Tensor
    valid_objects: Tensor
    first_masks: Tensor
    name: str
    origins: tuple[FrameOrigin, ...]


class ClipBatch(TypedDict):
    """What a training step receives: stacked :class:`ClipItem`, K object planes each.

    ``images`` float32 (B, T, 3, H, W) with ImageNet normalisation; ``masks`` uint8 (B, T, H, W), 0 background and
    plane + 1 for objects; ``valid_objects`` bool (B, K), existing planes first; ``first_masks`` float32 (B, K, H, W) in
    [0, 1], the masks that the first frame is memorised with; ``name`` of every clip; ``origins`` of its frames.
    There are as many planes as the clip with the most objects has, at least one.
    """

    images: Tensor
    masks: Tensor
    valid_objects: Tensor
    first_masks: Tensor
    name: list[str]
    origins: list[tuple[FrameOrigin, ...]]


@dataclass(frozen=True)
class ClipSettings:
    """Shape of training clips.

    Attributes:
        num_frames: Frames per clip.
        crop_size: Side of square frames in pixels, or (height, width).
        max_objects: Object planes per clip.
        perturb_first_mask: Range of the overlap that perturbed first masks keep (0-1), or None for exact masks.
        min_object_area: Least share of frame 0 (0-1) that an object must cover to be chosen; one pixel at least.
    """

    num_frames: int = 3
    crop_size: FrameSize = 384
    max_objects: int = 2
    perturb_first_mask: tuple[float, float] | None = None
    min_object_area: float = 0.002

    def __post_init__(self) -> None:
        """Check the ranges."""
        if min(height_and_width(self.crop_size)) < 1:
            raise ConfigError(
                f"crop_size is {self.crop_size}. Expected the side of a square, or [height, width], in pixels of at "
                "least 1."
            )
        for name in ("num_frames", "max_objects"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}. Expected a whole number of at least 1.")
        if not 0 <= self.min_object_area < 1:
            raise ConfigError(
                f"min_object_area is {self.min_object_area}. Expected a share of the frame from 0 up to 1, for example "
                "0.002."
            )
        if self.perturb_first_mask is not None:
            low, high = self.perturb_first_mask
            if not 0 < low <= high <= 1:
                raise ConfigError(
                    f"perturb_first_mask is ({low}, {high}). Expected overlaps with 0 < low <= high <= 1, "
                    "for example (0.85, 1.0), or null for exact masks."
                )


RETRIES = 5  # draws of a clip until frame 0 shows an object; then the clip trains on an empty target (STCN, RDE-VOS)


class ClipDataset(Dataset[ClipItem]):
    """Clips drawn from weighted sources; the same request gives the same clip in every process.

    Args:
        sources: Where clips come from.
        settings: Shape of clips.
        weights: Relative frequency of each source; equal if None.
        seed: Seed of everything random.
        length: Number of clips per epoch.
    """

    def __init__(
        self,
        sources: Sequence[ClipSource],
        settings: ClipSettings,
        *,
        weights: Sequence[float] | None = None,
        seed: int = 0,
        length: int = 1000,
    ) -> None:
        shares = np.asarray([1.0] * len(sources) if weights is None else weights, dtype=np.float64)
        if not sources or len(shares) != len(sources) or (shares < 0).any() or shares.sum() <= 0:
            raise ConfigError(
                f"Found {len(sources)} clip sources with weights {shares.tolist()}. Expected at least one source "
                "and as many weights, none negative and not all 0."
            )
        self.sources = list(sources)
        self.settings = settings
        self.seed = seed
        self._shares = shares / shares.sum()
        self._length = length

    def __len__(self) -> int:
        """Number of clips per epoch."""
        return self._length

    def __getitem__(self, request: ClipRequest | int) -> ClipItem:
        """Make the clip of a request; a plain index means epoch 0 with a gap of 5.

        Raises:
            DataError: If a file cannot be used; the message names it.
        """
        if not isinstance(request, tuple):
            if not 0 <= request < self._length:
                raise IndexError(request)
            request = ClipRequest(0, request, 5)
        if get_worker_info() is not None:
            # Threads in every worker fight over the same cores, and OpenCV's thread pool does not survive a fork.
            cv2.setNumThreads(0)
        try:
            return self._make(request)
        except (VosZooError, MemoryError):
            raise
        except Exception as error:  # whatever a library makes of a damaged file: the run must say which one it was
            raise DataError(
                f"Clip {request.number} of epoch {request.epoch} cannot be made; the last file that was read is "
                f"{last_read()!r} ({type(error).__name__}: {error}). Expected files that can be decoded; look at it "
                "with `vos-zoo data check`."
            ) from error

    def _source(self, request: ClipRequest, rng: np.random.Generator) -> ClipSource:
        """Draw the source of a clip."""
        return self.sources[int(rng.choice(len(self.sources), p=self._shares))]

    def _make(self, request: ClipRequest) -> ClipItem:
        rng = np.random.default_rng([self.seed, request.epoch, request.number])
        settings = self.settings
        for _ in range(RETRIES):
            clip = self._source(request, rng).sample(
                rng,
                num_frames=settings.num_frames,
                crop_size=settings.crop_size,
                max_gap=request.max_gap,
                max_objects=settings.max_objects,
            )
            chosen = _choose_objects(clip.labels[0], settings, rng)
            if chosen:
                break
        return _make_item(clip, chosen, settings, rng)


def collate_clips(items: Sequence[ClipItem]) -> ClipBatch:
    """Stack clips to a batch, as long as the shortest of them, with as many planes as the fullest, at least one."""
    frames = min(len(item["images"]) for item in items)
    valid = torch.stack([item["valid_objects"] for item in items])
    planes = max(int(valid.sum(dim=1).max()), 1)
    return {
        "images": torch.stack([item["images"][:frames] for item in items]),
        "masks": torch.stack([item["masks"][:frames] for item in items]),
        "valid_objects": valid[:, :planes],
        "first_masks": torch.stack([item["first_masks"][:planes] for item in items]),
        "name": [item["name"] for item in items],
        "origins": [item["origins"] for item in items],
    }


def normalise(images: NDArray[np.uint8]) -> Tensor:
    """Turn RGB uint8 frames (T, H, W, 3) into ImageNet-normalised float32 (T, 3, H, W)."""
    # Transposing bytes before the conversion halves the time against converting through the transposed view.
    planes = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float()
    mean = torch.tensor(IMAGENET_MEAN, dtype=torch.float32).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, dtype=torch.float32).view(1, 3, 1, 1) * 255
    return planes.sub_(mean).div_(std)


def _choose_objects(labels: NDArray[np.uint8], settings: ClipSettings, rng: np.random.Generator) -> list[int]:
    """Random objects of frame 0 in random order; Source: object selection of STCN and RDE-VOS."""
    areas = np.bincount(labels.ravel(), minlength=2)[1:]
    candidates = np.flatnonzero(areas >= max(settings.min_object_area * labels.size, 1)) + 1
    return [int(label) for label in rng.permutation(candidates)[: settings.max_objects]]


def _make_item(clip: LabelledClip, chosen: list[int], settings: ClipSettings, rng: np.random.Generator) -> ClipItem:
    planes = np.zeros(256, np.uint8)
    for plane, label in enumerate(chosen, start=1):
        planes[label] = plane
    masks = cv2.LUT(clip.labels.reshape(len(clip.labels), -1), planes).reshape(clip.labels.shape)
    ids = range(1, settings.max_objects + 1)
    first = np.stack([masks[0] == plane for plane in ids]).astype(np.uint8)
    if settings.perturb_first_mask is not None:
        target = rng.uniform(*settings.perturb_first_mask)  # one target for all objects of a clip
        for plane in range(len(chosen)):
            first[plane] = perturb_mask(first[plane], target, rng)
    return {
        "images": normalise(clip.images),
        "masks": torch.from_numpy(masks),
        "valid_objects": torch.tensor([plane <= len(chosen) for plane in ids]),
        "first_masks": torch.from_numpy(first).float(),
        "name": clip.name,
        "origins": clip.origins,
    }
