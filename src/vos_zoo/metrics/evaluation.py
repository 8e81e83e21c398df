"""Scoring a folder of results against a folder of annotations."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
from numpy.typing import NDArray

from vos_zoo.errors import ConfigError, EvaluationError
from vos_zoo.media.mask_decoding import decode_mask
from vos_zoo.media.masks import read_mask
from vos_zoo.metrics.breakdowns import breakdown as make_breakdown
from vos_zoo.metrics.folders import SequenceFolders, categories, find_sequences, read_meta, read_sequence_names
from vos_zoo.metrics.functional import DEFAULT_BOUND, boundary_radius
from vos_zoo.metrics.hints import find_mistake, is_shifted
from vos_zoo.metrics.protocols import ObjectPlan, ObjectScore, SequenceScorer, get_protocol
from vos_zoo.metrics.report import EvaluationReport

_SHOWN_MISTAKES = 3
_logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int, str], None]


def evaluate(
    results: str | Path,
    annotations: str | Path,
    *,
    protocol: str = "davis2017",
    sequences: str | Path | Iterable[str] | None = None,
    meta: str | Path | None = None,
    seen_categories: str | Path | Collection[str] | None = None,
    bound: float = DEFAULT_BOUND,
    late_objects: bool = True,
    breakdown: str | Sequence[str] = (),
    processes: int | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score result masks against annotations.

    Both are folders ``<root>/<sequence>/<frame>.png`` of object ids. The annotations say which frames exist; a frame is
    scored for an object when it comes after the frame in which the object is given, that is, its first annotated one.

    * ``davis2017``: the last frame is left out as well (and with it every object that is given there). Pixels of
      value 255 in the annotations count for nobody.
    * ``davis2016``: the same frames, with every id above 0, 255 included, as one object.
    * ``youtube-vos``: the last frame counts. With a ``meta`` file, objects, their first frames and their categories
      come from it, and an object is scored on the frames listed there.

    Where the official DAVIS program is narrower or stops, this function says or does the following. Objects that enter
    after the first frame, which DAVIS does not have and its program ignores, are scored from the frame after their
    first (``late_objects=False`` ignores them). Gaps in the ids are not objects. Ids in the results that no annotation
    has, at which it stops, are ignored and listed in ``extra_ids``. Where object and prediction are both absent,
    J = F = 1, as in DAVIS.

    Args:
        results: Root of the results; or the folder of a single sequence, if the annotations are one, too.
        annotations: Root of the annotations, ``Annotations/480p``, a DAVIS or YouTube-VOS root, or the folder of a
            single sequence.
        protocol: ``"davis2017"``, ``"davis2016"`` or ``"youtube-vos"``.
        sequences: Names; or a text file with one name a line; or the name of a DAVIS root's image set such as
            ``"val"``. None takes every annotated sequence.
        meta: The ``meta.json`` of a YouTube-VOS set, or None.
        seen_categories: Categories of the training set: their names, or the training set's ``meta.json``. With it and
            ``meta`` the report splits seen from unseen objects and gives G.
        bound: Tolerance of F: below 1 a fraction of the diagonal, otherwise whole pixels.
        late_objects: Whether objects that enter after the first annotated frame are scored.
        breakdown: ``"length"``, ``"occlusion"`` or both: scores of parts of the frames, see
            :mod:`vos_zoo.metrics.breakdowns`.
        processes: Number of worker processes; None or 1 works in this process. Workers are started afresh, so a script
            that asks for them needs the usual ``if __name__ == "__main__":``.
        progress: Called as ``progress(done, total, sequence)`` after each sequence, in the calling process.

    Returns:
        The scores. They do not depend on the number of processes.

    Raises:
        MissingFileError: If a root, list or meta file does not exist.
        EvaluationError: If a sequence or frame has no result, sizes differ, or nothing can be scored.
        MaskError: If a file holds no object ids.
        ConfigError: If an option is out of its range.

    Source: Pont-Tuset et al., arXiv 1704.00675, section 4; Xu et al., arXiv 1809.03327, section 4; Perazzi et al., CVPR
    2016, section 5. DAVIS 2016 is scored by the rules of 2017 with one object, as recent papers do.

    Example:
        >>> import numpy as np
        >>> from vos_zoo.media.masks import write_mask
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[10:20, 10:30] = 1
        >>> for index in range(3):
        ...     write_mask(f"true_masks/{index:05d}.png", mask)
        ...     write_mask(f"masks/{index:05d}.png", np.roll(mask, index, axis=1))
        >>> report = evaluate("masks", "true_masks")
        >>> round(report.region.mean, 3)  # of the middle frame: one of 20 columns is missing, one is too many
        0.905
    """
    names = (breakdown,) if isinstance(breakdown, str) else tuple(breakdown)
    for name in names:
        make_breakdown(name, [])  # a wrong name must not cost a whole evaluation first
    get_protocol(protocol)
    boundary_radius((1, 1), bound)
    if processes is not None and processes < 1:
        raise ConfigError(f"The number of processes is {processes}. Expected 1 or more. Leave it out to use this one.")
    listed, set_name = (None, "all") if sequences is None else read_sequence_names(sequences, Path(annotations))
    folders = find_sequences(Path(results), Path(annotations), listed)
    plans = None if meta is None else _plans_of(folders, Path(meta))
    seen = _seen_categories(seen_categories)
    jobs = [
        _Job(folder, protocol, bound, late_objects, None if plans is None else plans[folder.name], seen)
        for folder in folders
    ]
    workers = min(processes or 1, len(jobs))
    outcomes = _run_here(jobs, progress) if workers == 1 else _run_in_workers(jobs, workers, progress)
    _say_mistakes([(folder.name, outcome.mistake) for folder, outcome in zip(folders, outcomes, strict=True)])
    objects = tuple(score for outcome in outcomes for score in outcome.objects)
    if not any(score.is_scored for score in objects):
        raise EvaluationError(_nothing_scored(Path(annotations), protocol))
    return EvaluationReport(
        protocol=protocol,
        set_name=set_name,
        bound=bound,
        sequence_names=tuple(folder.name for folder in folders),
        objects=objects,
        extra_ids=tuple(outcome.extra_ids for outcome in outcomes),
        breakdowns=tuple(row for name in names for row in make_breakdown(name, objects)),
    )


