"""Label Studio JSON: brush strokes, bitmasks, polygons and ellipses in, brush strokes out.

Source: Label Studio's documentation of its export formats JSON and JSON-MIN, and of its image tags.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import BOXES, AnnotatedFrame, Annotation, AnnotationFile, Paint, paint_polygons
from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame
from vos_zoo.interchange.fields import Fields, frame_size, polygon_points, shown
from vos_zoo.interchange.rle import pack_brush, unpack_brush
from vos_zoo.interchange.shapes import ellipse, paint_at, picture_levels
from vos_zoo.media.frame_matching import frame_stem

__all__ = ["LabelStudioExporter", "is_label_studio", "read_label_studio"]

TOOL = "Label Studio"

_PICTURE = re.compile(r"\.(avif|bmp|gif|jpe?g|png|tiff?|webp)\b", re.IGNORECASE)
_OPAQUE = 128  # half-transparent rims belong to a stroke from here on
_PER_CENT = 0.01
_LABELS = ("brushlabels", "bitmasklabels", "polygonlabels", "rectanglelabels", "ellipselabels", "labels")


def is_label_studio(content: Any) -> bool:
    """Tell whether parsed JSON is a list of tasks, or one task."""
    tasks = content if isinstance(content, list) else [content]
    return bool(tasks) and all(
        isinstance(task, dict) and ({"annotations", "data"} <= task.keys() or "annotation_id" in task) for task in tasks
    )


def read_label_studio(content: Any, path: Path) -> AnnotationFile:
    """Read tasks of Label Studio, one image each.

    Args:
        content: Parsed JSON, of the export format JSON or JSON-MIN.
        path: Where it comes from.

    Raises:
        MaskError: If it is damaged, holds no areas, or has several annotations of one task.
    """
    left_out: defaultdict[str, int] = defaultdict(int)
    tasks = content if isinstance(content, list) else [content]
    frames = [_frame(Fields(task, f"`{path}`, task {number}"), path, left_out) for number, task in enumerate(tasks)]
    return AnnotationFile(path, [frame for frame in frames if frame.annotations], TOOL, dict(left_out))


def _frame(task: Fields, path: Path, left_out: defaultdict[str, int]) -> AnnotatedFrame:
    picture = _picture(task)
    regions = _regions(task)
    # A label may be chosen in a control of its own; the region's id says which area it belongs to.
    labels: dict[str, str] = {}
    for region in regions:
        label = _label(region)
        if label is not None and "id" in region:
            labels[region.text("id")] = label
    annotations: list[Annotation] = []
    size: tuple[int, int] | None = None
    for region in regions:
        kind = _kind(region)
        if kind is None:
            if "width" in _value(region):
                left_out[BOXES] += 1
            elif _label(region) is None or "x" in _value(region):
                left_out["regions without an area"] += 1
            continue
        own_size = frame_size(region, "original_height", "original_width")
        if "image_rotation" in region and region.number("image_rotation") % 360:
            raise MaskError(f"{region.where} is of a turned image. Turn the frame itself before it is annotated.")
        if size not in (None, own_size):
            raise MaskError(f"{region.where} is of an image of another size than the regions before. Export it again.")
        size = own_size
        label = _label(region) or (labels.get(region.text("id"), "") if "id" in region else "")
        annotations.append(Annotation(label, _area(region, kind, own_size), region.where))
    return AnnotatedFrame(
        name=frame_stem(picture), size=size, origin=f"image `{picture}` of `{path}`", annotations=tuple(annotations)
    )


def _picture(task: Fields) -> str:
    """Find the name of a task's image, without what Label Studio adds to it."""
    data = task.record("data") if "data" in task else task
    names = [data[key] for key in data if isinstance(data[key], str)]
    pictures = [name for name in names if _PICTURE.search(name)]
    if len(pictures) != 1:
        found = f"{len(pictures)} images ({', '.join(pictures[:3])})" if pictures else "no image"
        raise MaskError(f"{task.where} names {found}. Expected the image of one frame; annotate one frame per task.")
    # Uploaded files get eight characters in front; files of the server's disk stand in a query.
    address, _, query = pictures[0].partition("?")
    on_disk = re.search(r"(?:^|&)d=([^&]+)", query)
    name = re.split(r"[/\\]", unquote(on_disk[1] if on_disk else address))[-1]
    return re.sub(r"^[0-9a-f]{8}-(?=.)", "", name) if "/upload/" in address else name


