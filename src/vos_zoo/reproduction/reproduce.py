"""From the name of a table to a comparison with the paper."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vos_zoo.errors import ConfigError, DataError, OutputExistsError
from vos_zoo.files import atomic_path, check_outputs, parse_json
from vos_zoo.metrics.evaluation import usable_cores
from vos_zoo.metrics.protocols import get_protocol
from vos_zoo.registry import find_architecture
from vos_zoo.reproduction.long_video import LongVideoPoint, run_long_video
from vos_zoo.reproduction.results import LongVideoResult, LongVideoRow, RowResult, TableResult
from vos_zoo.reproduction.runs import RowRun, measured_values
from vos_zoo.reproduction.tables import LongVideoFigure, PaperRow, PaperTable, choose_rows
from vos_zoo.reproduction.videos import RootVideo, VideoSet, find_videos
from vos_zoo.reproduction.weights import (
    Assignment,
    WeightFacts,
    assign_weights,
    configure,
    read_weight,
    split_by_row,
    stand_in,
)
from vos_zoo.run_file import RUN_FILE
from vos_zoo.version import __version__
from vos_zoo.weights.find import local_folder

_RESULT_FILES = ("table.json", "table.md", "table.png")

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Makes a progress bar for a unit of work; called with what is done and what there is."""


@dataclass(frozen=True)
class RunOptions:
    """How networks run and where results go.

    Attributes:
        out: Folder of the results.
        size: Short side, or (height, width), in pixels at which the network sees a frame; None means the model's own.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: Device, or ``auto``.
        resolution: Folder of the frames of a DAVIS root; None means the row's.
        proposals: For models that take them: folders with one folder of proposals per video, alone or as
            ``ROW=FOLDER``; without one the model proposes.
        processes: Worker processes of the evaluation; None means one per core.
        overwrite: Run rows again that are done.
    """

    out: Path
    size: int | tuple[int, int] | None = None
    precision: str = "fp32"
    device: str = "auto"
    resolution: str | None = None
    proposals: Sequence[str] = ()
    processes: int | None = None
    overwrite: bool = False

    def session(self, row: PaperRow) -> dict[str, Any]:
        """Options of a row's sessions."""
        size = row.size if self.size is None else self.size
        return {"precision": self.precision, **({} if size is None else {"size": size})}

    def proposals_of(self, rows: Sequence[PaperRow]) -> dict[str, Path]:
        """Return the folders of proposals by row.

        Raises:
            ConfigError: If none of the rows takes any, there are several for one row, or a row does not exist.
        """
        takers = [row for row in rows if _takes_proposals(row)]
        if self.proposals and not takers:
            raise ConfigError("Proposals were given, but no row takes any. Leave `--proposals` out.")
        named, loose = split_by_row([row.name for row in takers], self.proposals, "folder of proposals")
        if len(loose) > 1:
            raise ConfigError(
                f"Several folders of proposals are for all rows: {', '.join(loose)}. Give one, or name rows as "
                "ROW=FOLDER."
            )
        shared = {row.name: loose[0] for row in takers if loose and not row.proposals}
        return {name: Path(folder) for name, folder in {**shared, **named}.items()}


