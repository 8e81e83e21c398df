"""Masks for the tools of Roboflow's ``supervision``: annotators, zones, sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import MaskError, MissingExtraError
from vos_zoo.media.masks import mask_ids

if TYPE_CHECKING:
    import supervision

__all__ = ["to_detections"]


def to_detections(
    mask: NDArray[Any], *, confidence: Mapping[int, float] | None = None, void: int | None = None
) -> supervision.Detections:
    """Turn the mask of a frame into ``supervision.Detections``, one per object that is visible.

    Args:
        mask: Object ids, integer, shape (H, W), such as ``FrameResult.mask``.
        confidence: Confidence of every object, 0-1, by id; None leaves it out.
        void: A value that is not an object, or None.

    Returns:
        Boxes, masks, and the ids as ``tracker_id``; also as ``class_id``, by which annotators choose colours.

    Raises:
        MissingExtraError: If supervision is not installed.
        MaskError: If the mask is not an array of ids, or an object has no confidence.

    Example:
        >>> mask = np.zeros((40, 60), np.uint8)
        >>> mask[10:20, 30:50] = 7
        >>> found = to_detections(mask, confidence={7: 0.9})
        >>> found.xyxy.tolist(), found.tracker_id.tolist()
        ([[30.0, 10.0, 49.0, 19.0]], [7])
    """
    try:
        import supervision
    except ImportError as error:
        raise MissingExtraError(
            "Detections need supervision, which is not installed. Install it with `pip install vos-zoo[supervision]`."
        ) from error
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise MaskError(
            f"The mask has shape {mask.shape} and type {mask.dtype}. Give object ids of shape (H, W), such as the mask "
            "of a FrameResult."
        )
    ids = np.array(mask_ids(mask, void=void), dtype=np.int64)
    missing = [] if confidence is None else [int(object_id) for object_id in ids if object_id not in confidence]
    if missing:
        raise MaskError(f"Object {missing[0]} of the mask has no confidence. Give that of all objects, or None.")
    masks = mask == ids[:, None, None]
    return supervision.Detections(
        xyxy=supervision.mask_to_xyxy(masks).astype(np.float32),
        mask=masks,
        confidence=None if confidence is None else np.array([confidence[int(i)] for i in ids], dtype=np.float32),
        class_id=ids,
        tracker_id=ids,
    )
