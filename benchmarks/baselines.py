"""What a trained model has to beat: repeating the first mask, and propagating labels by ImageNet features alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.inference.session import VideoSession
from vos_zoo.layers import ResNetTrunk
from vos_zoo.memory import MemoryTokens, read_memory

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.training.module import VOSModule

_PREVIOUS_FRAMES = 4
_TOP_K = 5
_TEMPERATURE = 0.07  # of the softmax over the five best cosines, a usual value for label propagation


class Propagator(Protocol):
    """Anything that takes frames with masks of new objects and returns masks."""

    def step(self, frame: NDArray[np.uint8], mask: NDArray[np.integer] | None) -> NDArray[np.integer]:
        """Segment the next frame."""
        ...

    @property
    def memory_bytes(self) -> int:
        """What is remembered of earlier frames."""
        ...


class ModelPropagator:
    """A model of the zoo at a size as ``VideoSession`` takes it."""

    def __init__(self, model: VOSModule, size: WorkingSize | Literal["native"]) -> None:
        self._session = VideoSession(model, size=size)

    def step(self, frame: NDArray[np.uint8], mask: NDArray[np.integer] | None) -> NDArray[np.integer]:
        """Segment the next frame."""
        return self._session.step(frame, mask).mask

    @property
    def memory_bytes(self) -> int:
        """Bytes of the session's memory."""
        return self._session.memory_bytes


class RepeatFirstMask:
    """Every object stays where it was first seen."""

    def __init__(self) -> None:
        self._mask: NDArray[np.integer] | None = None

    def step(self, frame: NDArray[np.uint8], mask: NDArray[np.integer] | None) -> NDArray[np.integer]:
        """Return the first mask, with new objects drawn over it."""
        if self._mask is None:
            self._mask = np.zeros(frame.shape[:2], np.int32)
        if mask is not None:
            self._mask = np.where(mask != 0, mask, self._mask)
        return self._mask

    @property
    def memory_bytes(self) -> int:
        """Bytes of the mask."""
        return 0 if self._mask is None else self._mask.nbytes


class FeaturePropagation:
    """Training-free propagation: labels follow the cosine similarity of the backbone's stride-8 features.

    Every position takes the label distribution of its five nearest positions in the first frame, in frames where
    objects entered, and in the four previous frames.

    Args:
        backbone: ResNet-18 weights in safetensors.
        size: Short side in pixels.
    """

    def __init__(self, backbone: Path, size: int) -> None:
        trunk = ResNetTrunk("resnet18")
        trunk.load_imagenet(load_file(backbone))
        self._trunk = trunk.eval()
        self._size = size
        self._ids: list[int] = []
        self._annotated: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._previous: list[tuple[torch.Tensor, torch.Tensor]] = []

    @torch.inference_mode()
    def step(self, frame: NDArray[np.uint8], mask: NDArray[np.integer] | None) -> NDArray[np.integer]:
        """Segment the next frame."""
        height, width = frame.shape[:2]
        geometry = FrameGeometry.fit((height, width), self._size, 16)
        features = self._trunk(geometry.to_image(frame, torch.device("cpu"))).stride8
        keys = F.normalize(features, dim=1)
        grid = (keys.shape[2], keys.shape[3])
        tokens = keys.flatten(2).mT
        new_ids = [] if mask is None else [int(i) for i in np.unique(mask) if i != 0 and i not in self._ids]
        self._grow(len(new_ids))
        self._ids.extend(new_ids)
        labels = torch.zeros(1, grid[0] * grid[1], 1 + len(self._ids))
        labels[..., 0] = 1
        memory = self._annotated + self._previous
        if memory:
            stacked = MemoryTokens(
                torch.cat([entry[0] for entry in memory], dim=1),
                None,
                torch.cat([entry[1] for entry in memory], dim=1),
                1 / _TEMPERATURE,
            )
            labels = read_memory(keys, stacked, top_k=_TOP_K).values.flatten(2).mT
        planes = labels.mT.unflatten(2, grid)
        full = F.interpolate(planes, geometry.padded_size, mode="bilinear", align_corners=False)
        full = F.interpolate(geometry.crop(full), (height, width), mode="bilinear", align_corners=False)[0]
        result = np.array([0, *self._ids], np.int32)[full.argmax(0).numpy()]
        if mask is not None:
            result = np.where(mask != 0, mask, result)
            one_hot = np.stack([result == i for i in (0, *self._ids)]).astype(np.float32)
            padded = F.pad(
                F.interpolate(torch.from_numpy(one_hot)[None], geometry.working_size, mode="area"), geometry.padding
            )
            labels = F.adaptive_avg_pool2d(padded, grid).flatten(2).mT
            self._annotated.append((tokens, labels))
        self._previous = [*self._previous, (tokens, labels)][-_PREVIOUS_FRAMES:]
        return result

    @property
    def memory_bytes(self) -> int:
        """Bytes of remembered features and labels."""
        return sum(part.nbytes for entry in self._annotated + self._previous for part in entry)

    def _grow(self, count: int) -> None:
        """Give earlier label maps empty planes for new objects."""
        self._annotated, self._previous = (
            [(keys, F.pad(labels, (0, count))) for keys, labels in entries]
            for entries in (self._annotated, self._previous)
        )


def read_frame(path: Path) -> NDArray[np.uint8]:
    """Read an RGB frame."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise FileNotFoundError(path)
    return image.astype(np.uint8)