def reproduce_table(
    table: PaperTable,
    root: str | Path,
    options: RunOptions,
    *,
    rows: Sequence[str] = (),
    weights: Sequence[str] = (),
    image_set: str | None = None,
    progress: Progress,
) -> TableResult:
    """Run the rows of a table that have weights, score them, and set them beside the paper's numbers.

    Finished rows and videos in the output folder are kept and not done again.

    Args:
        table: The table.
        root: Data root in the layout of DAVIS or YouTube-VOS.
        options: How to run.
        rows: Names of rows; none means all.
        weights: Weights, see :func:`vos_zoo.reproduction.weights.assign_weights`.
        image_set: Other videos than the table's, see :func:`vos_zoo.reproduction.videos.find_videos`.
        progress: Makes progress bars.

    Returns:
        The comparison; its files are written by :func:`write_result`.

    Raises:
        VosZooError: If a weight, the data or a setting is wrong. What can be seen beforehand is found before any work.
    """
    chosen = choose_rows(table, rows)
    proposals = options.proposals_of(chosen)
    assignments = [
        Assignment(entry.row, None, f"needs proposals of {entry.row.proposals}")
        if entry.row.proposals and entry.row.name not in proposals
        else entry
        for entry in assign_weights(chosen, weights)
    ]
    _check_outputs(options, [root, *proposals.values()], assignments)
    # Rows that do not run need no data.
    sets = {
        entry.row.name: find_videos(root, entry.row.data, image_set, resolution=options.resolution or entry.row.frames)
        for entry in assignments
        if entry.weight is not None
    }
    runs = {
        entry.row.name: RowRun(
            options.out / entry.row.name,
            _settings(
                entry.row,
                entry.weight,
                options,
                root,
                [video.name for video in sets[entry.row.name].videos],
                proposals.get(entry.row.name),
            ),
            overwrite=options.overwrite,
        )
        for entry in assignments
        if entry.weight is not None
    }
    lengths = {video.frames: _frame_count(video) for videos in sets.values() for video in videos.videos}
    total = sum(lengths[video.frames] for videos in sets.values() for video in videos.videos)
    with progress("frames") as show:
        done = 0
        for entry in assignments:
            if entry.weight is None:
                continue
            run, videos = runs[entry.row.name], sets[entry.row.name]
            done += sum(lengths[video.frames] for video in videos.videos if video.name in run.records)
            show(done, total)
            if len(run.records) < len(videos.videos):

                def count(frames: int) -> None:
                    nonlocal done
                    done += frames
                    show(done, total)

                model = configure(entry.weight, entry.row, options.device)
                protocol = get_protocol(entry.row.data.protocol)
                run.segment(
                    model,
                    videos,
                    protocol,
                    options=options.session(entry.row),
                    proposals=proposals.get(entry.row.name),
                    times_parts=table.times_parts,
                    progress=count,
                )
    results = tuple(_row_result(entry, runs, sets, options, progress) for entry in assignments)
    devices = sorted({_device_name(run.device) for run in runs.values()})
    return TableResult(
        table=table,
        rows=results,
        measured_on=_described(sets, chosen),
        device=" and ".join(devices),
        is_papers_data=bool(sets) and all(videos.is_papers for videos in sets.values()),
    )


def reproduce_figure(
    figure: LongVideoFigure,
    root: str | Path,
    options: RunOptions,
    *,
    rows: Sequence[str] = (),
    weights: Sequence[str] = (),
    video: str | None = None,
    lengths: Sequence[int] = (),
    progress: Progress,
) -> LongVideoResult:
    """Run models on a synthetic long video. Rows that are done are kept and not done again.

    Args:
        figure: The figure.
        root: Data root in the layout of DAVIS.
        options: How to run.
        rows: Names of rows; none means all.
        weights: Weights to compare, of any model; each runs in the rows of its model, or as it is where the figure has
            none. None means the bundled weights of the figure's rows.
        video: Name of the original video; None means the paper's.
        lengths: Lengths in multiples of the original; none means the paper's.
        progress: Makes progress bars.

    Raises:
        VosZooError: If a weight, the data or a setting is wrong.
    """
    lengths = sorted(set(lengths or figure.lengths))
    original = _find_video(root, figure, video)
    assignments = _figure_assignments(choose_rows(figure, rows), weights)
    _check_outputs(options, [root], assignments)
    folders = {entry.row.name: options.out / entry.row.name for entry in assignments}
    settings = {
        entry.row.name: {**_settings(entry.row, entry.weight, options, root, [original.name], None), "lengths": lengths}
        for entry in assignments
        if entry.weight is not None
    }
    kept = {
        name: _read_points(folders[name] / RUN_FILE, settings[name])
        for name in settings
        if not options.overwrite and (folders[name] / RUN_FILE).is_file()
    }
    total = len(settings) * lengths[-1] * _frame_count(original)
    results = []
    with progress("frames") as show:
        done = len(kept) * lengths[-1] * _frame_count(original)
        show(done, total)
        for entry in assignments:
            if entry.weight is None:
                results.append(LongVideoRow(entry.row, None, (), entry.reason))
                continue
            if entry.row.name not in kept:

                def count(frames: int) -> None:
                    nonlocal done
                    done += frames
                    show(done, total)

                model = configure(entry.weight, entry.row, options.device)
                session = model.session(**options.session(entry.row))
                protocol = get_protocol(entry.row.data.protocol)
                points = run_long_video(session, original, protocol, lengths, progress=count)
                device = str(model.device)
                _write_points(folders[entry.row.name] / RUN_FILE, settings[entry.row.name], device, points)
                kept[entry.row.name] = device, points
            results.append(LongVideoRow(entry.row, entry.weight.name, kept[entry.row.name][1]))
    devices = sorted({_device_name(device) for device, _ in kept.values()})
    return LongVideoResult(figure, tuple(results), original.name, " and ".join(devices))


