"""CVAT XML 1.1: "CVAT for images" and "CVAT for video" in, tracks of polygons out.

Source: CVAT's documentation of its XML annotation format.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING
from xml.parsers import expat  # it refuses document types below, so that no entity is expanded
from xml.sax.saxutils import escape, quoteattr  # they only write

import numpy as np

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import BOXES, AnnotatedFrame, Annotation, AnnotationFile, Paint, paint_polygons
from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame
from vos_zoo.interchange.fields import Fields, frame_size, polygon_points, shown
from vos_zoo.interchange.polygons import join_outlines, mask_outlines
from vos_zoo.interchange.rle import counts_to_mask
from vos_zoo.interchange.shapes import ellipse, paint_at
from vos_zoo.limits import pixel_excess
from vos_zoo.media.frame_matching import frame_stem, last_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CvatExporter", "is_cvat", "read_cvat"]

TOOL = "CVAT"

_AREAS = ("ellipse", "mask", "polygon")
_OTHER_SHAPES = ("cuboid", "points", "polyline", "skeleton", "tag")


@dataclass
class _Shape:
    """A shape of a track.

    Attributes:
        frame: Position of its frame in the video, from 0.
        is_outside: Whether the object is declared absent.
        annotation: What it covers, and whose it is.
    """

    frame: int
    is_outside: bool
    annotation: Annotation


@dataclass
class _Content:
    """What has been found so far."""

    size: tuple[int, int] | None = None
    images: list[AnnotatedFrame] = field(default_factory=list)
    tracks: list[list[_Shape]] = field(default_factory=list)
    tasks: set[str] = field(default_factory=set)
    left_out: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))


def is_cvat(head: bytes) -> bool:
    """Tell whether the beginning of a file is that of CVAT's XML."""
    return b"<annotations>" in head or b"<annotations " in head


def read_cvat(path: Path) -> AnnotationFile:
    """Read a file of CVAT.

    Of tracks, only key frames are taken: CVAT computes the shapes between them, nobody has drawn those.

    Args:
        path: The XML file.

    Raises:
        MaskError: If it is no such file, is damaged, declares a document type, or holds no areas.
    """
    reader = _Reader(path)
    content = reader.read()
    if content.images and content.tracks:
        raise MaskError(f"`{path}` holds both images and tracks. Export it as CVAT for images, or as CVAT for video.")
    if len(content.tasks) > 1:
        raise MaskError(f"`{path}` holds tracks of {len(content.tasks)} tasks. Export the task of this video alone.")
    frames = content.images or _frames_of_tracks(content, path)
    given = [frame for frame in frames if frame.annotations or frame.outside]
    return AnnotationFile(path, given, TOOL, dict(content.left_out))


