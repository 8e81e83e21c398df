"""Region similarity J, boundary accuracy F and their statistics, as DAVIS 2017 defines them.

Everything here works on one frame (or one list of per-frame scores) and keeps no state. The masks are cropped to the
box that holds them before anything is computed; the results are those of the full frame, digit for digit:

* the boundary of a mask lies inside its bounding box grown by one pixel, so nothing outside that box can match;
* a dilation is only looked at where the other mask has boundary, which is inside the same box.

Source: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016,
sections 5.1 (J, F) and 5.2 (mean, recall, decay), in the form of the DAVIS 2017 evaluation (Pont-Tuset et al.,
arXiv 1704.00675, section 4).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

MaskLike: TypeAlias = "NDArray[Any] | Tensor"
BoolMask: TypeAlias = NDArray[np.bool_]

DEFAULT_BOUND = 0.008
"""Tolerance of F as a fraction of the frame's diagonal (DAVIS 2016 and 2017: 0.8 %)."""

VOID_ID = 255
"""Annotation value of pixels that count for nobody (DAVIS)."""

RECALL_THRESHOLD = 0.5
"""A frame is recalled when its score is above this value (DAVIS)."""

DECAY_BINS = 4
"""Decay is the first of this many temporal bins minus the last (DAVIS)."""


@dataclass(frozen=True)
class Statistics:
    """What DAVIS says about the scores of one object over time.

    Attributes:
        mean: Mean score, 0 to 1.
        recall: Share of the frames whose score is above 0.5, 0 to 1.
        decay: Mean of the first quarter of the frames minus mean of the last, −1 to 1; lower is better.
    """

    mean: float
    recall: float
    decay: float


@dataclass(frozen=True)
class FrameScores:
    """Scores of several objects in one frame; every array has shape (O,).

    Attributes:
        region: J per object, 0 to 1.
        boundary: F per object, 0 to 1; NaN when it was not asked for.
        area: Annotated pixels per object.
    """

    region: NDArray[np.float64]
    boundary: NDArray[np.float64]
    area: NDArray[np.int64]


def region_similarity(prediction: MaskLike, annotation: MaskLike, *, void: MaskLike | None = None) -> float:
    """Intersection over union of two masks (J).

    Convention: two empty masks agree perfectly, J = 1.

    Args:
        prediction: Mask, shape (H, W); non-zero is the object.
        annotation: Mask of the same shape.
        void: Pixels that count for neither mask, shape (H, W), or None.

    Returns:
        J, 0 to 1.

    Raises:
        ShapeError: If a mask is not an (H, W) array or the shapes differ.

    Source: DAVIS 2016, section 5.1; DAVIS 2017 evaluation for the empty case and void pixels.

    Example:
        >>> region_similarity(np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 1]]))
        0.25
    """
    predicted, annotated = _checked_pair(prediction, annotation, void)
    return _region(predicted, annotated)


def boundary_accuracy(
    prediction: MaskLike,
    annotation: MaskLike,
    *,
    bound: float = DEFAULT_BOUND,
    void: MaskLike | None = None,
) -> float:
    """F-measure of two masks' boundaries within a tolerance (F).

    Convention: precision is the share of predicted boundary pixels that have annotated boundary within the tolerance,
    recall the other way round. Two masks without boundary give F = 1, one without gives F = 0.

    Args:
        prediction: Mask, shape (H, W); non-zero is the object.
        annotation: Mask of the same shape.
        bound: Tolerance: below 1 a fraction of the frame's diagonal (rounded up), otherwise whole pixels.
        void: Pixels that count for neither mask, shape (H, W), or None.

    Returns:
        F, 0 to 1.

    Raises:
        ShapeError: If a mask is not an (H, W) array or the shapes differ.
        ConfigError: If the bound is negative, or a number of pixels that is not whole.

    Source: DAVIS 2016, section 5.1, with the disk-shaped tolerance and the boundary rule of the DAVIS 2017 evaluation.

    Example:
        >>> square = np.zeros((9, 9)); square[3:6, 3:6] = 1
        >>> boundary_accuracy(np.roll(square, 1, axis=0), square, bound=1)
        1.0
        >>> boundary_accuracy(np.zeros((9, 9)), square)
        0.0
    """
    predicted, annotated = _checked_pair(prediction, annotation, void)
    radius = boundary_radius(predicted.shape, bound)
    box = foreground_box(predicted | annotated) or (slice(0), slice(0))
    return _boundary(predicted[box], annotated[box], radius)


