"""Lists of videos: a folder, a pattern of names, or a table with a row for each video."""

from __future__ import annotations

import argparse
import contextlib
import csv
import glob
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vos_zoo.errors import ManifestError, MissingExtraError, MissingFileError
from vos_zoo.files import local_path, natural_key, parse_json
from vos_zoo.scale.jobs import OPTIONS, Job, read_option
from vos_zoo.scale.stores import is_remote, open_store

if TYPE_CHECKING:
    pass

__all__ = ["TABLE_SUFFIXES", "VideoList", "open_list"]

TABLE_SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
"""Endings of the files that hold a table of videos."""

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv", ".y4m", ".ogv",
)  # fmt: skip
"""Endings of the files that a folder of videos is searched for; tables and patterns may name any."""

_COLUMNS = ("video", "masks", "prompts", "name", "frames")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_LONGEST_SUFFIX = 5  # letters; what comes behind an earlier dot belongs to the name
_SHOWN = 10
_BATCH = 1000  # rows of a Parquet file that are decoded at a time


class VideoList:
    """A list of videos that can be read again and again, one row at a time.

    Args:
        source: As the user gave it.
        rows: Starts reading: gives number and content of every row.
        base: Folder or address that relative paths start from; empty for the working directory.
    """

    def __init__(self, source: str, rows: Any, base: str) -> None:
        self.source = source
        self._rows = rows
        self._base = base

    def check(self) -> int:
        """Read all rows once, before any work begins.

        Returns:
            Number of rows.

        Raises:
            ManifestError: If there are none, or rows name no video, no masks, an unknown option, a value that is none,
                or results that another row names; the message names the rows.
        """
        problems: list[str] = []
        first_row: dict[str, int] = {}
        count = found = 0
        for number, row in self._rows():
            count += 1
            try:
                job = self._job(number, row)
            except ManifestError as error:
                problem: str | None = str(error)
            else:
                other = first_row.setdefault(job.name, number)
                problem = (
                    f"row {number} would write where row {other} does, to {job.name!r}. Give each a `name` of its own."
                    if other != number
                    else None
                )
            if problem is not None:
                found += 1
                if found <= _SHOWN:
                    problems.append(problem)
        if not count:
            raise ManifestError(f"`{self.source}` names no videos. Expected at least one row, or one video file.")
        if found:
            lines = "".join(f"\n- {problem}" for problem in problems)
            more = f"\n- … and {found - _SHOWN} more" if found > _SHOWN else ""
            raise ManifestError(f"`{self.source}` cannot be used; nothing was begun:{lines}{more}")
        return count

    def __iter__(self) -> Iterator[Job]:
        """Return a job for every row.

        Raises:
            ManifestError: If a row is none; :meth:`check` finds all of them at once.
        """
        for number, row in self._rows():
            yield self._job(number, row)

    def _job(self, number: int, row: Any) -> Job:
        if isinstance(row, ManifestError):
            raise row
        if not isinstance(row, Mapping):
            raise ManifestError(
                f"row {number} is not a set of named values. Expected at least `video` and `masks` or `prompts`."
            )
        given = {str(key): value for key, value in row.items() if value is not None and value != ""}
        unknown = sorted(given.keys() - set(_COLUMNS) - OPTIONS.keys())
        if unknown:
            known = ", ".join((*_COLUMNS, *OPTIONS))
            raise ManifestError(f"row {number} has {unknown[0]!r}, which is not an option of a row. Options: {known}.")
        for name in ("video", "masks", "prompts"):
            if name in given and not isinstance(given[name], str):
                raise ManifestError(
                    f"row {number} names no {name}: `{name}` is {given[name]!r}. Expected a path or an address."
                )
        if "video" not in given:
            raise ManifestError(f"row {number} names no video: `video` is empty. Expected a path or an address.")
        if "masks" not in given and "prompts" not in given:
            raise ManifestError(
                f"row {number} names no masks: `masks` and `prompts` are empty. Expected a path or an address in one."
            )
        options = {name: _option(number, name, given[name]) for name in sorted(given.keys() & OPTIONS.keys())}
        name = str(given.get("name", _stem(given["video"])))
        if not name or name.startswith(".") or re.search(r"[/\\\0]", name) or len(os.fsencode(name)) > 200:
            raise ManifestError(
                f"row {number} has the name {name!r}, which cannot name a folder of results. Use a plain name of up to "
                "200 bytes that does not begin with a dot."
            )
        video, masks, prompts = (
            _joined(self._base, given[part]) if part in given else "" for part in ("video", "masks", "prompts")
        )
        return Job(number, name, video, masks, options, _length(given.get("frames"), video), prompts)