class _Reader:
    """Walks through the elements of the file, without keeping them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = _Content()
        self._open: list[str] = []
        self._text = ""
        self._image: Fields | None = None
        self._track: Fields | None = None
        self._annotations: list[Annotation] = []
        self._shapes: list[_Shape] = []
        self._size: dict[str, str] = {}

    def read(self) -> _Content:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse
        parser.buffer_text = True
        self._line: Callable[[], int] = lambda: parser.CurrentLineNumber
        try:
            with self._path.open("rb") as file:
                parser.ParseFile(file)
        except expat.ExpatError as error:
            raise MaskError(
                f"`{self._path}` is not a complete XML file: {error}. Export it from CVAT again."
            ) from error
        return self._content

    def _refuse(self, *_: object) -> None:
        raise MaskError(
            f"`{self._path}` declares a document type (<!DOCTYPE …>), which CVAT never writes and which could make it "
            "expand without bounds. Export the file from CVAT again."
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        self._text = ""
        if len(self._open) == 1 and tag != "annotations":
            raise MaskError(
                f"`{self._path}` begins with <{tag}>, not with <annotations>. It is not an XML file of CVAT."
            )
        fields = Fields(attributes, f"`{self._path}`, line {self._line()}, <{tag}>")
        inside = self._open[-2] if len(self._open) > 1 else ""
        if tag == "image" and inside == "annotations":
            self._image, self._annotations = fields, []
        elif tag == "track" and inside == "annotations":
            self._track, self._shapes = fields, []
            if "task_id" in fields:
                self._content.tasks.add(fields.text("task_id"))
        elif inside in ("image", "track") and tag == "box":
            self._content.left_out[BOXES] += 1
        elif inside in ("image", "track") and tag in _OTHER_SHAPES:
            self._content.left_out[f"`{tag}` elements, which have no area"] += 1
        elif inside in ("image", "track") and tag in _AREAS:
            self._shape(tag, fields)

    def _shape(self, kind: str, fields: Fields) -> None:
        z = fields.integer("z_order") if "z_order" in fields else 0
        if self._image is not None:
            group = fields.integer("group_id") if "group_id" in fields else 0
            track = f"group {group}" if group else None
            self._annotations.append(Annotation(fields.text("label"), _area(kind, fields), fields.where, track, z=z))
        elif self._track is not None:
            is_outside = "outside" in fields and fields.integer("outside") == 1
            if "keyframe" in fields and fields.integer("keyframe") == 0:
                self._content.left_out["shapes between key frames, which nobody has drawn"] += 1
                return
            annotation = Annotation(
                self._track.text("label"), _area(kind, fields), fields.where, self._identity(kind), z=z
            )
            self._shapes.append(_Shape(fields.integer("frame", low=0), is_outside, annotation))

    def _identity(self, kind: str) -> int | str | None:
        """Say what a shape's object is known by: CVAT cannot track masks and writes each as a track of its own."""
        track = self._track
        if track is None or kind != "mask":
            # CVAT counts tracks from 0; object ids begin at 1.
            return None if track is None else track.integer("id", low=0) + 1
        return track.integer("group_id") if "group_id" in track and track.integer("group_id") else None

    def _end(self, tag: str) -> None:
        self._open.pop()
        if self._open[-1:] == ["original_size"] and tag in ("height", "width"):
            self._size[tag] = self._text.strip()
        elif tag == "original_size":
            self._content.size = frame_size(Fields(self._size, f"`{self._path}`, <original_size>"))
        elif tag == "image" and self._image is not None:
            self._content.images.append(self._frame(self._image))
            self._image = None
        elif tag == "track" and self._track is not None:
            self._content.tracks.append(self._shapes)
            self._track = None

    def _frame(self, image: Fields) -> AnnotatedFrame:
        name = image.text("name")
        number = image.integer("id", low=0) if "id" in image else None
        return AnnotatedFrame(
            name=frame_stem(name),
            # Positions among the images of a task are those in the video only where the task is the video itself,
            # whose frames CVAT names by them.
            number=number if number == last_number(frame_stem(name)) else None,
            size=frame_size(image) if "height" in image or "width" in image else None,
            origin=f"image `{name}` of `{self._path}`",
            annotations=tuple(self._annotations),
        )

    def _characters(self, text: str) -> None:
        if self._open[-2:-1] == ["original_size"]:
            self._text += text


def _frames_of_tracks(content: _Content, path: Path) -> list[AnnotatedFrame]:
    """Sort the shapes of all tracks by frame."""
    by_frame: defaultdict[int, list[Annotation]] = defaultdict(list)
    gone: defaultdict[int, list[int | str]] = defaultdict(list)
    for shapes in content.tracks:
        seen = [shape for shape in shapes if not shape.is_outside]
        places = [shape.frame for shape in seen]
        if len(set(places)) < len(places):
            twice = next(frame for frame in places if places.count(frame) > 1)
            raise MaskError(
                f"`{path}`: a track has two shapes on frame {twice} ({shapes[0].annotation.where}). Remove one of them."
            )
        for shape in seen:
            by_frame[shape.frame].append(shape.annotation)
        # What is drawn on one frame alone, outside of any track, is written as a track that ends on the next frame.
        is_drawn_once = len(seen) == 1 and len(shapes) == 2 and shapes[-1].frame == seen[0].frame + 1
        for shape in shapes if not is_drawn_once else ():
            if shape.is_outside and shape.annotation.track is not None:
                gone[shape.frame].append(shape.annotation.track)
    return [
        AnnotatedFrame(
            number=frame,
            size=content.size,
            origin=f"frame {frame} of `{path}`",
            annotations=tuple(by_frame[frame]),
            outside=tuple(gone[frame]),
        )
        for frame in sorted(by_frame.keys() | gone.keys())
    ]


