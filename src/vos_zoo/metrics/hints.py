"""What may be wrong with results that score badly: names that are shifted by a frame, ids that are swapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.media.mask_decoding import decode_mask
from vos_zoo.media.masks import read_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vos_zoo.metrics.folders import SequenceFolders
    from vos_zoo.metrics.protocols import Protocol

__all__ = ["find_mistake", "is_shifted"]

_MORE_THAN_IDS = 2**32
_LOOKED_AT = 6  # frames of a sequence, at equal distances
_GAIN_OF_SHIFT = 0.05  # of J; masks of neighbouring frames are alike
_GAIN_OF_SWAP = 0.3  # of J; other objects are elsewhere


def find_mistake(folders: SequenceFolders, protocol: Protocol) -> str | None:
    """Look at a few frames of a sequence for mistakes that no error shows.

    Args:
        folders: The sequence.
        protocol: Which annotations hold objects.

    Returns:
        A sentence about the most likely mistake; None if the results look as they should.
    """
    frames = folders.frames
    inner = range(1, len(frames) - 1)
    chosen = sorted({inner[step * (len(inner) - 1) // (_LOOKED_AT - 1)] for step in range(_LOOKED_AT)}) if inner else []
    near: list[tuple[float, float, float]] = []
    pairs: dict[tuple[int, int], list[float]] = {}
    for index in chosen:
        files = [folders.result_file(frames[index + shift]) for shift in (-1, 0, 1)]
        if not all(file.is_file() for file in files):
            continue
        truth = _ids(decode_mask(folders.annotation_file(frames[index])).ids, protocol)
        overlaps = [_overlaps(truth, _ids(read_mask(file, void=None), protocol), protocol) for file in files]
        if not overlaps[1]:
            continue
        before, here, after = (_mean_of_own(overlap) for overlap in overlaps)
        near.append((before, here, after))
        for pair, value in overlaps[1].items():
            pairs.setdefault(pair, []).append(value)
    if not near:
        return None
    return _swapped(pairs, len(near)) or _shifted(near)


def is_shifted(results: Sequence[str], annotations: Sequence[str]) -> bool:
    """Tell whether the names of results are those of the annotations, one number on or back.

    Example:
        >>> is_shifted(["00001", "00002"], ["00000", "00001"])
        True
    """
    if len(results) != len(annotations) or not all(name.isdecimal() for name in (*results, *annotations)):
        return False
    return {int(ours) - int(theirs) for ours, theirs in zip(results, annotations, strict=True)} in ({1}, {-1})


def _ids(mask: NDArray[Any], protocol: Protocol) -> NDArray[np.int64]:
    return (mask > 0).astype(np.int64) if protocol.is_binary else mask.astype(np.int64)


def _overlaps(
    truth: NDArray[np.int64], prediction: NDArray[np.int64], protocol: Protocol
) -> dict[tuple[int, int], float]:
    """Return J of every pair of a true and a predicted object, the own pairs even where they do not touch."""
    if truth.shape != prediction.shape:
        return {}
    if protocol.void_id is not None:
        truth, prediction = (ids[truth != protocol.void_id] for ids in (truth, prediction))
    combined, counts = np.unique(truth * _MORE_THAN_IDS + prediction, return_counts=True)
    shared = {divmod(int(pair), _MORE_THAN_IDS): int(count) for pair, count in zip(combined, counts, strict=True)}
    true_areas: dict[int, int] = {}
    areas: dict[int, int] = {}
    for (one, other), count in shared.items():
        true_areas[one] = true_areas.get(one, 0) + count
        areas[other] = areas.get(other, 0) + count
    own = {(one, one): 0 for one in true_areas}
    return {
        (one, other): count / (true_areas[one] + areas.get(other, 0) - count)
        for (one, other), count in (own | shared).items()
        if one and other
    }


def _mean_of_own(overlaps: dict[tuple[int, int], float]) -> float:
    own = [value for (one, other), value in overlaps.items() if one == other]
    return float(np.mean(own)) if own else 0.0


def _shifted(near: list[tuple[float, float, float]]) -> str | None:
    for side, name in ((0, "before"), (2, "after")):
        gains = np.array([values[side] - values[1] for values in near])
        if len(gains) > 1 and gains.mean() > _GAIN_OF_SHIFT and (gains > 0).mean() >= 0.9:
            means = [float(np.mean([values[position] for values in near])) for position in (side, 1)]
            return (
                f"the results of the frame {name} fit better (J {100 * means[0]:.1f} instead of {100 * means[1]:.1f} "
                f"on {len(near)} frames), so their names may be shifted by one"
            )
    return None


def _swapped(pairs: dict[tuple[int, int], list[float]], frames: int) -> str | None:
    mean = {pair: sum(values) / frames for pair, values in pairs.items()}
    objects = {one for one, _ in mean}
    best: dict[int, int] = {}
    for (one, other), _ in sorted(mean.items(), key=lambda entry: -entry[1]):
        if one not in best and other not in best.values():
            best[one] = other
    gain = sum(mean[pair] for pair in best.items()) - sum(mean.get((one, one), 0.0) for one in objects)
    moved = {one: other for one, other in best.items() if one != other and mean[one, other] > 0.5}
    if not moved or gain / len(objects) <= _GAIN_OF_SWAP:
        return None
    named = ", ".join(
        f"object {one} of the annotations fits object {other} of the results" for one, other in sorted(moved.items())
    )
    return f"{named}, so ids may be swapped"