def write_result(result: TableResult | LongVideoResult, folder: Path) -> tuple[Path, ...]:
    """Write a comparison as ``table.json``, ``table.md`` and ``table.png``; older files of these names are replaced.

    Returns:
        The files that were written; there is no plot without a measured score.
    """
    data, text, plot = (folder / name for name in _RESULT_FILES)
    result.to_json(data)
    with atomic_path(text) as partial:
        partial.write_text(result.markdown(), encoding="utf-8")
    if result.plot(plot):
        return data, text, plot
    plot.unlink(missing_ok=True)
    return data, text


def _check_outputs(options: RunOptions, inputs: Sequence[str | Path], assignments: Sequence[Assignment]) -> None:
    """Refuse to write over what is read, or over tables that no run has written."""
    weights = [local_folder(entry.weight.name) for entry in assignments if entry.weight is not None]
    rows = [options.out / entry.row.name for entry in assignments]
    check_outputs([options.out, *rows], [*inputs, *filter(None, weights)])
    foreign = [options.out / name for name in _RESULT_FILES if (options.out / name).exists()]
    if foreign and not options.overwrite and not any(options.out.glob(f"*/{RUN_FILE}")):
        raise OutputExistsError(
            f"{foreign[0]} exists, and `{options.out}` holds no rows of a table. Choose another folder with `--out`, "
            "or replace the file with `--overwrite`."
        )


def _row_result(
    entry: Assignment,
    runs: Mapping[str, RowRun],
    sets: Mapping[str, VideoSet],
    options: RunOptions,
    progress: Progress,
) -> RowResult:
    row, weight = entry.row, entry.weight
    if weight is None:
        return RowResult(row, "no weight", note=entry.reason)
    run = runs[row.name]
    records = list(run.records.values())
    with progress("videos scored") as show:
        report = run.report(
            sets[row.name],
            row.data,
            processes=options.processes or usable_cores(),
            progress=lambda done, total, _: show(done, total),
        )
    notes = [stand_in(row, weight)]
    if row.is_retrained:
        notes.append(
            "the paper retrains the model for this row; here a weight of the full model runs with the row's settings"
        )
    return RowResult(
        row,
        "unscored" if report is None else "measured",
        weight.name,
        measured_values(report, records),
        "; ".join(filter(None, notes)),
        run.masks,
    )


