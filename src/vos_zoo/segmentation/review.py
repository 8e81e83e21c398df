"""The review page of a run: where each object is, how confident the model was, and which frames to correct."""

from __future__ import annotations

import base64
import html
import io
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from vos_zoo.errors import OutputExistsError
from vos_zoo.files import atomic_path, check_outputs, local_path
from vos_zoo.interchange.results import Results
from vos_zoo.media.masks import read_mask
from vos_zoo.media.overlay import draw_overlay
from vos_zoo.media.plots import TimelinePanel, draw_timeline
from vos_zoo.segmentation.confidence import OBJECTS_FILE, ObjectRow, read_objects
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["REVIEW_FILE", "DoubtfulFrame", "Review", "doubtful_frames", "write_review"]

REVIEW_FILE = "review.html"
_MOST_FRAMES = 10
_APART = 40  # the frames that are shown lie at least a part of 1/40 of the video apart
_PICTURE_WIDTH = 640  # pixels
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { text-align: right; padding: .2rem .8rem; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
figure { margin: 0; } img { width: 100%; } figcaption { font-size: .85rem; }
.muted { color: #666; } code { background: #f3f3f3; padding: 0 .2rem; }
"""


@dataclass(frozen=True)
class DoubtfulFrame:
    """A frame that is worth a correction.

    Attributes:
        frame: Number of the frame in the whole video.
        name: Name of the frame.
        doubt: How doubtful it is, summed over its objects; for comparison only.
        reasons: What is doubtful, an entry for each object.
    """

    frame: int
    name: str
    doubt: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Review:
    """What a page shows.

    Attributes:
        page: The HTML file.
        objects: Ids of the objects, rising.
        lost: In how many frames each of them looks lost, in their order.
        frames: The frames most worth a correction, rising.
    """

    page: Path
    objects: tuple[int, ...]
    lost: tuple[int, ...]
    frames: tuple[DoubtfulFrame, ...]


def write_review(
    folder: str | Path,
    *,
    video: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Review:
    """Write a self-contained HTML page about a run.

    Args:
        folder: Folder that :func:`vos_zoo.segment_video` wrote.
        video: The video; None uses the one that the run recorded.
        out: The page; None means ``review.html`` in the folder.
        overwrite: Replace a page that exists.
        progress: Called with the number of frames that have been drawn, and of all that will be.

    Raises:
        MissingFileError: If there is no such folder, no table of objects, or the video is not where it was.
        ConfigError: If the run's file or its table is damaged.
        MaskError: If the folder holds no masks.
        VideoError: If the video cannot be read.
        OutputExistsError: If the page exists, or is an input.

    Example:
        >>> from vos_zoo import segment_video
        >>> from vos_zoo.demo import demo_clip
        >>> clip = demo_clip()
        >>> report = segment_video(clip.video, clip.first_mask, out="masks", end=2, size=96, device="cpu")
        >>> write_review(report.folder).page.name
        'review.html'
    """
    folder = local_path(folder)
    page = folder / REVIEW_FILE if out is None else local_path(out)
    results = Results(folder, video=video, needs_video=True)
    reader = results.reader
    assert reader is not None
    check_outputs([page], [path for path in results.inputs if path != folder])
    if page.exists() and not overwrite:
        raise OutputExistsError(
            f"`{page}` exists. Replace it with overwrite=True (`--overwrite`), or choose another name with out=… "
            "(`--out`)."
        )
    rows = read_objects(folder / OBJECTS_FILE)
    chosen = doubtful_frames(rows)
    positions = {name: position for position, name in enumerate(reader.names)}
    shown = [frame for frame in chosen if frame.name in positions]
    figures = []
    for frame, doubtful in zip(reader.at([positions[one.name] for one in shown]), shown, strict=False):
        mask = read_mask(folder / f"{frame.name}.png", void=0)  # a void value keeps 255 an id like any other
        figures.append(_figure(draw_overlay(frame.image, mask), doubtful))
        if progress is not None:
            progress(len(figures), len(shown))
    by_object: dict[int, list[ObjectRow]] = defaultdict(list)
    for row in rows:
        by_object[row.state.object_id].append(row)
    objects = tuple(sorted(by_object))
    lost = tuple(sum(row.is_lost for row in by_object[object_id]) for object_id in objects)
    content = _page(str(reader.path), folder, by_object, figures)
    with atomic_path(page) as partial:
        partial.write_text(content, encoding="utf-8")
    return Review(page, objects, lost, tuple(shown))


def doubtful_frames(rows: Sequence[ObjectRow], most: int = _MOST_FRAMES) -> list[DoubtfulFrame]:
    """Choose the frames in which a correction helps most.

    A frame counts more, the smaller the lead of its objects over the runner-up and the more of them look lost, and most
    where an object begins to look lost. Annotated frames are not doubtful. Frames close to a chosen one are left out,
    because they would show the same.

    Args:
        rows: Rows of all objects, flagged.
        most: How many frames at most.

    Returns:
        Frames, rising.
    """
    frames: dict[int, list[tuple[float, str]]] = defaultdict(list)
    names: dict[int, str] = {}
    usual: dict[int, float] = {}
    was_lost: dict[int, bool] = {}
    for row in rows:
        object_id = row.state.object_id
        names[row.frame] = row.name
        if not row.is_lost and row.state.area:
            usual[object_id] = row.state.area
        if not row.is_given:
            begins = row.is_lost and not was_lost.get(object_id, False)
            doubt = (1 - row.state.margin) + row.is_lost + begins
            frames[row.frame].append((doubt, _reason(row, usual.get(object_id))))
        was_lost[object_id] = row.is_lost
    span = (max(names) - min(names)) if names else 0
    ranked = sorted(frames, key=lambda frame: (-sum(doubt for doubt, _ in frames[frame]), frame))
    chosen: list[int] = []
    for frame in ranked:
        if len(chosen) < most and all(abs(frame - other) > span / _APART for other in chosen):
            chosen.append(frame)
    return [
        DoubtfulFrame(
            frame,
            names[frame],
            sum(doubt for doubt, _ in frames[frame]),
            tuple(reason for _, reason in sorted(frames[frame], key=lambda entry: -entry[0])),
        )
        for frame in sorted(chosen)
    ]


def _reason(row: ObjectRow, usual: float | None) -> str:
    state = row.state
    if not state.area:
        return f"object {state.object_id}: no pixel"
    share = f", {100 * state.area / usual:.0f} % of its last area" if usual and row.is_lost else ""
    sure = f"probability {state.probability:.2f}, margin {state.margin:.2f}"
    return f"object {state.object_id}: {'looks lost, ' if row.is_lost else ''}{sure}{share}"


def _page(video: str, folder: Path, by_object: dict[int, list[ObjectRow]], figures: list[str]) -> str:
    timelines, table = [], []
    frames = [row.frame for rows in by_object.values() for row in rows]
    for object_id, rows in sorted(by_object.items()):
        lost = [row.frame for row in rows if row.is_lost]
        sure = [row.state.probability for row in rows if row.state.area]
        mean = f"{statistics.mean(sure):.2f}" if sure else "-"
        area = f"{statistics.median(row.state.area for row in rows):.0f}"
        table.append(
            f"<tr><td>{object_id}</td><td>{len(rows)}</td><td>{len(lost)}</td><td>{mean}</td><td>{area}</td></tr>"
        )
        timelines.append(f"<h2>Object {object_id}</h2>\n{_timeline(rows, lost, (min(frames), max(frames)))}")
    title = html.escape(f"Review of {folder.name}")
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<meta name="generator" content="vos-zoo {__version__}">
<style>{_STYLE}</style></head>
<body>
<h1>{title}</h1>
<p class="muted">Video: {html.escape(video)}<br>Masks: {html.escape(str(folder.resolve()))}</p>
<table>
<tr><th>object</th><th>frames</th><th>looks lost in</th><th>mean probability</th><th>median area, pixels</th></tr>
{"".join(table)}</table>
<h2>Frames most worth a correction</h2>
<p>Paint the mask of such a frame, save it under the frame's name beside your other masks (or, if an object is not
there, add it to <code>absent.json</code>), and give the same command again with <code>--redo</code>.</p>
<div class="frames">
{"".join(figures) or "<p>None: every frame was given.</p>"}</div>
{"".join(timelines)}
<p class="muted">Shaded: the object looks lost. Dashed: it was given, or said to be absent.</p>
</body>
</html>
"""


def _timeline(rows: Sequence[ObjectRow], lost: Sequence[int], span: tuple[int, int]) -> str:
    frames = [row.frame for row in rows]
    panels = [
        TimelinePanel("area, pixels", frames, [row.state.area for row in rows]),
        TimelinePanel("probability", frames, [row.state.probability for row in rows], top=1.02),
        TimelinePanel("margin", frames, [row.state.margin for row in rows], top=1.02),
    ]
    return draw_timeline(panels, span=span, shaded=_ranges(lost, frames), marked=[r.frame for r in rows if r.is_given])


def _ranges(some: Sequence[int], frames: Sequence[int]) -> list[tuple[int, int]]:
    """Join neighbours among the frames to ranges (first, last)."""
    places = {frame: place for place, frame in enumerate(frames)}
    ranges: list[tuple[int, int]] = []
    for frame in some:
        if ranges and places[frame] == places[ranges[-1][1]] + 1:
            ranges[-1] = (ranges[-1][0], frame)
        else:
            ranges.append((frame, frame))
    return ranges


def _figure(picture: NDArray[np.uint8], doubtful: DoubtfulFrame) -> str:
    image = Image.fromarray(picture)
    image.thumbnail((_PICTURE_WIDTH, 4 * _PICTURE_WIDTH))
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=85)
    encoded = base64.b64encode(content.getvalue()).decode()
    reasons = "<br>".join(map(html.escape, doubtful.reasons[:4]))
    more = f"<br>and {len(doubtful.reasons) - 4} more" if len(doubtful.reasons) > 4 else ""
    name = html.escape(doubtful.name)
    return (
        f'<figure><img src="data:image/jpeg;base64,{encoded}" alt="Frame {name} with its masks">'
        f"<figcaption><b>Frame {name}</b><br>{reasons}{more}</figcaption></figure>\n"
    )
