"""What is known about a frame once it is segmented."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vos_zoo.inference.confidence import ObjectState, measure_objects
from vos_zoo.inference.geometry import enlarge
from vos_zoo.inference.objects import id_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import DTypeLike, NDArray
    from torch import Tensor

__all__ = ["FrameResult", "label_pixels"]


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
        given: The user's mask of this frame, (H, W); None if there is none.
        is_open: Where that mask has no opinion, (H, W); None means nowhere.
        annotated: Objects that the user gave or said to be absent. They win no pixel beside the given ones, unless
            ``is_open`` there.
        dtype: Type of the mask; None for that of :func:`id_type`.

    Returns:
        Object ids, shape (H, W).
    """
    annotated = set(annotated)
    best = enlarge(probabilities[:1], size)[0]
    # Few planes go to the host as bytes, which is a quarter of the way.
    kind = torch.uint8 if len(probabilities) <= 256 else torch.int32
    winner = torch.zeros(size, dtype=kind, device=probabilities.device)
    for plane, object_id in enumerate(ids, start=1):  # one plane at a time keeps memory small
        is_given = object_id in annotated
        if is_given and is_open is None:
            continue
        probability = enlarge(probabilities[plane : plane + 1], size)[0]
        is_better = probability > best
        if is_given:
            is_better &= torch.from_numpy(is_open).to(probabilities.device)
        best = torch.where(is_better, probability, best)
        winner[is_better] = plane
    table = np.array([0, *ids], dtype=id_type(ids) if dtype is None else dtype)
    labels: NDArray[np.integer[Any]] = table[winner.cpu().numpy()]
    if given is not None:
        is_id = given != 0 if is_open is None else (given != 0) & ~is_open
        np.copyto(labels, given, where=is_id, casting="unsafe")  # ids were checked to fit
    return labels
