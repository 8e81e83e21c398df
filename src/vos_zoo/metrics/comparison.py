"""Is one result better than another? A paired bootstrap over objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vos_zoo.configs import check_choice
from vos_zoo.errors import ConfigError, EvaluationError
from vos_zoo.metrics.protocols import ObjectScore
from vos_zoo.metrics.report import EvaluationReport

Measure = Literal["j_and_f", "region", "boundary"]
"""What reports can be compared by: mean of J and F, J, or F."""

_LABELS: dict[str, str] = {"j_and_f": "J&F", "region": "J", "boundary": "F"}
_CHUNK = 1000  # resamples at a time, to bound memory


@dataclass(frozen=True)
class Comparison:
    """Difference of two results on the same objects, first minus second, in score units (0 to 1).

    Attributes:
        measure: What was compared: ``"j_and_f"``, ``"region"`` or ``"boundary"``.
        difference: Mean difference over objects.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Coverage of the interval, 0 to 1.
        objects: Number of objects compared.
        better: Objects on which the first result scores higher.
        worse: Objects on which it scores lower.
    """

    measure: str
    difference: float
    low: float
    high: float
    confidence: float
    objects: int
    better: int
    worse: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        """One line for terminals, in points (percent)."""
        return (
            f"{_LABELS[self.measure]}: {100 * self.difference:+.2f} points, {100 * self.confidence:g} % interval "
            f"[{100 * self.low:+.2f}, {100 * self.high:+.2f}], better on {self.better} and worse on {self.worse} "
            f"of {self.objects} objects"
        )


def compare(
    first: EvaluationReport,
    second: EvaluationReport,
    *,
    measure: Measure = "j_and_f",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compare two reports on the same objects, with a percentile bootstrap interval over objects.

    The two scores of an object stay together in every resample, so what makes an object hard for both cancels out.
    Objects of one sequence are treated as independent; with many objects per sequence the interval is too narrow.

    Args:
        first: Report of one result.
        second: Report of the other, of the same protocol and objects.
        measure: ``"j_and_f"`` for the mean of J and F, ``"region"`` for J, ``"boundary"`` for F.
        confidence: Coverage of the interval, between 0 and 1.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling; the same seed gives the same interval.

    Returns:
        The difference, first minus second.

    Raises:
        EvaluationError: If the protocols, the tolerances or the scored objects and frames differ.
        ConfigError: If an option is out of its range, or ``measure`` is none of its choices.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3 (percentile interval).

    Example:
        >>> from vos_zoo import evaluate
        >>> from vos_zoo.media.masks import write_mask
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[10:20, 10:30] = 1
        >>> for index in range(3):
        ...     write_mask(f"true_masks/{index:05d}.png", mask)
        ...     write_mask(f"shifted/{index:05d}.png", np.roll(mask, index, axis=1))
        >>> exact, shifted = (evaluate(folder, "true_masks") for folder in ("true_masks", "shifted"))
        >>> round(compare(exact, shifted, measure="region").difference, 3)
        0.095
    """
    check_choice("measure", measure, Measure)
    if not 0 < confidence < 1 or resamples < 1:
        raise ConfigError(
            f"The interval has coverage {confidence!r} from {resamples!r} resamples. Expected a coverage between 0 and "
            "1 and at least one resample. Leave both out for 0.95 and 10,000."
        )
    pairs = _paired(first, second)
    differences = np.array([_score(a, measure) - _score(b, measure) for a, b in pairs])
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            generator.choice(differences, (min(_CHUNK, resamples - done), differences.size)).mean(axis=1)
            for done in range(0, resamples, _CHUNK)
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Comparison(
        measure=measure,
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        confidence=confidence,
        objects=differences.size,
        better=int((differences > 0).sum()),
        worse=int((differences < 0).sum()),
    )


def object_differences(first: EvaluationReport, second: EvaluationReport) -> list[tuple[str, float, float]]:
    """List the J&F of every object in two reports, those first that the first report gets more right.

    Args:
        first: Report of one result.
        second: Report of the other, of the same protocol and objects.

    Returns:
        Name of the object, J&F in the first report and in the second, 0 to 1.

    Raises:
        EvaluationError: If the protocols, the tolerances or the scored objects and frames differ.
    """
    rows = [(a.name, a.j_and_f, b.j_and_f) for a, b in _paired(first, second)]
    return sorted(rows, key=lambda row: row[2] - row[1])


def _paired(first: EvaluationReport, second: EvaluationReport) -> list[tuple[ObjectScore, ObjectScore]]:
    if (first.protocol, first.bound) != (second.protocol, second.bound):
        raise EvaluationError(
            f"The reports use {first.protocol} with tolerance {first.bound:g} and {second.protocol} with "
            f"{second.bound:g}. Expected the same. Evaluate both results alike."
        )
    firsts = {score.name: score for score in first.scored_objects}
    seconds = {score.name: score for score in second.scored_objects}
    if lone := sorted(firsts.keys() ^ seconds.keys()):
        raise EvaluationError(
            f"{len(lone)} objects are in one report only, such as `{lone[0]}`. Expected the same objects in both. "
            "Evaluate both results on the same sequences."
        )
    if not firsts:
        raise EvaluationError("The reports hold no scored object. Expected at least one. Evaluate more sequences.")
    for name, score in firsts.items():
        if score.frames != seconds[name].frames:
            raise EvaluationError(
                f"The reports score `{name}` on {len(score.frames)} and {len(seconds[name].frames)} frames that are "
                "not the same. Expected the same frames in both. Evaluate both results against the same annotations."
            )
    return [(score, seconds[name]) for name, score in firsts.items()]


def _score(score: ObjectScore, measure: Measure) -> float:
    if measure == "j_and_f":
        return score.j_and_f
    return score.region.mean if measure == "region" else score.boundary.mean