def score_objects(
    prediction: NDArray[Any],
    annotation: NDArray[Any],
    objects: Sequence[int],
    *,
    bound: float = DEFAULT_BOUND,
    void_id: int | None = VOID_ID,
    region: bool = True,
    boundary: bool = True,
) -> FrameScores:
    """J and F of several objects in one frame; the fast path behind the evaluation and the metrics.

    Args:
        prediction: Object ids, integers, shape (H, W). Ids that are not asked for are background.
        annotation: Object ids of the same shape.
        objects: Ids to score, in the order of the result.
        bound: Tolerance of F, see :func:`boundary_accuracy`.
        void_id: Annotation value whose pixels count for nobody; None if there is no such value.
        region: Whether J is wanted; it is NaN otherwise.
        boundary: Whether F is wanted; it is NaN otherwise.

    Returns:
        One J, F and annotated area per object.

    Raises:
        ShapeError: If a map is not an (H, W) array or the shapes differ.
        ConfigError: If the bound is negative, or a number of pixels that is not whole.

    Source: see :func:`region_similarity` and :func:`boundary_accuracy`.

    Example:
        >>> ids = np.array([[0, 1, 1, 2]])
        >>> score_objects(ids, np.array([[0, 1, 2, 2]]), [1, 2]).region
        array([0.5, 0.5])
    """
    _check_shapes(prediction, annotation)
    radius = boundary_radius(prediction.shape, bound)
    scores_j = np.full(len(objects), np.nan)
    scores_f = np.full(len(objects), np.nan)
    area = np.zeros(len(objects), np.int64)
    # One crop for all objects first: comparing and boxing each id then touches far fewer pixels.
    box = _union_box(prediction, annotation) or (slice(0), slice(0))
    predicted_ids, annotated_ids = prediction[box], annotation[box]
    counts = _not_void(annotated_ids, void_id)
    for index, object_id in enumerate(objects):
        predicted, annotated = predicted_ids == object_id, annotated_ids == object_id
        if counts is not None:
            predicted &= counts
        box = foreground_box(predicted | annotated) or (slice(0), slice(0))
        predicted, annotated = predicted[box], annotated[box]
        area[index] = np.count_nonzero(annotated)
        if region:
            scores_j[index] = _region(predicted, annotated)
        if boundary:
            scores_f[index] = _boundary(predicted, annotated, radius)
    return FrameScores(scores_j, scores_f, area)


