"""Finding the sequences, frames and meta data of an evaluation on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vos_zoo.errors import EvaluationError, MissingFileError
from vos_zoo.files import natural_key, parse_json
from vos_zoo.metrics.protocols import ObjectPlan

_MASK_SUFFIX = ".png"
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class SequenceFolders:
    """Where one sequence's masks are.

    Attributes:
        name: Name of the sequence.
        annotations: Folder of the annotations.
        results: Folder of the results.
        frames: Names (without suffix) of the annotated frames, in temporal order.
    """

    name: str
    annotations: Path
    results: Path
    frames: tuple[str, ...]

    def annotation_file(self, frame: str) -> Path:
        """Path of the annotation of a frame."""
        return self.annotations / f"{frame}{_MASK_SUFFIX}"

    def result_file(self, frame: str) -> Path:
        """Path of the result of a frame."""
        return self.results / f"{frame}{_MASK_SUFFIX}"

    def result_names(self) -> tuple[str, ...]:
        """Names of all results, in temporal order."""
        return _mask_names(self.results) if self.results.is_dir() else ()


def find_sequences(results: Path, annotations: Path, names: Sequence[str] | None) -> list[SequenceFolders]:
    """Pair the folders of results and annotations.

    Both roots may be folders of sequences, data-set roots that hold such a folder as ``Annotations/480p`` or
    ``Annotations``, or the folder of one single sequence (PNG files directly inside).

    Args:
        results: Root of the results.
        annotations: Root of the annotations.
        names: Sequences to take, in this order; None takes all that are annotated, in alphabetical order.

    Returns:
        One entry per sequence.

    Raises:
        MissingFileError: If a root does not exist.
        EvaluationError: If there are no annotations, a sequence is named twice, or one is missing on either side.
    """
    for kind, root in (("results", results), ("annotations", annotations)):
        if not root.is_dir():
            raise MissingFileError(
                f"There is no {kind} folder `{root}`. Expected `<sequence>/<frame>.png` inside it. Check the path."
            )
    annotations, results = _sequence_root(annotations), _sequence_root(results)
    if names is None and _mask_names(annotations):
        return [_single_sequence(results, annotations)]
    annotated = {folder.name: frames for folder in _folders(annotations) if (frames := _mask_names(folder))}
    if not annotated:
        raise EvaluationError(
            f"The annotations folder `{annotations}` holds no PNG files in its sequence folders. "
            "Expected `<sequence>/<frame>.png`. Point it at the annotations or at a data-set root."
        )
    wanted = sorted(annotated) if names is None else list(names)
    _check_names(wanted, annotated, results, annotations)
    return [SequenceFolders(name, annotations / name, results / name, annotated[name]) for name in wanted]


def read_sequence_names(sequences: str | Path | Iterable[str], annotations: Path) -> tuple[list[str], str]:
    """Make out which sequences are meant.

    Args:
        sequences: Names; or the path of a text file with one name a line; or the name of an image set (``"val"``) of
            a DAVIS root, read from ``ImageSets/2017/<name>.txt`` (or ``2016``, or ``ImageSets`` itself).
        annotations: The annotations folder that was given, the DAVIS root or a folder inside it.

    Returns:
        The names in order, and a short name for the set (``"subset"`` for a plain list of names).

    Raises:
        EvaluationError: If no such list is found, or it is empty.
    """
    if not isinstance(sequences, (str, Path)):
        names, set_name, source = list(sequences), "subset", "The list of sequences"
    else:
        path = _list_file(sequences, annotations)
        names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        set_name, source = path.stem, f"The sequence list `{path}`"
    if not names:
        raise EvaluationError(f"{source} is empty. Expected at least one sequence name. Leave it out to take all.")
    return names, set_name


def read_meta(path: Path) -> dict[str, dict[int, ObjectPlan]]:
    """Read a YouTube-VOS ``meta.json``: which objects each sequence has, in which frames, of which category.

    Args:
        path: The file, ``{"videos": {name: {"objects": {id: {"category": …, "frames": […]}}}}}``. ``category`` may
            be absent.

    Returns:
        Plans by object id, by sequence.

    Raises:
        MissingFileError: If the file does not exist.
        EvaluationError: If it is no such JSON; the message names the place.
    """
    if not path.is_file():
        raise MissingFileError(
            f"There is no meta file `{path}`. Expected the `meta.json` of YouTube-VOS. Check the path."
        )
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(
            f"The meta file `{path}` is not JSON ({error}). Expected the `meta.json` of YouTube-VOS. Fetch it again."
        ) from error
    videos = _entry(content, "videos", path, "the file")
    return {name: _plans(video, path, name) for name, video in videos.items()}


def categories(meta: Mapping[str, Mapping[int, ObjectPlan]]) -> frozenset[str]:
    """Categories that occur in a meta file; of the training set's file, the seen ones.

    Example:
        >>> sorted(categories({"a": {1: ObjectPlan(("00000",), "dog")}, "b": {1: ObjectPlan(("00000",), None)}}))
        ['dog']
    """
    return frozenset(plan.category for plans in meta.values() for plan in plans.values() if plan.category is not None)


def _plans(video: Any, path: Path, name: str) -> dict[int, ObjectPlan]:
    plans = {}
    for object_id, entry in _entry(video, "objects", path, f"video `{name}`").items():
        place = f"object {object_id} of video `{name}`"
        if not str(object_id).isdecimal() or int(object_id) == 0:
            raise EvaluationError(
                f"The meta file `{path}` has the {place}. Expected a whole number above 0 as object id. "
                "Correct the file."
            )
        frames = entry.get("frames") if isinstance(entry, dict) else None
        if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
            raise EvaluationError(
                f"The meta file `{path}` has no list `frames` for {place}. Expected the names of the frames in which "
                "it is annotated. Correct the file."
            )
        plans[int(object_id)] = ObjectPlan(tuple(sorted(frames, key=natural_key)), entry.get("category"))
    return plans


def _entry(content: Any, key: str, path: Path, place: str) -> dict[str, Any]:
    entry = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entry, dict):
        raise EvaluationError(
            f"The meta file `{path}` has no `{key}` in {place}. Expected the layout of YouTube-VOS's `meta.json`. "
            "Check that this is the right file."
        )
    return entry


def _sequence_root(root: Path) -> Path:
    """Step into a data-set root, down to the folder that holds the sequences."""
    for name in ("Annotations", "480p"):
        if (root / name).is_dir() and not _mask_names(root / name):
            root = root / name
    return root


def _list_file(sequences: str | Path, annotations: Path) -> Path:
    path = Path(sequences)
    if path.is_file():
        return path
    roots = [annotations, annotations.parent, annotations.parent.parent]
    tried = [root / "ImageSets" / year / f"{sequences}.txt" for root in roots for year in ("2017", "2016", "480p", "")]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise EvaluationError(
        f"There is no sequence list `{sequences}`: neither a text file of that name, nor an image set such as "
        f"`{tried[0]}`. Give sequence names, a text file with one name a line, or a DAVIS root's set name."
    )


def _single_sequence(results: Path, annotations: Path) -> SequenceFolders:
    name = annotations.name
    inside = results / name
    return SequenceFolders(name, annotations, inside if inside.is_dir() else results, _mask_names(annotations))


def _check_names(wanted: Sequence[str], annotated: Mapping[str, Any], results: Path, annotations: Path) -> None:
    if twice := sorted({name for name in wanted if wanted.count(name) > 1}):
        raise EvaluationError(
            f"Named more than once: {_shown(twice)}. Expected each sequence once. Remove the repeats."
        )
    if unknown := [name for name in wanted if name not in annotated]:
        raise EvaluationError(
            f"`{annotations}` has no annotations for {_shown(unknown)}. Expected a folder of PNG files for each "
            f"sequence. Annotated are {_shown(sorted(annotated))}."
        )
    if missing := [name for name in wanted if not (results / name).is_dir()]:
        raise EvaluationError(
            f"`{results}` has no results for {len(missing)} of {len(wanted)} sequences: {_shown(missing)}. Expected "
            f"`{results / missing[0]}/<frame>.png`. Segment them first, or name the sequences to evaluate."
        )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _mask_names(folder: Path) -> tuple[str, ...]:
    stems = [path.stem for path in folder.iterdir() if path.suffix == _MASK_SUFFIX and not path.name.startswith(".")]
    return tuple(sorted(stems, key=natural_key))


def _shown(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(f"`{name}`" for name in names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
