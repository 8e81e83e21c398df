"""How sure a result is of every object, and where the object is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["ObjectState", "measure_objects"]


@dataclass(frozen=True)
class ObjectState:
    """One object in one frame.

    Attributes:
        object_id: Id of the object.
        area: Pixels of its mask.
        box: (left, top, right, bottom) of its mask in pixels, right and bottom exclusive; None if it has no pixel.
        centroid: (x, y) of its mask in pixels, the middle of the first pixel at (0.5, 0.5); None if it has no pixel.
        probability: Mean probability of the object where it is the most probable, 0-1; 0 if it is nowhere.
        margin: Mean lead over the runner-up there, background included, 0-1; 0 if it is nowhere.
    """

    object_id: int
    area: int
    box: tuple[int, int, int, int] | None
    centroid: tuple[float, float] | None
    probability: float
    margin: float


@torch.no_grad()
def measure_objects(
    mask: NDArray[np.integer[Any]], object_ids: Sequence[int], probabilities: Tensor
) -> tuple[ObjectState, ...]:
    """Measure every object of a frame.

    Args:
        mask: Object ids, shape (H, W).
        object_ids: Tracked objects.
        probabilities: Of background and objects, (1 + O, h, w), which need not have the mask's size.

    Returns:
        One state for each object, in the order of ``object_ids``.

    Example:
        >>> mask = np.array([[0, 0, 0], [0, 7, 7]], np.uint8)
        >>> state, = measure_objects(mask, (7,), torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]]))
        >>> state.area, state.box, state.centroid, round(state.probability, 2), round(state.margin, 2)
        (2, (1, 1, 3, 2), (2.0, 1.5), 0.8, 0.6)
    """
    # The two largest of every pixel, plane by plane: sorting all of them takes many times as long. All of it in a few
    # buffers, since asking the system for new ones takes longer than most of what is done with them.
    best, second = probabilities[0].clone(), torch.full_like(probabilities[0], -1)
    winner, spare = torch.zeros_like(best, dtype=torch.int32), torch.empty_like(best)
    for plane in range(1, len(probabilities)):
        values = probabilities[plane]
        torch.maximum(second, torch.minimum(best, values, out=spare), out=second)
        winner.masked_fill_(values > best, plane)
        torch.maximum(best, values, out=best)
    best, lead = best.flatten(), torch.sub(best, second, out=second).flatten()
    means = []
    for plane in range(1, len(probabilities)):
        is_object = spare.copy_(winner == plane).flatten()
        count = is_object.sum().clamp(min=1)
        means += [torch.dot(values, is_object) / count for values in (best, lead)]
    found = torch.stack(means).reshape(-1, 2).tolist() if means else []  # waits for the device once
    return tuple(_state(mask, object_id, *pair) for object_id, pair in zip(object_ids, found, strict=True))


def _state(mask: NDArray[np.integer[Any]], object_id: int, probability: float, margin: float) -> ObjectState:
    is_object = mask == object_id
    rows, columns = is_object.sum(axis=1), is_object.sum(axis=0)
    area = int(rows.sum())
    if not area:
        return ObjectState(object_id, 0, None, None, probability, margin)
    (top, bottom), (left, right) = (np.flatnonzero(counts)[[0, -1]].tolist() for counts in (rows, columns))
    y, x = (float((counts * (np.arange(len(counts)) + 0.5)).sum() / area) for counts in (rows, columns))
    return ObjectState(object_id, area, (left, top, right + 1, bottom + 1), (x, y), probability, margin)
