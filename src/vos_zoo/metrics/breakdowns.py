"""Scores of parts of the frames: early against late, and after an occlusion.

Time t counts an object's annotated frames; t = 0 is the frame whose mask was given. Scores are averaged over the frames
of a group per object, then over the objects that have at least one frame in the group.

Source: Azimi et al., "Hybrid-S2S: Video Object Segmentation with Recurrent Networks and Correspondence Matching",
arXiv 2010.05069, tables 3 and 4, figures 5 and 6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from vos_zoo.errors import EvaluationError
from vos_zoo.metrics.protocols import ObjectScore, mean_over


@dataclass(frozen=True)
class BreakdownRow:
    """Scores of one group of frames.

    Attributes:
        breakdown: Name of the breakdown, ``"length"`` or ``"occlusion"``.
        group: Which frames, such as ``"t < 10"``.
        region: Mean J, 0 to 1; NaN when no object has a frame in the group.
        boundary: Mean F, 0 to 1; NaN likewise.
        objects: Objects with at least one frame in the group.
        frames: Frames in the group, summed over objects.
    """

    breakdown: str
    group: str
    region: float
    boundary: float
    objects: int
    frames: int

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.region + self.boundary) / 2


def length_breakdown(
    scores: Iterable[ObjectScore], *, min_length: int = 20, early_end: int = 10, late_start: int = 20
) -> tuple[BreakdownRow, ...]:
    """Compare the first frames of long sequences with the late ones.

    Args:
        scores: Scores of the objects.
        min_length: Only objects with more annotated frames than this are kept.
        early_end: Early frames are 1 <= t < ``early_end``.
        late_start: Late frames are t > ``late_start``.

    Returns:
        The early and the late row.

    Source: arXiv 2010.05069, section 4.3 and table 3.

    Example:
        >>> import numpy as np
        >>> from vos_zoo import evaluate
        >>> from vos_zoo.media.masks import write_mask
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> for index in range(24):
        ...     mask[10:20, 10:30] = index != -1
        ...     write_mask(f"true_masks/{index:05d}.png", mask)
        >>> early, late = length_breakdown(evaluate("true_masks", "true_masks").objects)
        >>> early.group, late.group, late.region
        ('t < 10', 't > 20', 1.0)
    """
    long = [score for score in scores if score.annotated_frames > min_length]
    return (
        _row("length", f"t < {early_end}", long, lambda score: range(1, early_end)),
        _row("length", f"t > {late_start}", long, lambda score: range(late_start + 1, score.annotated_frames)),
    )


def occlusion_breakdown(
    scores: Iterable[ObjectScore], *, thresholds: Sequence[int] = (0, 50, 100)
) -> tuple[BreakdownRow, ...]:
    """Score the frames after an object's first re-appearance.

    A frame counts as occluded when the object's annotated area is at most the threshold. The scored frames run from the
    end of the first occlusion after t = 0 to the end of the sequence, later occlusions included.

    Args:
        scores: Scores of the objects.
        thresholds: Areas in pixels of the annotation.

    Returns:
        One row over all frames of all objects, then one per threshold.

    Source: arXiv 2010.05069, section 4.3 and table 4.

    Example:
        >>> import numpy as np
        >>> from vos_zoo import evaluate
        >>> from vos_zoo.media.masks import write_mask
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> for index in range(24):
        ...     mask[10:20, 10:30] = index != 5
        ...     write_mask(f"true_masks/{index:05d}.png", mask)
        >>> rows = occlusion_breakdown(evaluate("true_masks", "true_masks").objects)
        >>> [row.group for row in rows], rows[1].frames
        (['all', 'area <= 0', 'area <= 50', 'area <= 100'], 17)
    """
    listed = list(scores)
    return (
        _row("occlusion", "all", listed, lambda score: range(1, len(score.areas))),
        *(_row("occlusion", f"area <= {threshold}", listed, _after_occlusion(threshold)) for threshold in thresholds),
    )


def length_histogram(scores: Iterable[ObjectScore]) -> dict[int, int]:
    """Number of objects by their number of annotated frames, in rising order.

    Source: arXiv 2010.05069, figure 5.
    """
    return dict(sorted(Counter(score.annotated_frames for score in scores).items()))


def occlusion_histogram(scores: Iterable[ObjectScore], threshold: int = 0) -> dict[int, int]:
    """Number of occlusions by their length in annotated frames, in rising order.

    Only occlusions that end within the sequence count.

    Args:
        scores: Scores of the objects.
        threshold: A frame is occluded when the annotated area is at most this many pixels.

    Source: arXiv 2010.05069, figure 6.
    """
    lengths = Counter(end - start for score in scores for start, end in _occlusions(score.areas, threshold))
    return dict(sorted(lengths.items()))


def breakdown(name: str, scores: Sequence[ObjectScore]) -> tuple[BreakdownRow, ...]:
    """Make a breakdown by its name, ``"length"`` or ``"occlusion"``, with the paper's numbers.

    Raises:
        EvaluationError: If there is no breakdown of that name.
    """
    if name == "length":
        return length_breakdown(scores)
    if name == "occlusion":
        return occlusion_breakdown(scores)
    raise EvaluationError(f"The breakdown is called {name!r}. Expected `length` or `occlusion`. Pick one of these.")


def _row(name: str, group: str, scores: Sequence[ObjectScore], times: Callable[[ObjectScore], range]) -> BreakdownRow:
    region, boundary, frames = [], [], 0
    for score in scores:
        # Scores start at t = 1, and the last frame may be unscored.
        indices = [time - 1 for time in times(score) if time <= len(score.frames)]
        if indices:
            region.append(mean_over([score.region_by_frame[index] for index in indices]))
            boundary.append(mean_over([score.boundary_by_frame[index] for index in indices]))
            frames += len(indices)
    return BreakdownRow(name, group, mean_over(region), mean_over(boundary), len(region), frames)


def _after_occlusion(threshold: int) -> Callable[[ObjectScore], range]:
    def times(score: ObjectScore) -> range:
        first = next(_occlusions(score.areas, threshold), None)
        return range(0) if first is None else range(first[1], len(score.areas))

    return times


def _occlusions(areas: Sequence[int], threshold: int) -> Iterator[tuple[int, int]]:
    """Runs of occluded frames after t = 0 that a visible frame follows, as (first, one past the last)."""
    start = None
    for time, area in enumerate(areas[1:], start=1):
        if area <= threshold:
            start = time if start is None else start
        elif start is not None:
            yield start, time
            start = None
