"""What is known about a frame once it is segmented."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from vos_zoo.inference.confidence import ObjectState, measure_objects
from vos_zoo.inference.geometry import crop, enlarge
from vos_zoo.inference.objects import id_type
from vos_zoo.layers import soft_aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import DTypeLike, NDArray
    from torch import Tensor

__all__ = ["Decision", "FrameResult", "PendingResult", "decide", "label_pixels", "label_planes"]

# Types in which PyTorch carries ids of the types that masks have.
_CARRIERS = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.int16, np.dtype(np.int32): torch.int32}


@dataclass(frozen=True, eq=False)
class FrameResult:
    """What is known about one frame.

    The tensors belong to whoever gets the result: they are ordinary ones, made outside of inference mode, and nothing
    else uses their memory. They may be changed in place and take part in autograd.

    Args:
        index: Number of the frame: in its session, or for :func:`vos_zoo.segment_frames` in the whole video; from 0.
        mask: Object id per pixel, 0 for background, shape (H, W) in the frame's own size. Its type is the smallest
            that holds all ids so far: uint8; uint16 from the first id above 255 on; int32 from the first id above
            65535 on. Within one session it never becomes smaller again.
        object_ids: Tracked objects, in the order of ``probabilities``.
        probabilities: Final probabilities at working size, float32 (1 + O, h, w), background first. They sum to 1.
        name: Name of the frame; empty where frames have none, as in a session.
    """

    index: int
    mask: NDArray[np.integer[Any]]
    object_ids: tuple[int, ...]
    probabilities: Tensor
    name: str = ""

    @functools.cached_property
    def objects(self) -> tuple[ObjectState, ...]:
        """Area, box, centroid and confidence of every tracked object, in the order of ``object_ids``.

        Measured when they are asked for; what changed ``mask`` or ``probabilities`` in place before counts.
        """
        return measure_objects(self.mask, self.object_ids, self.probabilities)

    def probabilities_at_frame_size(self) -> Tensor:
        """Enlarge the probabilities to the frame's own size, bilinearly, as the mask was made.

        Returns:
            A new tensor, float32 (1 + O, H, W), on the device of ``probabilities``: 4 bytes for every pixel and plane.
        """
        height, width = self.mask.shape
        enlarged = enlarge(self.probabilities, (height, width))
        return enlarged.clone() if enlarged is self.probabilities else enlarged


@dataclass(frozen=True, eq=False)
class PendingResult:
    """A frame that is segmented, or is being segmented by a device that has all it needs.

    Args:
        index: See :class:`FrameResult`.
        labels: Waits for the labels, as :func:`label_planes` made them.
        dtype: Type of the mask.
        given: The user's mask of this frame, (H, W); None if there is none.
        is_open: Where that mask has no opinion, (H, W); None means nowhere.
        object_ids: See :class:`FrameResult`.
        probabilities: See :class:`FrameResult`.
    """

    index: int
    labels: Callable[[], NDArray[np.integer[Any]]]
    dtype: np.dtype[Any]
    given: NDArray[np.integer[Any]] | None
    is_open: NDArray[np.bool_] | None
    object_ids: tuple[int, ...]
    probabilities: Tensor

    def result(self) -> FrameResult:
        """Wait for the labels and return the result."""
        return self._result

    @functools.cached_property
    def _result(self) -> FrameResult:
        mask = _set_given(self.labels().view(self.dtype), self.given, self.is_open)
        return FrameResult(self.index, mask, self.object_ids, self.probabilities)


class Decision(NamedTuple):
    """Which object has which pixel.

    Attributes:
        padded: Final probabilities with padding, (1, 1 + O, h, w), background first.
        probabilities: The same without padding, (1 + O, h, w).
        labels: See :func:`label_planes`.
    """

    padded: Tensor
    probabilities: Tensor
    labels: Tensor


def decide(
    probabilities: Tensor,
    sizes: tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int]],
    ids: tuple[int, ...],
    dtype: str,
    *,
    is_open: NDArray[np.bool_] | None = None,
    annotated: Iterable[int] = (),
) -> Decision:
    """Weigh objects and background against each other.

    Args:
        probabilities: Of each object by itself, padded (1, O, h, w).
        sizes: Padding, working size and frame size of :class:`FrameSizes`.
        ids: Ids of the objects, in the order of the planes.
        dtype: Name of the type of the mask.
        is_open: See :func:`label_pixels`.
        annotated: See :func:`label_pixels`.
    """
    padding, working_size, frame_size = sizes
    padded = torch.softmax(soft_aggregate(probabilities), dim=1)
    cropped = crop(padded, padding, working_size)[0]
    labels = label_planes(cropped, ids, frame_size, dtype=np.dtype(dtype), is_open=is_open, annotated=annotated)
    return Decision(padded, cropped, labels)


def label_pixels(
    probabilities: Tensor,
    ids: tuple[int, ...],
    size: tuple[int, int],
    *,
    given: NDArray[np.integer[Any]] | None = None,
    is_open: NDArray[np.bool_] | None = None,
    annotated: Iterable[int] = (),
    dtype: DTypeLike | None = None,
) -> NDArray[np.integer[Any]]:
    """Give every pixel of a frame the most probable object; what the user gave stays exactly as given.

    Args:
        probabilities: Final probabilities at working size without padding, (1 + O, h, w), background first.
        ids: Ids of the objects, in the order of the planes.
        size: (H, W) of the frame.
        given: The user's mask of this frame, (H, W), or None.
        is_open: Where that mask has no opinion, (H, W); None means nowhere.
        annotated: Objects that the user gave or said to be absent. They win no pixel beside the given ones, unless
            ``is_open`` there.
        dtype: Type of the mask; None for that of :func:`id_type`.

    Returns:
        Object ids, shape (H, W).
    """
    kind = np.dtype(id_type(ids) if dtype is None else dtype)
    labels = label_planes(probabilities, ids, size, dtype=kind, is_open=is_open, annotated=annotated)
    return _set_given(labels.cpu().numpy().view(kind), given, is_open)


def label_planes(
    probabilities: Tensor,
    ids: tuple[int, ...],
    size: tuple[int, int],
    *,
    dtype: np.dtype[Any],
    is_open: NDArray[np.bool_] | None = None,
    annotated: Iterable[int] = (),
) -> Tensor:
    """Do what :func:`label_pixels` does where the probabilities are, but for the pixels that the user gave.

    Returns:
        Object ids, shape (H, W), as bits of ``dtype`` in a type of the same size: uint8, int16 or int32.
    """
    annotated = set(annotated)
    best = enlarge(probabilities[:1], size)[0]
    labels = torch.zeros(size, dtype=_CARRIERS[dtype], device=probabilities.device)
    for plane, object_id in enumerate(ids, start=1):  # one plane at a time keeps memory small
        is_given = object_id in annotated
        if is_given and is_open is None:
            continue
        probability = enlarge(probabilities[plane : plane + 1], size)[0]
        is_better = probability > best
        if is_given:
            is_better &= torch.from_numpy(is_open).to(probabilities.device)
        best = torch.where(is_better, probability, best)
        labels.masked_fill_(is_better, _carried(object_id, dtype))
    return labels


def _carried(object_id: int, dtype: np.dtype[Any]) -> int:
    """Return the number with an id's bits in the type that carries it: int16 for uint16, which PyTorch barely knows."""
    return object_id - 2**16 if dtype == np.uint16 and object_id >= 2**15 else object_id


def _set_given(
    labels: NDArray[np.integer[Any]], given: NDArray[np.integer[Any]] | None, is_open: NDArray[np.bool_] | None
) -> NDArray[np.integer[Any]]:
    if given is not None:
        is_id = given != 0 if is_open is None else (given != 0) & ~is_open
        np.copyto(labels, given, where=is_id, casting="unsafe")  # ids were checked to fit
    return labels
