"""labelme JSON, one file per image.

Source: labelme's file format: polygons, circles and masks, in pixels from the upper left corner.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from vos_zoo.interchange.annotation import BOXES, AnnotatedFrame, Annotation, AnnotationFile, Paint, paint_polygons
from vos_zoo.interchange.fields import Fields, frame_size, polygon_points
from vos_zoo.interchange.shapes import ellipse, paint_at, picture_levels
from vos_zoo.media.frame_matching import frame_stem

__all__ = ["is_labelme", "read_labelme"]

TOOL = "labelme"


def is_labelme(content: Any) -> bool:
    """Tell whether parsed JSON is a file of labelme."""
    return isinstance(content, dict) and "shapes" in content and ("imagePath" in content or "imageHeight" in content)


def read_labelme(contents: dict[Path, Any], path: Path) -> AnnotationFile:
    """Read files of labelme.

    Args:
        contents: Parsed JSON of every file.
        path: The file, or the folder with all files.

    Raises:
        MaskError: If a file is damaged.
    """
    left_out: defaultdict[str, int] = defaultdict(int)
    frames = [_frame(content, file, left_out) for file, content in contents.items()]
    return AnnotationFile(path, [frame for frame in frames if frame.annotations], TOOL, dict(left_out))


def _frame(content: Any, file: Path, left_out: defaultdict[str, int]) -> AnnotatedFrame:
    root = Fields(content, f"`{file}`")
    size = frame_size(root, "imageHeight", "imageWidth") if "imageHeight" in root or "imageWidth" in root else None
    annotations = []
    for shape in root.records("shapes"):
        kind = shape.text("shape_type") if "shape_type" in shape else "polygon"
        paint = _area(shape, kind)
        if paint is None:
            left_out[BOXES if "rectangle" in kind else f"`{kind}` shapes, which have no area"] += 1
            continue
        # Shapes of one group and label are one object; labelme converts them to instances in the same way.
        label = shape.text("label")
        group = f"{label} of group {shape.text('group_id')}" if "group_id" in shape else None
        annotations.append(Annotation(label, paint, shape.where, track=group))
    # Programs that write labelme's format may leave the image out: the file is named like it.
    name = frame_stem(root.text("imagePath")) if "imagePath" in root else file.stem
    return AnnotatedFrame(name=name, size=size, origin=f"`{file}`", annotations=tuple(annotations))


def _area(shape: Fields, kind: str) -> Paint | None:
    if kind == "polygon":
        return paint_polygons([polygon_points(shape.array("points"), f"{shape.where}, points")])
    if kind not in ("circle", "mask"):
        return None
    ends = np.array([_point(shape, index) for index in range(2)])
    if kind == "circle":  # centre, and a point on the rim
        radius = math.dist(*ends.tolist())
        return paint_polygons([ellipse(ends[0], (radius, radius))])
    left, top = ends.min(axis=0).astype(int).tolist()
    return paint_at(picture_levels(shape.text("mask"), shape.where) > 0, top, left)


def _point(shape: Fields, index: int) -> list[float]:
    points = shape.array("points")
    if len(points) != 2 or not all(isinstance(point, list) and len(point) == 2 for point in points):
        raise shape.wrong("points", "two points")
    x, y = points[index]
    point = Fields({"x": x, "y": y}, f"{shape.where}, points[{index}]")
    return [point.number("x"), point.number("y")]