def _settings(
    row: PaperRow,
    weight: WeightFacts | None,
    options: RunOptions,
    root: str | Path,
    videos: Sequence[str],
    proposals: Path | None,
) -> dict[str, Any]:
    return {
        "weight": None if weight is None else weight.name,
        "sha256": None if weight is None else weight.sha256,
        "inference": dict(row.inference),
        "data": row.data.name,
        "root": str(Path(root).resolve()),
        "videos": list(videos),
        "resolution": options.resolution or row.frames,
        "proposals": None if proposals is None else str(proposals.resolve()),
        **options.session(row),
    }


def _figure_assignments(rows: Sequence[PaperRow], given: Sequence[str]) -> tuple[Assignment, ...]:
    """Give every weight the rows of its model, and a row of its own where there are none."""
    if not given:
        return assign_weights(rows, ())
    entries: list[Assignment] = []
    for name in given:
        weight = read_weight(name)
        matching = [row for row in rows if row.model == weight.architecture]
        plain = replace(rows[0], name="", label=weight.architecture, model=weight.architecture, inference={})
        for row in matching or [plain]:
            slug = "-".join(filter(None, [row.name, Path(name).name]))
            if slug in {entry.row.name for entry in entries}:
                raise ConfigError(f"Two of the weights are called {Path(name).name!r}. Rename one of them.")
            entries.append(Assignment(replace(row, name=slug), weight))
    return tuple(entries)


def _find_video(root: str | Path, figure: LongVideoFigure, name: str | None) -> RootVideo:
    folder = Path(root)
    frames = folder / "JPEGImages" / "480p" / (name or figure.video)
    masks = folder / "Annotations" / "480p" / (name or figure.video)
    if not (frames.is_dir() and masks.is_dir()):
        found = sorted(path.name for path in (folder / "Annotations" / "480p").glob("*") if path.is_dir())
        has = f"It has {', '.join(found[:8])}{', …' if len(found) > 8 else ''}" if found else "It has no videos"
        raise DataError(
            f"`{root}` lacks the video {name or figure.video!r}: expected {frames} and {masks}. {has}. Name one with "
            "`--video`."
        )
    return RootVideo(name or figure.video, frames, masks)


def _read_points(path: Path, settings: Mapping[str, Any]) -> tuple[str, tuple[LongVideoPoint, ...]]:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        earlier, device = content["settings"], content["device"]
        points = tuple(LongVideoPoint(**entry) for entry in content["points"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged ({error!r}). Run its row again with `--overwrite`.") from error
    if earlier != json.loads(json.dumps(settings)):
        changed = [key for key, value in json.loads(json.dumps(settings)).items() if earlier.get(key) != value]
        raise OutputExistsError(
            f"{path.parent} holds a row with other settings ({', '.join(changed)}). Choose another folder with "
            "`--out`, or replace the row with `--overwrite`."
        )
    return device, points


def _write_points(path: Path, settings: Mapping[str, Any], device: str, points: Sequence[LongVideoPoint]) -> None:
    content = {
        "vos_zoo_version": __version__,
        "settings": settings,
        "device": device,
        "points": [asdict(point) for point in points],
    }
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _described(sets: Mapping[str, VideoSet], rows: Sequence[PaperRow]) -> str:
    titles = {row.name: row.data.title for row in rows}
    if not sets:
        return "nothing"
    parts = {
        f"{titles[name]} ({len(videos.videos)} videos)"
        if videos.is_papers
        else f"{len(videos.videos)} video{'s' if len(videos.videos) != 1 else ''} of the list {videos.name}"
        for name, videos in sets.items()
    }
    return " and ".join(sorted(parts))


def _frame_count(video: RootVideo) -> int:
    return sum(1 for path in video.frames.iterdir() if not path.name.startswith("."))


def _device_name(device: str) -> str:
    if device.startswith("cuda") and torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name(device)}"
    if device == "cpu":
        threads = torch.get_num_threads()
        return f"a CPU ({platform.machine()}, {threads} thread{'s' if threads != 1 else ''})"
    return device


def _takes_proposals(row: PaperRow) -> bool:
    return "proposals" in find_architecture(row.model).load_class("network").side_inputs