def _area(kind: str, fields: Fields) -> Paint:
    if kind == "mask":
        return _mask(fields)
    if kind == "polygon":
        pairs = [pair.split(",") for pair in fields.text("points").split(";")]
        return paint_polygons([polygon_points(pairs, f"{fields.where}, points")])
    degrees = fields.number("rotation") if "rotation" in fields else 0.0
    centre = np.array([fields.number("cx"), fields.number("cy")])
    return paint_polygons([ellipse(centre, (fields.number("rx"), fields.number("ry")), degrees)])


def _mask(fields: Fields) -> Paint:
    height, width = fields.integer("height", low=1), fields.integer("width", low=1)
    excess = pixel_excess(height, width)
    if excess is not None:
        raise MaskError(f"{fields.where} is too large: {excess}.")
    text = fields.text("rle")
    counts: NDArray[np.int64]
    try:
        counts = np.array([int(count) for count in text.split(",")], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise MaskError(f"{fields.where} has run lengths {shown(text)}. Expected whole numbers and commas.") from error
    top, left = fields.integer("top"), fields.integer("left")

    def paint(size: tuple[int, int]) -> NDArray[np.bool_]:
        return paint_at(counts_to_mask(counts, (height, width)), top, left)(size)

    return paint


class CvatExporter(Exporter):
    """Writes one file of CVAT for video: a track per object, a polygon on every frame where it is seen.

    CVAT takes tracks of polygons, but of a track of masks only the first. Corners lie on the edges between pixels or
    at their middle, so that the polygons, with the even-odd rule, are exactly the masks. Several parts and holes
    are joined into one polygon by bridges of zero width, since a shape of a track is one polygon. The tracks
    wait in one file per object beside the result until all frames are known.
    """

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        self._paths = {one: path.with_name(f"{path.name}.{one}") for one in video.objects}
        self._was_seen = dict.fromkeys(video.objects, False)
        self._last = video.frame_indices[-1] if video.frame_indices else 0

    def write(self, frame: ResultFrame) -> None:
        """Append one frame."""
        for object_id in self.video.objects:
            outlines = mask_outlines(frame.mask == object_id)
            if outlines:
                self._append(object_id, frame.index, join_outlines(outlines), is_outside=False)
            elif self._was_seen[object_id]:
                # A place is needed here, too: CVAT shows it nowhere.
                self._append(object_id, frame.index, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), is_outside=True)
            self._was_seen[object_id] = bool(outlines)

    def _append(self, object_id: int, frame: int, points: NDArray[np.float64], *, is_outside: bool) -> None:
        corners = ";".join(f"{x:g},{y:g}" for x, y in points.tolist())
        # Opened for one line: there may be more objects than a process may have open files.
        with self._paths[object_id].open("a", encoding="utf-8") as file:
            file.write(
                f'    <polygon frame="{frame}" keyframe="1" outside="{int(is_outside)}" occluded="0" '
                f'points="{corners}" z_order="0">\n    </polygon>\n'
            )

    def close(self) -> None:
        """Finish the file."""
        with self.path.open("w", encoding="utf-8") as file:
            self._write_head(file)
            for object_id in self.video.objects:
                label = quoteattr(self.video.label(object_id))
                file.write(f'  <track id="{object_id - 1}" label={label} source="file">\n')
                if self._paths[object_id].exists():
                    with self._paths[object_id].open(encoding="utf-8") as shapes:
                        while part := shapes.read(1 << 20):
                            file.write(part)
                file.write("  </track>\n")
            file.write("</annotations>\n")
        self.discard()

    def discard(self) -> None:
        """Remove what was waiting."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def _write_head(self, file: IO[str]) -> None:
        height, width = self.video.size
        labels = "".join(
            f"        <label>\n          <name>{escape(name)}</name>\n          <type>any</type>\n"
            "          <attributes>\n          </attributes>\n        </label>\n"
            for name in dict.fromkeys(map(self.video.label, self.video.objects))
        )
        file.write(
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n'
            f"      <name>{escape(self.video.name)}</name>\n      <size>{self._last + 1}</size>\n"
            f"      <mode>interpolation</mode>\n      <labels>\n{labels}      </labels>\n"
            f"      <original_size>\n        <width>{width}</width>\n        <height>{height}</height>\n"
            "      </original_size>\n    </task>\n  </meta>\n"
        )
