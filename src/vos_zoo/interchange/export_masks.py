"""Export of masks in any format: ``export_masks``, the loop around an exporter."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from vos_zoo.errors import ConfigError, MaskError, OutputExistsError
from vos_zoo.files import check_outputs, local_path, staged_path
from vos_zoo.interchange.export_formats import EXPORT_FORMATS, ExportFormat
from vos_zoo.interchange.exporter import CollectionExporter, Exporter
from vos_zoo.interchange.results import Results
from vos_zoo.media.mask_values import VoidChoice

__all__ = ["ExportReport", "export_masks"]

_FASTEST = 1000  # frames per second


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote.

    Attributes:
        path: The file or folder.
        frames: Number of frames.
        objects: Ids of the exported objects, rising.
    """

    path: Path
    frames: int
    objects: tuple[int, ...]


def export_masks(
    results: str | Path,
    *,
    to: str,
    out: str | Path,
    video: str | Path | None = None,
    objects: Collection[int] | None = None,
    labels: Mapping[int, str] | None = None,
    name: str | None = None,
    fps: float | None = None,
    soft: bool = False,
    void: VoidChoice = "auto",
    add: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ExportReport:
    """Export the masks of a video: as annotations, images, arrays, or a video.

    All masks are read and checked before anything is written. The result appears only once it is complete. One frame is
    in memory at a time, whatever the length of the video.

    Args:
        results: A folder that :func:`vos_zoo.segment_video` wrote, or any folder of masks named like the frames.
        to: Name of the format, one of ``vos_zoo.interchange.export_formats.EXPORT_FORMATS``.
        out: The file or folder to write.
        video: The video that was segmented. None takes the one that the results name; formats without images also do
            without it.
        objects: Ids of the objects to export; None means all.
        labels: Names of objects, by id, for formats that have class names.
        name: Name of the video, for formats that store it; None uses the name of its file or folder.
        fps: Frame rate of a video that has none of its own, such as a folder of frames; None means 24.
        soft: Use as opacity the probabilities that ``segment_video(save_probabilities=True)`` wrote, so that edges
            are soft.
        void: The value of mask pixels that mean "no opinion", see :func:`vos_zoo.read_mask`.
        add: Add the video to the folder ``out``, which an earlier export made, in formats of data sets.
        overwrite: Replace an older file. Folders are never replaced.
        progress: Called with the number of finished steps and the number of all steps, two per frame: one for the
            check, one for the export.

    Returns:
        What was written.

    Raises:
        ConfigError: If there is no such format, it has no soft edges or takes one video only, ``out`` has another
            ending than its files, ``name`` is not a name of a folder, or ``fps`` is out of range or given for a video
            that has its own.
        MissingFileError: If the results, the video or the probabilities are not there.
        OutputExistsError: If ``out`` exists and must stay: it is an input, a folder that is not empty, or a file and
            ``overwrite`` is off; or if ``add`` is on, and it has a video of this name or another layout.
        MaskError: If a mask cannot be read, does not fit the video, or is none that the format can hold; or if an
            object of ``objects`` or ``labels`` is in no mask.
        VideoError: If the video cannot be read, or no encoder is there for a video format.

    Example:
        >>> import numpy as np
        >>> from vos_zoo.media.masks import write_mask
        >>> mask = np.zeros((48, 64), np.uint8)
        >>> mask[10:20, 10:30] = 1
        >>> for index in range(2):
        ...     write_mask(f"masks/{index:05d}.png", mask)
        >>> report = export_masks("masks", to="npz", out="masks.npz")
        >>> report.frames, report.objects, np.load(report.path)["masks"].sum(axis=(1, 2)).tolist()
        (2, (1,), [200, 200])
    """
    found = _find_format(to)
    if soft and not found.has_soft_edges:
        fitting = ", ".join(name for name, other in EXPORT_FORMATS.items() if other.has_soft_edges)
        raise ConfigError(f"Format {to} has no soft edges. Export without soft edges, or to one of {fitting}.")
    if fps is not None and not 0 < fps <= _FASTEST:
        raise ConfigError(f"fps is {fps}. Expected frames per second above 0 and up to {_FASTEST}.")
    if name is not None and (not name or name.startswith(".") or "/" in name or "\\" in name):
        raise ConfigError(f"The video cannot be called {name!r}, because folders are named so. Use a plain name.")
    path, exporter_class = local_path(out), found.load()
    collection = _collection(exporter_class, to) if add else None
    is_addition = collection is not None and path.is_dir() and any(path.iterdir())
    if not is_addition:
        _check_place(path, to, found, overwrite=overwrite)
    opened = Results(results, video=video, needs_video=exporter_class.needs_images, void=void)
    check_outputs([path], opened.inputs)

    def report(done: int) -> None:
        if progress is not None:
            progress(done, 2 * len(opened))

    known = opened.check(report)
    chosen = known if objects is None else tuple(sorted(set(objects)))
    _check_objects({*chosen, *(labels or {})}, known, opened.path)
    description = opened.describe(chosen, labels or {}, fps=fps, name=name)
    place = None
    if is_addition and collection is not None:
        collection.check_root(path, description.name)
        place = collection.add
    with staged_path(path, place) as staged, exporter_class(staged, description) as exporter:
        for number, frame in enumerate(
            opened.frames(chosen, with_images=exporter_class.needs_images, soft=soft), start=1
        ):
            exporter.write(frame)
            report(len(opened) + number)
    return ExportReport(path, len(opened), chosen)


def _find_format(name: str) -> ExportFormat:
    found = EXPORT_FORMATS.get(name)
    if found is None:
        near = difflib.get_close_matches(name, EXPORT_FORMATS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"There is no export format {name!r}.{hint} There are: {', '.join(EXPORT_FORMATS)}.")
    return found


def _collection(exporter_class: type[Exporter], name: str) -> type[CollectionExporter]:
    if issubclass(exporter_class, CollectionExporter):
        return exporter_class
    fitting = ", ".join(name for name, other in EXPORT_FORMATS.items() if issubclass(other.load(), CollectionExporter))
    raise ConfigError(f"Format {name} holds one video, so that none can be added. Formats of several are {fitting}.")


def _check_place(path: Path, name: str, kind: ExportFormat, *, overwrite: bool) -> None:
    if kind.suffixes and path.suffix.lower() not in kind.suffixes:
        raise ConfigError(
            f"`{path}` must end in {' or '.join(kind.suffixes)}, as files of format {name} do. Choose such a name."
        )
    if path.is_dir():
        if kind.suffixes or any(path.iterdir()):
            what = "a folder" if kind.suffixes else "a folder with files in it"
            raise OutputExistsError(f"`{path}` is {what}. Choose a new name; folders are never replaced.")
    elif path.exists() or path.is_symlink():
        if not kind.suffixes:
            raise OutputExistsError(f"`{path}` is a file, and format {name} makes a folder. Choose a new name.")
        if not overwrite:
            raise OutputExistsError(
                f"`{path}` exists. Choose a new name, or replace it: overwrite=True (`--overwrite`)."
            )


def _check_objects(asked: Collection[int], known: Collection[int], folder: Path) -> None:
    unknown = sorted(set(asked) - set(known))
    if unknown:
        there = ", ".join(map(str, known)) or "none"
        raise MaskError(
            f"Object {unknown[0]} is in no mask of `{folder}`. Objects that are there: {there}. Ask for one of these."
        )