def open_list(source: str | Path, masks: str | Path | None = None) -> VideoList:
    """Open a list of videos.

    A table names video and masks of each row; relative paths start from its own folder. For a folder or a pattern the
    masks of ``clips/cat.mp4`` are found by its name: ``cat.png`` or a folder ``cat`` in ``masks``; without ``masks``
    beside ``videos/`` in a folder ``masks/``, or ``cat.png`` beside the video.

    Args:
        source: A table (CSV, JSON lines or Parquet; a local file or an address such as ``s3://…``), a folder of videos,
            or a pattern such as ``"clips/*.mp4"``.
        masks: Folder of the masks, for a folder or a pattern.

    Returns:
        The list.

    Raises:
        MissingFileError: If there is nothing at ``source``.
        ManifestError: If it is a file of another kind, or a table and a folder of masks are both given.
        MissingExtraError: If a package is needed that is not installed.
        StoreError: If a store cannot be reached.
    """
    text = str(source)
    suffix = PurePosixPath(text).suffix.lower()
    if suffix in TABLE_SUFFIXES and (is_remote(text) or local_path(text).is_file()):
        if masks is not None:
            raise ManifestError(f"`{text}` is a table, whose rows name their masks. Leave the folder of masks out.")
        store, name = (
            open_store(text.rpartition("/")[0] if is_remote(text) else local_path(text).parent),
            Path(text).name,
        )
        read = _TABLES[suffix]
        base = store.address
        return VideoList(text, lambda: read(lambda mode: store.open(name, mode)), base)
    path = local_path(text)
    if path.is_dir():
        videos = _videos_in(path / "videos" if (path / "videos").is_dir() else path)
    elif path.exists():
        raise ManifestError(
            f"`{path}` is a single file. Expected a table ({', '.join(TABLE_SUFFIXES)}), a folder of videos, or a "
            "pattern; `vos-zoo segment` segments one video."
        )
    else:
        videos = sorted(map(Path, glob.glob(os.path.expanduser(text), recursive=True)), key=_order)  # noqa: PTH111, PTH207
        if not videos:
            raise MissingFileError(f"There is nothing at `{text}`. Give a table, a folder of videos, or a pattern.")
    place = None if masks is None else local_path(masks)
    if place is not None and not place.is_dir():
        raise MissingFileError(f"There is no folder of masks `{place}`. Give the folder that holds NAME.png or NAME/.")
    rows = [{"video": str(video), "masks": _masks_of(video, place)} for video in videos]
    return VideoList(text, lambda: enumerate(rows, start=1), "")


def _videos_in(folder: Path) -> list[Path]:
    """Files with the ending of a video, and folders that begin with an image."""
    entries = sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=_order)
    return [
        entry
        for entry in entries
        if entry.suffix.lower() in VIDEO_SUFFIXES or (entry.is_dir() and folder.name == "videos")
    ]


def _masks_of(video: Path, masks: Path | None) -> str:
    """Find the masks of a video by its name; the likeliest place where there are none, for messages."""
    name = video.name if video.is_dir() else video.stem
    # A folder `masks` beside any other folder of videos may well hold the results of an earlier run.
    beside = [video.parent.parent / "masks"] if video.parent.name == "videos" else []
    places = [masks] if masks is not None else [*beside, video.parent]
    for place in places:
        if (place / f"{name}.png").is_file():
            return str(place / f"{name}.png")
        if place != video.parent and (place / name).is_dir():
            return str(place / name)
    return str(places[-1] / f"{name}.png")


def _read_csv(open_file: Any) -> Iterator[tuple[int, Any]]:
    with open_file("r") as file:
        reader = csv.DictReader(file)
        number = 0
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError) as error:
                yield number, ManifestError(f"row {number} cannot be read ({error}). Write the table again, in UTF-8.")
                return
            if None in row:
                row = ManifestError(f"row {number} has more values than the first line has names. Quote commas.")  # type: ignore[assignment]
            yield number, row


def _read_json_lines(open_file: Any) -> Iterator[tuple[int, Any]]:
    with open_file("rb") as file:
        number = 0
        for line in file:
            if not line.strip():
                continue
            number += 1
            try:
                row: Any = parse_json(line)
            except ValueError as error:
                row = ManifestError(f"row {number} is not JSON ({error}). Write one object per line.")
            yield number, row


def _read_parquet(open_file: Any) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            "Parquet files need pyarrow, which is not installed. Install it with `pip install 'vos-zoo[cluster]'`, or "
            "write the table as CSV."
        ) from error
    with open_file("rb") as file:
        try:
            batches = parquet.ParquetFile(file).iter_batches(batch_size=_BATCH)
            yield from enumerate(itertools.chain.from_iterable(batch.to_pylist() for batch in batches), start=1)
        except pyarrow.ArrowInvalid as error:
            yield 0, ManifestError(f"it is not a Parquet file that can be read ({error}). Write the table again.")


_TABLES = {
    ".csv": _read_csv,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".parquet": _read_parquet,
}


def _option(number: int, name: str, value: Any) -> Any:
    try:
        return read_option(name, value)
    except argparse.ArgumentTypeError as error:
        raise ManifestError(f"row {number} has a wrong `{name}`: {error}.") from error


def _stem(video: str) -> str:
    name = os.path.basename(video.rstrip("/"))  # noqa: PTH119  # a hundred thousand of them
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and stem and len(suffix) <= _LONGEST_SUFFIX else name


def _joined(base: str, place: str) -> str:
    if _ADDRESS.match(place):
        return place
    if "://" in base:
        return f"{base}/{place}"
    return os.path.join(base, str(local_path(place)) if place.startswith("~") else place)  # noqa: PTH118


def _length(frames: Any, video: str) -> int:
    if frames is not None:
        with contextlib.suppress(TypeError, ValueError):
            return int(frames)
    if "://" in video:
        return 0
    try:
        return len(os.listdir(video))  # noqa: PTH208  # names alone, for a hundred thousand folders
    except NotADirectoryError:
        return Path(video).stat().st_size // _BYTES_PER_FRAME
    except OSError:  # whoever takes the job says what is wrong
        return 0


_BYTES_PER_FRAME = 20_000  # of a compressed film; only orders files among folders of frames


def _order(path: Path) -> Any:
    return natural_key(path.name)