def score_statistics(scores: Sequence[float] | NDArray[np.float64]) -> Statistics:
    """Mean, recall and decay of one object's per-frame scores.

    Convention: with N frames, the four bins run between the 1-based positions round(linspace(1, N, 5)), halves rounded
    up, both ends included; neighbouring bins therefore share a frame. The DAVIS program keeps the positions in eight
    bits, which wraps round beyond 256 frames; no DAVIS sequence is that long, and here they do not wrap.

    Args:
        scores: Scores in temporal order, shape (N,).

    Returns:
        The three numbers; all NaN when there are no scores.

    Source: DAVIS 2016, section 5.2; DAVIS 2017 evaluation for the bins.

    Example:
        >>> score_statistics([1.0, 0.5, 0.5, 0.0])
        Statistics(mean=0.5, recall=0.25, decay=0.5)
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        return Statistics(math.nan, math.nan, math.nan)
    positions = np.linspace(1, values.size, DECAY_BINS + 1)
    # 1e-10 lifts exact halves over numpy's rounding to even.
    edges = (np.round(positions + 1e-10) - 1).astype(np.intp)
    first, last = values[edges[0] : edges[1] + 1], values[edges[-2] : edges[-1] + 1]
    return Statistics(
        mean=float(values.mean()),
        recall=float((values > RECALL_THRESHOLD).mean()),
        decay=float(first.mean() - last.mean()),
    )


def boundary_map(mask: MaskLike) -> BoolMask:
    """Pixels that differ from their right, lower or lower right neighbour.

    Convention: the last row compares with the right neighbour only, the last column with the lower one only, and the
    last pixel is never boundary. A mask that touches the frame's edge has no boundary along that edge.

    Args:
        mask: Mask, shape (H, W); non-zero is the object.

    Returns:
        Boundary, boolean, shape (H, W).

    Raises:
        ShapeError: If the mask is not an (H, W) array.

    Source: the boundary rule of the DAVIS 2017 evaluation (after the Berkeley segmentation benchmark).

    Example:
        >>> boundary_map(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]])).astype(int)
        array([[1, 1, 0],
               [1, 1, 0],
               [0, 0, 0]])
    """
    return _boundary_map(_as_bool(mask))


def boundary_radius(shape: Sequence[int], bound: float = DEFAULT_BOUND) -> int:
    """Tolerance of F in pixels for a frame of this (H, W).

    Args:
        shape: Height and width in pixels.
        bound: Below 1 a fraction of the diagonal, rounded up; otherwise whole pixels.

    Returns:
        Radius of the disk, in pixels.

    Raises:
        ConfigError: If the bound is negative, or a number of pixels that is not whole.

    Example:
        >>> boundary_radius((480, 854)), boundary_radius((480, 854), 3)
        (8, 3)
    """
    if not 0 <= bound < math.inf or (bound >= 1 and bound != int(bound)):
        raise ConfigError(
            f"The boundary tolerance is {bound!r}. Expected a fraction of the diagonal (DAVIS: {DEFAULT_BOUND}) "
            "or a whole number of pixels. Leave `bound` out for the official value."
        )
    height, width = shape
    return int(bound) if bound >= 1 else math.ceil(bound * math.sqrt(height * height + width * width))


@functools.lru_cache(maxsize=32)
def disk(radius: int) -> NDArray[np.uint8]:
    """Disk-shaped neighbourhood: the pixels at most ``radius`` away from the centre.

    Args:
        radius: In pixels, 0 or more.

    Returns:
        Zeros and ones, shape (2 radius + 1, 2 radius + 1), read-only.

    Example:
        >>> disk(1)
        array([[0, 1, 0],
               [1, 1, 1],
               [0, 1, 0]], dtype=uint8)
    """
    steps = np.arange(-radius, radius + 1)
    kernel = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.uint8)
    kernel.setflags(write=False)
    return kernel


def foreground_box(mask: NDArray[Any]) -> tuple[slice, slice] | None:
    """Box of the non-zero pixels, grown by one pixel inside the array.

    The extra pixel keeps the whole boundary: it may lie one pixel up or left of the mask, and the pixels right and
    below tell the rules for the frame's own last row and column apart from a mere cut.

    Args:
        mask: Boolean or uint8, shape (H, W).

    Returns:
        Rows and columns to cut out; None if all pixels are zero.

    Example:
        >>> foreground_box(np.array([[0, 0, 0], [0, 0, 0], [0, 0, 1]], np.uint8))
        (slice(1, 4, None), slice(1, 4, None))
    """
    if mask.size == 0:
        return None
    left, top, width, height = cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8))
    if width == 0:
        return None
    return slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)


def _region(predicted: BoolMask, annotated: BoolMask) -> float:
    intersection = int(np.count_nonzero(predicted & annotated))
    union = int(np.count_nonzero(predicted)) + int(np.count_nonzero(annotated)) - intersection
    return intersection / union if union else 1.0


def _boundary(predicted: BoolMask, annotated: BoolMask, radius: int) -> float:
    predicted_boundary, annotated_boundary = _boundary_map(predicted), _boundary_map(annotated)
    predicted_count = int(np.count_nonzero(predicted_boundary))
    annotated_count = int(np.count_nonzero(annotated_boundary))
    if predicted_count == 0 or annotated_count == 0:
        # Both without boundary: precision = recall = 1. One without: one of the two is 0, and so is F.
        return float(predicted_count == annotated_count)
    precision = _count_near(predicted_boundary, annotated_boundary, radius) / predicted_count
    recall = _count_near(annotated_boundary, predicted_boundary, radius) / annotated_count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary_map(mask: BoolMask) -> BoolMask:
    width = mask.shape[1]
    boundary = np.zeros(mask.shape, np.bool_)
    if mask.size == 0:
        return boundary
    # One long row is several times faster than many short ones. A shift by one pixel then wraps round at the row ends,
    # which only reaches the last column, and that has a rule of its own.
    flat, found = np.ascontiguousarray(mask).ravel(), boundary.ravel()
    count = flat.size - width - 1
    if count > 0:
        here, right, below, diagonal = (flat[start : start + count] for start in (0, 1, width, width + 1))
        np.bitwise_xor(here, right, out=found[:count])
        found[:count] |= here ^ below
        found[:count] |= here ^ diagonal
    boundary[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    boundary[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return boundary


def _count_near(points: BoolMask, targets: BoolMask, radius: int) -> int:
    """Count the points that have a target within the radius; equals a dilation of the targets by the whole disk.

    Most points are settled by the largest square inside the disk, whose dilation is separable and therefore cheap. For
    the few others only the disk's rim, outside that square, is looked up.
    """
    height, width = points.shape
    padded = np.zeros((height + 2 * radius, width + 2 * radius), np.uint8)
    padded[radius : radius + height, radius : radius + width] = targets
    inner = int(radius / math.sqrt(2))
    near = cv2.dilate(padded, np.ones((2 * inner + 1, 2 * inner + 1), np.uint8))
    near = near[radius : radius + height, radius : radius + width].view(np.bool_)
    left_over = np.flatnonzero(points & ~near)
    settled = int(np.count_nonzero(points)) - left_over.size
    rim = _rim(radius, inner, padded.shape[1])
    if left_over.size * rim.size <= 4 * padded.size:
        rows, columns = np.divmod(left_over, width)
        centres = (rows + radius) * padded.shape[1] + columns + radius
        found = padded.ravel()[centres[:, None] + rim].any(axis=1)
        return settled + int(np.count_nonzero(found))
    # A ragged mask far from the other one: the whole disk costs less than so many look-ups.
    whole = cv2.dilate(padded, disk(radius))[radius : radius + height, radius : radius + width].view(np.bool_)
    return int(np.count_nonzero(points & whole))


@functools.lru_cache(maxsize=64)
def _rim(radius: int, inner: int, stride: int) -> NDArray[np.intp]:
    """Offsets, in a flattened image of this row stride, of the disk's pixels outside its inner square."""
    kernel = disk(radius).astype(bool)
    kernel[radius - inner : radius + inner + 1, radius - inner : radius + inner + 1] = False
    rows, columns = np.nonzero(kernel)
    return (rows - radius) * stride + columns - radius