def usable_cores() -> int:
    """Count the CPU cores that this process may use, which containers and schedulers limit.

    Example:
        >>> usable_cores() >= 1
        True
    """
    # Not every system lets a process ask.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class _Job:
    """All that is needed to score one sequence, wherever that happens."""

    folders: SequenceFolders
    protocol: str
    bound: float
    late_objects: bool
    plans: Mapping[int, ObjectPlan] | None
    seen_categories: frozenset[str] | None


@dataclass(frozen=True)
class _Outcome:
    objects: tuple[ObjectScore, ...]
    extra_ids: tuple[int, ...]
    mistake: str | None = None


def _score_sequence(job: _Job) -> _Outcome:
    folders = job.folders
    protocol = get_protocol(job.protocol)
    scorer = SequenceScorer(folders.name, protocol, bound=job.bound, late_objects=job.late_objects, plans=job.plans)
    for frame in folders.frames:
        annotation_file = folders.annotation_file(frame)
        # As stored: the protocol decides what 255 means; in the binary protocol it is above 0 like any other id.
        annotation = decode_mask(annotation_file).ids
        if scorer.observe(annotation, frame, is_last=frame == folders.frames[-1]):
            scorer.score(_read_result(folders, frame, annotation))
    mistake = find_mistake(folders, protocol)
    return _Outcome(scorer.results(seen_categories=job.seen_categories), scorer.extra_ids, mistake)


