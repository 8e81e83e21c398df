"""Which frames and objects of a sequence are scored, and the scorer that walks through one sequence.

A scorer sees one frame at a time and keeps nothing but numbers, so a sequence of any length needs the memory of two
frames. The folder evaluation and the Lightning metrics share it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import EvaluationError
from vos_zoo.metrics.functional import (
    DEFAULT_BOUND,
    VOID_ID,
    Statistics,
    foreground_box,
    score_objects,
    score_statistics,
)


@dataclass(frozen=True)
class Protocol:
    """How a benchmark chooses what counts.

    Attributes:
        name: Name on the command line.
        skips_last: Whether the last frame of a sequence is left out. The frame in which an object is given never
            counts, in any protocol.
        is_binary: Whether every id above 0 is the same object, with id 1.
        void_id: Annotation value of pixels that count for nobody, or None.
    """

    name: str
    skips_last: bool
    is_binary: bool
    void_id: int | None


PROTOCOLS: Mapping[str, Protocol] = {
    # Pont-Tuset et al., arXiv 1704.00675, and the semi-supervised task of the DAVIS 2017 evaluation.
    "davis2017": Protocol("davis2017", skips_last=True, is_binary=False, void_id=VOID_ID),
    # Perazzi et al., CVPR 2016. Its masks are 0 and 255, so 255 is the object here, not void.
    "davis2016": Protocol("davis2016", skips_last=True, is_binary=True, void_id=None),
    # Xu et al., arXiv 1809.03327.
    "youtube-vos": Protocol("youtube-vos", skips_last=False, is_binary=False, void_id=VOID_ID),
}


@dataclass(frozen=True)
class ObjectPlan:
    """What a data set's meta file says about one object.

    Attributes:
        frames: Names of the frames in which the object is annotated, in order; the first is the given one.
        category: Category name, or None.
    """

    frames: tuple[str, ...]
    category: str | None = None


@dataclass(frozen=True)
class ObjectScore:
    """The scores of one object.

    Time t counts the object's annotated frames; t = 0 is the frame whose mask was given, which is never scored.

    Attributes:
        sequence: Name of its sequence.
        object_id: Its id in the annotations (1 for the binary protocol).
        given_in: Name of the frame t = 0.
        frames: Names of the scored frames, t = 1, 2, ….
        region_by_frame: J of each scored frame, 0 to 1.
        boundary_by_frame: F of each scored frame, 0 to 1.
        areas: Annotated pixels at t = 0, 1, …; one entry more than there are scored frames.
        annotated_frames: Number of annotated frames from t = 0 to the end, scored or not.
        region: Statistics of J; NaN when no frame is scored.
        boundary: Statistics of F; NaN when no frame is scored.
        category: Category from the meta file, or None.
        is_seen: Whether its category was in the training set; None when unknown.
    """

    sequence: str
    object_id: int
    given_in: str
    frames: tuple[str, ...]
    region_by_frame: tuple[float, ...]
    boundary_by_frame: tuple[float, ...]
    areas: tuple[int, ...]
    annotated_frames: int
    region: Statistics
    boundary: Statistics
    category: str | None = None
    is_seen: bool | None = None

    @property
    def name(self) -> str:
        """Sequence and id, as the DAVIS tables write it: ``dogs-jump_1``."""
        return f"{self.sequence}_{self.object_id}"

    @property
    def is_scored(self) -> bool:
        """Whether at least one frame counts."""
        return bool(self.frames)

    @property
    def j_and_f(self) -> float:
        """Mean of the J mean and the F mean."""
        return (self.region.mean + self.boundary.mean) / 2


def get_protocol(name: str) -> Protocol:
    """Find a protocol by name.

    Raises:
        EvaluationError: If there is none; the message lists all names.

    Example:
        >>> get_protocol("davis2016").is_binary
        True
    """
    if name not in PROTOCOLS:
        raise EvaluationError(
            f"The evaluation protocol is called {name!r}. Expected one of {', '.join(PROTOCOLS)}. Pick one of these."
        )
    return PROTOCOLS[name]


class SequenceScorer:
    """Scores one sequence frame by frame.

    For each annotated frame in order call :meth:`observe`, which says whether a prediction is needed, and, if so,
    :meth:`score`. An object enters with the first annotated frame that shows it (or that its plan names) and is scored
    on the frames after that; ids of the prediction that are not objects of the sequence are ignored.

    Args:
        sequence: Name of the sequence.
        protocol: What counts.
        bound: Tolerance of F, see :func:`vos_zoo.metrics.functional.boundary_accuracy`.
        late_objects: Whether objects that first appear after the first annotated frame are scored.
        plans: Objects and their frames by id, as a meta file lists them; None takes both from the annotations.
        region: Whether J is computed; it is NaN otherwise.
        boundary: Whether F is computed; it is NaN otherwise.
    """

    def __init__(
        self,
        sequence: str,
        protocol: Protocol,
        *,
        bound: float = DEFAULT_BOUND,
        late_objects: bool = True,
        plans: Mapping[int, ObjectPlan] | None = None,
        region: bool = True,
        boundary: bool = True,
    ) -> None:
        self.sequence = sequence
        self.protocol = protocol
        self._bound = bound
        self._late_objects = late_objects
        self._plans = plans
        self._measures = {"region": region, "boundary": boundary}
        self._tracks: dict[int, _Track] = {}
        self._due: list[int] = []
        self._frame = ""
        self._frames_seen = 0
        self._annotation: NDArray[Any] = np.zeros((0, 0), np.uint8)
        self._predicted_ids: set[int] = set()

    def observe(self, annotation: NDArray[Any], frame: str, *, is_last: bool = False) -> bool:
        """Take in the next annotated frame.

        Args:
            annotation: Object ids, shape (H, W).
            frame: Name of the frame.
            is_last: Whether it is the sequence's last one.

        Returns:
            Whether the frame counts for at least one object, so that :meth:`score` must follow.
        """
        self._annotation = (annotation > 0).astype(np.uint8) if self.protocol.is_binary else annotation
        self._frame = frame
        known = [object_id for object_id in self._tracks if self._is_annotated(object_id)]
        for object_id in known:
            self._tracks[object_id].annotated_frames += 1
        for object_id in self._newcomers():
            area = int(np.count_nonzero(self._annotation == object_id))
            self._tracks[object_id] = _Track(given_in=frame, areas=[area])
        self._due = [] if is_last and self.protocol.skips_last else known
        self._frames_seen += 1
        return bool(self._due)

    def score(self, prediction: NDArray[Any]) -> None:
        """Score the prediction for the frame last observed.

        Args:
            prediction: Object ids, shape (H, W) of the annotation.

        Raises:
            ShapeError: If the sizes differ.
        """
        predicted = (prediction > 0).astype(np.uint8) if self.protocol.is_binary else prediction
        scores = score_objects(
            predicted, self._annotation, self._due, bound=self._bound, void_id=self.protocol.void_id, **self._measures
        )
        for index, object_id in enumerate(self._due):
            self._tracks[object_id].add(
                self._frame, float(scores.region[index]), float(scores.boundary[index]), int(scores.area[index])
            )
        self._predicted_ids.update(present_ids(predicted))

    @property
    def extra_ids(self) -> tuple[int, ...]:
        """Ids in the predictions that are not objects of the sequence, in rising order."""
        return tuple(sorted(self._predicted_ids - self._tracks.keys()))

    def results(self, *, seen_categories: Collection[str] | None = None) -> tuple[ObjectScore, ...]:
        """Return the scores of all objects so far, in rising order of their ids.

        Args:
            seen_categories: Categories of the training set, which decide ``is_seen``; None leaves it open.
        """
        return tuple(self._result(object_id, seen_categories) for object_id in sorted(self._tracks))

    def _result(self, object_id: int, seen_categories: Collection[str] | None) -> ObjectScore:
        track = self._tracks[object_id]
        category = self._plans[object_id].category if self._plans else None
        return ObjectScore(
            sequence=self.sequence,
            object_id=object_id,
            given_in=track.given_in,
            frames=tuple(track.frames),
            region_by_frame=tuple(track.region),
            boundary_by_frame=tuple(track.boundary),
            areas=tuple(track.areas),
            annotated_frames=track.annotated_frames,
            region=score_statistics(track.region),
            boundary=score_statistics(track.boundary),
            category=category,
            is_seen=None if category is None or seen_categories is None else category in seen_categories,
        )

    def _is_annotated(self, object_id: int) -> bool:
        return self._plans is None or self._frame in self._plans[object_id].frames

    def _newcomers(self) -> Sequence[int]:
        if self._plans is not None:
            return [i for i in self._plans if i not in self._tracks and self._is_annotated(i)]
        if self._frames_seen > 0 and not self._late_objects:
            return []
        return [i for i in present_ids(self._annotation) if i not in self._tracks and i != self.protocol.void_id]


@dataclass
class _Track:
    """Numbers of one object while its sequence is walked through."""

    given_in: str
    areas: list[int]
    frames: list[str] = field(default_factory=list)
    region: list[float] = field(default_factory=list)
    boundary: list[float] = field(default_factory=list)
    annotated_frames: int = 1

    def add(self, frame: str, region: float, boundary: float, area: int) -> None:
        self.frames.append(frame)
        self.region.append(region)
        self.boundary.append(boundary)
        self.areas.append(area)


def present_ids(mask: NDArray[Any]) -> list[int]:
    """List the ids other than 0 that a map holds, in rising order.

    Example:
        >>> present_ids(np.array([[0, 7], [2, 2]]))
        [2, 7]
    """
    if mask.dtype == np.uint8:
        # OpenCV counts bytes as they are, several times faster than numpy, which widens them first.
        box = foreground_box(mask) or (slice(1), slice(1))
        ids = np.flatnonzero(cv2.calcHist([mask[box]], [0], None, [256], [0, 256]))
    else:
        ids = np.unique(mask)
    return [int(i) for i in ids if i != 0]


def mean_over(values: Sequence[float]) -> float:
    """Ordinary mean; NaN for no values, without a warning.

    Example:
        >>> mean_over([0.25, 0.75]), mean_over([])
        (0.5, nan)
    """
    return math.fsum(values) / len(values) if values else math.nan
