"""Running one row of a table: masks of all videos, their speed, and their scores."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.files import atomic_path, parse_json
from vos_zoo.inference.side_inputs import open_side_inputs
from vos_zoo.media.masks import MaskFolder, mask_ids, read_mask, resize_mask
from vos_zoo.media.reader import open_video
from vos_zoo.media.writer import MaskWriter
from vos_zoo.metrics import EvaluationReport, evaluate
from vos_zoo.metrics.functional import VOID_ID
from vos_zoo.reproduction.parts import time_parts
from vos_zoo.reproduction.tables import OBJECT_COUNTS, of_count, of_part
from vos_zoo.run_file import RUN_FILE
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vos_zoo.metrics.protocols import Protocol
    from vos_zoo.reproduction.tables import PaperData
    from vos_zoo.reproduction.videos import RootVideo, VideoSet
    from vos_zoo.training.module import VOSModule

REPORT_FILE = "report.json"
"""Scores of a row, as ``vos-zoo evaluate --json`` writes them."""
MASKS_FOLDER = "masks"

_FORMAT_VERSION = 1
_BREAKDOWNS = ("length", "occlusion")


@dataclass(frozen=True)
class VideoRecord:
    """What one video took.

    Attributes:
        name: Name of the video.
        frames: Number of frames.
        seconds: Time in the session, without reading and writing.
        memory_bytes: Largest memory of the session, in bytes.
        has_truth: Whether its annotations show more than the frames in which objects are given.
        parts: Seconds in every part of the network that was timed on its own.
    """

    name: str
    frames: int
    seconds: float
    memory_bytes: int
    has_truth: bool
    parts: Mapping[str, float] = field(default_factory=dict)


class RowRun:
    """The folder of a row: finished videos are kept and not done again.

    Args:
        folder: Where it lies; made if it does not exist.
        settings: What the result depends on, as JSON data; a row is continued only with the same.
        overwrite: Start again whatever is there; it stays until the first video begins.

    Attributes:
        records: Finished videos by name.

    Raises:
        OutputExistsError: If the folder holds a run with other settings, or masks of no run, and ``overwrite`` is off.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(settings))  # as it comes back from the file: tuples are lists
        self.records: dict[str, VideoRecord] = {}
        self.device = ""
        run_file = folder / RUN_FILE
        if run_file.is_file() and not overwrite:
            self._continue(run_file)
        elif not overwrite and any(self.masks.glob("*/*")):
            raise OutputExistsError(
                f"{self.masks} holds files but no {RUN_FILE} stands beside it, so no row of this table has written "
                "them. Choose another folder with `--out`, or replace them with `--overwrite`."
            )

    @property
    def masks(self) -> Path:
        """Folder of one folder of masks per video."""
        return self.folder / MASKS_FOLDER

    def segment(
        self,
        model: VOSModule,
        videos: VideoSet,
        protocol: Protocol,
        *,
        options: Mapping[str, Any],
        proposals: Path | None = None,
        times_parts: bool = False,
        progress: Callable[[int], None],
    ) -> None:
        """Segment the videos that are not finished yet.

        Args:
            model: The model in the row's configuration.
            videos: All videos.
            protocol: Rules by which annotations hold objects.
            options: Options of the sessions.
            proposals: For DMN-AOA: one folder of proposals per video, see ``vos-zoo proposals``; None lets the model
                propose.
            times_parts: Whether the parts of the network are timed one by one.
            progress: Called with the number of frames that were done, after each frame.

        Raises:
            MissingFileError: If proposals are missing.
        """
        self.device = str(model.device)
        self._write()  # a run that stops in its first video is a run, too
        for video in videos.videos:
            if video.name not in self.records:
                (self.folder / REPORT_FILE).unlink(missing_ok=True)
                folder = None if proposals is None else proposals / video.name
                self.records[video.name] = _segment_video(
                    model, options, folder, video, protocol, self.masks / video.name, progress, times_parts=times_parts
                )
                self._write()

    def report(
        self,
        videos: VideoSet,
        data: PaperData,
        *,
        processes: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> EvaluationReport | None:
        """Score the masks, or read the scores of an earlier call.

        Returns:
            The scores; None if the annotations only show the frames in which objects are given, as those of test sets.
        """
        if not any(record.has_truth for record in self.records.values()):
            return None
        path = self.folder / REPORT_FILE
        if path.is_file():
            return EvaluationReport.from_json(path)
        report = evaluate(
            self.masks,
            videos.annotations,
            protocol=data.protocol,
            sequences=[video.name for video in videos.videos],
            meta=videos.meta,
            seen_categories=videos.seen,
            breakdown=_BREAKDOWNS,
            processes=processes,
            progress=progress,
        )
        report.to_json(path)
        return report

    def _continue(self, run_file: Path) -> None:
        try:
            content = parse_json(run_file.read_text(encoding="utf-8"))
            earlier, device = content["settings"], content["device"]
            records = [VideoRecord(**entry) for entry in content["videos"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{run_file} is damaged ({error!r}), so its row cannot be continued. Start it again with overwrite "
                "(`--overwrite`), or remove its folder."
            ) from error
        changed = [
            f"{key} {earlier.get(key)!r}, now {value!r}"
            for key, value in self.settings.items()
            if earlier.get(key) != value
        ]
        if changed:
            raise OutputExistsError(
                f"{self.folder} holds a row with other settings: {'; '.join(changed)}. Choose another folder with "
                "`--out`, or replace the row with `--overwrite`."
            )
        self.records = {record.name: record for record in records}
        self.device = device

    def _write(self) -> None:
        content = {
            "format_version": _FORMAT_VERSION,
            "vos_zoo_version": __version__,
            "settings": self.settings,
            "device": self.device,
            "videos": [asdict(record) for record in self.records.values()],
        }
        with atomic_path(self.folder / RUN_FILE) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def measured_values(report: EvaluationReport | None, records: Sequence[VideoRecord]) -> dict[str, float]:
    """Give every measure that a paper's table may have, as far as it exists.

    Where objects of seen and unseen categories are told apart, J and F are means of the two and J&F is G, as papers
    report YouTube-VOS; elsewhere they are means over objects.

    Args:
        report: The scores, or None.
        records: What the videos took.

    Returns:
        Measures by name (see :mod:`vos_zoo.reproduction.tables`): scores in percent, and speeds.
    """
    seconds, frames = sum(record.seconds for record in records), sum(record.frames for record in records)
    values = {"frames/s": frames / seconds, "s/frame": seconds / frames} if seconds > 0 and frames else {}
    for part in {part for record in records for part in record.parts}:
        values[of_part(part)] = sum(record.parts[part] for record in records) / frames
    if report is None:
        return values
    scores = {
        "J": report.region.mean,
        "J recall": report.region.recall,
        "J decay": report.region.decay,
        "F": report.boundary.mean,
        "F recall": report.boundary.recall,
        "F decay": report.boundary.decay,
        "J&F": report.j_and_f,
    }
    seen, unseen, g = report.seen, report.unseen, report.g
    if seen is not None and unseen is not None and g is not None:
        scores |= {
            "G": g,
            "J&F": g,
            "J": (seen.region + unseen.region) / 2,
            "F": (seen.boundary + unseen.boundary) / 2,
            "J seen": seen.region,
            "F seen": seen.boundary,
            "J unseen": unseen.region,
            "F unseen": unseen.boundary,
        }
    objects = Counter(score.sequence for score in report.objects)
    for count in OBJECT_COUNTS:
        scored = [score for score in report.scored_objects if objects[score.sequence] == count]
        if scored:
            scores[of_count("J&F", count)] = fmean((s.region.mean + s.boundary.mean) / 2 for s in scored)
        of_them = [record for record in records if objects[record.name] == count and record.seconds > 0]
        if of_them:
            values[of_count("frames/s", count)] = sum(r.frames for r in of_them) / sum(r.seconds for r in of_them)
    for row in report.breakdowns:
        group = row.group.replace(" ", "")
        if row.breakdown == "length":
            scores |= {f"J {group}": row.region, f"F {group}": row.boundary}
        elif group != "all":
            scores[f"J&F {group}"] = row.j_and_f
    return values | {name: 100 * score for name, score in scores.items() if not math.isnan(score)}


def new_objects(annotation: NDArray[Any] | None, known: set[int], protocol: Protocol) -> NDArray[np.int32] | None:
    """Return the mask of the objects that an annotation shows for the first time, and note them.

    Args:
        annotation: Object ids as stored, shape (H, W), or None.
        known: Ids of objects that were given before; new ones are added.
        protocol: Says which ids are objects.

    Returns:
        Ids of the new objects, 0 elsewhere; None if there are none.
    """
    if annotation is None:
        return None
    ids = annotation > 0 if protocol.is_binary else annotation
    newcomers = [i for i in mask_ids(ids.astype(np.int32), void=protocol.void_id) if i not in known]
    known.update(newcomers)
    return np.where(np.isin(ids, newcomers), ids, 0).astype(np.int32) if newcomers else None


def _segment_video(
    model: VOSModule,
    options: Mapping[str, Any],
    proposals: Path | None,
    video: RootVideo,
    protocol: Protocol,
    folder: Path,
    progress: Callable[[int], None],
    *,
    times_parts: bool,
) -> VideoRecord:
    """Segment one video; objects are given in the frame that first shows them."""
    reader = open_video(video.frames)
    # 255 stays as it is stored: the protocol says what it means.
    annotations = MaskFolder(video.masks, reader.names, void=VOID_ID, void_as=VOID_ID)
    # A video that was interrupted is done again from its start: its memory cannot be had otherwise.
    writer = MaskWriter(folder, overwrite=True)
    followed: list[str] = []  # frames that the session has seen since there are objects
    if proposals is not None:
        first = reader.names.index(next(iter(annotations.files)))
        opened = open_side_inputs(
            model.network,
            {"proposals": proposals},
            followed,
            needed=reader.names[first + 1 :],
            size=options.get("size", "native"),
        )
        options = {**options, "side_inputs": opened}
    session = model.session(**options)
    size = None  # that of the frames
    if video.annotations not in (None, video.masks):
        size = read_mask(min(video.annotations.glob("*.png"))).shape
    known: set[int] = set()
    seconds, memory_bytes, has_truth = 0.0, 0, False
    timing: AbstractContextManager[dict[str, float]] = nullcontext({})
    if times_parts:
        timing = time_parts(session.network)
    with timing as parts:
        for frame in reader:
            annotation = annotations.get(frame.name)
            had_objects = bool(known)
            given = new_objects(annotation, known, protocol)
            has_truth = has_truth or (had_objects and annotation is not None and given is None)
            if known:
                followed.append(frame.name)
            start = time.perf_counter()
            mask = session.step(frame.image, given).mask  # an array of the CPU: the device has finished
            seconds += time.perf_counter() - start
            memory_bytes = max(memory_bytes, session.memory_bytes)
            writer.write(frame.name, mask if size is None else resize_mask(mask, size))
            progress(1)
    return VideoRecord(video.name, len(reader), seconds, memory_bytes, has_truth, dict(parts))