def _regions(task: Fields) -> list[Fields]:
    """List the regions of a task's only annotation."""
    if not isinstance(task["annotations"], list):  # JSON-MIN: a list of regions for every control
        return [
            Fields(one, f"{task.where}, {key}[{number}]")
            for key in task
            if isinstance(task[key], list)
            for number, one in enumerate(task[key])
            if isinstance(one, dict) and "original_width" in one
        ]
    made = [one for one in task.records("annotations") if one["was_cancelled"] is not True]
    if len(made) > 1:
        raise MaskError(
            f"{task.where} has {len(made)} annotations, as several people make them. Either could be meant; keep "
            "one of them in Label Studio, and export again."
        )
    return made[0].records("result") if made else []


def _value(region: Fields) -> Fields:
    return region.record("value") if "value" in region else region


def _label(region: Fields) -> str | None:
    value = _value(region)
    for key in _LABELS:
        if isinstance(value[key], list) and value[key]:
            return ", ".join(str(label) for label in value[key])
    return None


def _kind(region: Fields) -> str | None:
    """Say what a region's area is drawn as; None if it has none."""
    value = _value(region)
    if "rle" in value:
        return "brush"
    if "imageDataURL" in value:
        return "bitmask"
    if "points" in value:
        return "polygon"
    return "ellipse" if "radiusX" in value else None


def _area(region: Fields, kind: str, size: tuple[int, int]) -> Paint:
    value, scale = _value(region), (size[1] * _PER_CENT, size[0] * _PER_CENT)
    if kind == "brush":
        return _brush(value.array("rle"), size, region.where)
    if kind == "bitmask":
        levels = picture_levels(value.text("imageDataURL").partition("base64,")[2], region.where)
        return paint_at(levels >= _OPAQUE, 0, 0)
    if kind == "polygon":
        return paint_polygons([polygon_points(value.array("points"), f"{region.where}, points", scale=scale)])
    degrees = value.number("rotation") if "rotation" in value else 0.0
    centre = np.array([value.number("x"), value.number("y")]) * scale
    radii = value.number("radiusX") * scale[0], value.number("radiusY") * scale[1]
    return paint_polygons([ellipse(centre, radii, degrees)])


def _brush(values: list[Any], size: tuple[int, int], where: str) -> Paint:
    try:
        data = bytes(values)
    except (ValueError, TypeError) as error:
        raise MaskError(f"{where}, rle is {shown(values)}. Expected bytes, from 0 to 255. Export it again.") from error

    def paint(_: tuple[int, int]) -> NDArray[np.bool_]:
        return unpack_brush(data, size)

    return paint


class LabelStudioExporter(Exporter):
    """Writes one JSON file: a task per frame, a brush stroke per object.

    The labelling configuration needs ``<Image name="image" value="$image"/>`` and ``<BrushLabels name="label"
    toName="image">`` with the labels of the objects.
    """

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        self._tasks = 0
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._file.write("[")

    def write(self, frame: ResultFrame) -> None:
        """Append the task of one frame."""
        height, width = frame.mask.shape
        regions = []
        for object_id in self.video.objects:
            area = frame.mask == object_id
            if area.any():
                value = {"format": "rle", "rle": list(pack_brush(area)), "brushlabels": [self.video.label(object_id)]}
                regions.append(
                    {
                        "id": f"{frame.index}-{object_id}",
                        "type": "brushlabels",
                        "from_name": "label",
                        "to_name": "image",
                        "origin": "manual",
                        "original_width": width,
                        "original_height": height,
                        "image_rotation": 0,
                        "value": value,
                    }
                )
        task = {"data": {"image": self.video.frame_files[self._tasks]}, "annotations": [{"result": regions}]}
        self._file.write((",\n" if self._tasks else "\n") + json.dumps(task))
        self._tasks += 1

    def close(self) -> None:
        """Finish the file."""
        self._file.write("\n]\n")
        self._file.close()

    def discard(self) -> None:
        """Close the file."""
        self._file.close()