def _read_result(folders: SequenceFolders, frame: str, annotation: NDArray[Any]) -> NDArray[Any]:
    path, annotation_file = folders.result_file(frame), folders.annotation_file(frame)
    if not path.is_file():
        hint = ""
        if is_shifted(folders.result_names(), folders.frames):
            hint = " The names of the results look shifted by one against those of the annotations."
        raise EvaluationError(
            f"There is no result `{path}` for the annotation `{annotation_file}`.{hint} Expected a result for every "
            "scored frame, under the annotation's file name. Segment the missing frames, or remove their annotations."
        )
    prediction = read_mask(path, void=None)
    if prediction.shape != annotation.shape:
        sizes = [f"{mask.shape[1]}x{mask.shape[0]}" for mask in (prediction, annotation)]
        raise EvaluationError(
            f"The result `{path}` is {sizes[0]} pixels (width x height), its annotation `{annotation_file}` "
            f"{sizes[1]}. Expected the same size, for scores depend on it. Write the masks at the annotation's size."
        )
    return prediction


def _run_here(jobs: Sequence[_Job], progress: Progress | None) -> list[_Outcome]:
    outcomes = []
    for done, job in enumerate(jobs, start=1):
        outcomes.append(_score_sequence(job))
        if progress is not None:
            progress(done, len(jobs), job.folders.name)
    return outcomes


def _run_in_workers(jobs: Sequence[_Job], workers: int, progress: Progress | None) -> list[_Outcome]:
    # A fresh interpreter per worker: a forked copy of a process with threads (torch, OpenCV) may hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(1,))
    try:
        # The longest sequences first, so that no worker starts a long one when the others are done.
        order = sorted(jobs, key=lambda job: -len(job.folders.frames))
        futures = {executor.submit(_score_sequence, job): job.folders.name for job in order}
        outcomes = {}
        for done, future in enumerate(as_completed(futures), start=1):
            outcomes[futures[future]] = future.result()
            if progress is not None:
                progress(done, len(jobs), futures[future])
    except BrokenProcessPool as error:
        raise EvaluationError(
            "A worker process ended without an answer. It ran out of memory, was stopped from outside, or the calling "
            'script lacks `if __name__ == "__main__":`. Use fewer processes, or processes=1.'
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return [outcomes[job.folders.name] for job in jobs]


def _plans_of(folders: Sequence[SequenceFolders], meta: Path) -> dict[str, dict[int, ObjectPlan]]:
    plans = read_meta(meta)
    for folder in folders:
        if folder.name not in plans:
            raise EvaluationError(
                f"The meta file `{meta}` lacks the sequence `{folder.name}`, which `{folder.annotations}` annotates. "
                "Expected an entry for every evaluated sequence. Use the meta file of this set, or name the sequences."
            )
    return plans


def _seen_categories(seen: str | Path | Collection[str] | None) -> frozenset[str] | None:
    if seen is None:
        return None
    return categories(read_meta(Path(seen))) if isinstance(seen, (str, Path)) else frozenset(seen)


def _say_mistakes(found: Sequence[tuple[str, str | None]]) -> None:
    """Log what looks wrong, the first sequences by name."""
    wrong = [(name, mistake) for name, mistake in found if mistake is not None]
    for name, mistake in wrong[:_SHOWN_MISTAKES]:
        _logger.warning("In %s %s.", name, mistake)
    if len(wrong) > _SHOWN_MISTAKES:
        _logger.warning("The same may be wrong in %d more sequences.", len(wrong) - _SHOWN_MISTAKES)


def _nothing_scored(annotations: Path, protocol: str) -> str:
    hint = (
        "In black-and-white annotations 255 means void here; use the protocol davis2016 for them."
        if protocol != "davis2016"
        else "Check that the annotations are not empty."
    )
    return (
        f"Nothing in `{annotations}` can be scored with {protocol}: no object has an annotated frame after the one in "
        f"which it is given (test sets come with the first frame only). Expected annotated sequences. {hint}"
    )