def _union_box(prediction: NDArray[Any], annotation: NDArray[Any]) -> tuple[slice, slice] | None:
    if prediction.dtype == np.uint8 and annotation.dtype == np.uint8:
        return foreground_box(cv2.bitwise_or(prediction, annotation))
    return foreground_box((prediction != 0) | (annotation != 0))


def _not_void(annotated_ids: NDArray[Any], void_id: int | None) -> BoolMask | None:
    if void_id is None:
        return None
    counts: BoolMask = annotated_ids != void_id
    return None if counts.all() else counts


def _checked_pair(prediction: MaskLike, annotation: MaskLike, void: MaskLike | None) -> tuple[BoolMask, BoolMask]:
    predicted, annotated = _as_bool(prediction), _as_bool(annotation)
    _check_shapes(predicted, annotated)
    if void is not None:
        counts = ~_as_bool(void)
        _check_shapes(counts, annotated)
        predicted, annotated = predicted & counts, annotated & counts
    return predicted, annotated


def _as_bool(mask: MaskLike) -> BoolMask:
    # Tensors are told by what they can do, so that this module never imports torch.
    array = np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)
    if array.ndim != 2 or array.size == 0:
        raise ShapeError(
            f"A mask has shape {tuple(array.shape)}. Expected (H, W) with at least one pixel. "
            "Pass one frame and one object at a time."
        )
    return array if array.dtype == np.bool_ else array != 0


def _check_shapes(prediction: NDArray[Any], annotation: NDArray[Any]) -> None:
    if prediction.ndim != 2 or prediction.shape != annotation.shape:
        raise ShapeError(
            f"Prediction has shape {tuple(prediction.shape)}, annotation {tuple(annotation.shape)}. Expected the same "
            "(H, W). Bring the prediction to the annotation's size with nearest-neighbour sampling."
        )
