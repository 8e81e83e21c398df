"""COCO JSON: polygons, compressed and uncompressed run lengths in, compressed run lengths out.

Source: the data format page of the COCO data set, with ``track_id`` as CVAT and tracking tools add it.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import BOXES, AnnotatedFrame, Annotation, AnnotationFile, Paint, paint_polygons
from vos_zoo.interchange.exporter import ExportedVideo, Exporter, ResultFrame
from vos_zoo.interchange.fields import Fields, frame_size, polygon_points, shown
from vos_zoo.interchange.rle import counts_from_text, counts_to_mask, mask_to_counts, text_from_counts
from vos_zoo.media.frame_matching import frame_stem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CocoExporter", "is_coco", "read_coco"]

TOOL = "COCO"


def is_coco(content: Any) -> bool:
    """Tell whether parsed JSON is a COCO file."""
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()


def read_coco(content: Any, path: Path) -> AnnotationFile:
    """Read a COCO file.

    Args:
        content: Parsed JSON.
        path: Where it comes from.

    Returns:
        Its images that have areas. An image without any is taken as not annotated.

    Raises:
        MaskError: If it is damaged, or holds no areas.
    """
    root = Fields(content, f"`{path}`")
    labels = {}
    for category in root.records("categories") if "categories" in root else ():
        labels[category.integer("id")] = category.text("name")
    images = {image.integer("id"): image for image in root.records("images")}
    videos = {image.integer("video_id") for image in images.values() if "video_id" in image}
    left_out: defaultdict[str, int] = defaultdict(int)
    by_image: defaultdict[int, list[Fields]] = defaultdict(list)
    for entry in root.records("annotations"):
        image_id = entry.integer("image_id")
        if image_id not in images:
            raise MaskError(
                f"{entry.where} is of image {image_id}, which the file does not list. Export the annotations again."
            )
        if entry["segmentation"]:
            by_image[image_id].append(entry)
        else:
            left_out[BOXES] += 1
    if len(videos) > 1 and len({images[image_id]["video_id"] for image_id in by_image}) > 1:
        raise MaskError(
            f"`{path}` holds annotations of {len(videos)} videos (`video_id`). Keep those of one video in a file."
        )
    frames = [_frame(images[image_id], by_image[image_id], labels, path) for image_id in images if image_id in by_image]
    return AnnotationFile(path, frames, TOOL, dict(left_out))


def _frame(image: Fields, entries: list[Fields], labels: dict[int, str], path: Path) -> AnnotatedFrame:
    file_name = image.text("file_name")
    size = frame_size(image) if "height" in image or "width" in image else None
    annotations = []
    for entry in entries:
        paint, own_size = _area(entry, size)
        size = size or own_size
        category = entry.integer("category_id") if "category_id" in entry else 0
        annotations.append(
            Annotation(labels.get(category, f"category {category}"), paint, entry.where, track=_track(entry))
        )
    return AnnotatedFrame(
        name=frame_stem(file_name),
        number=image.integer("frame_id", low=0) if "frame_id" in image else None,
        size=size,
        origin=f"image `{file_name}` of `{path}`",
        annotations=tuple(annotations),
    )


def _track(entry: Fields) -> int | str | None:
    places = [entry, entry.record("attributes")] if isinstance(entry["attributes"], dict) else [entry]
    for fields in places:
        for key in ("track_id", "instance_id"):
            if key in fields:
                return fields.text(key) if isinstance(fields[key], str) else fields.integer(key)
    return None


def _area(entry: Fields, size: tuple[int, int] | None) -> tuple[Paint, tuple[int, int] | None]:
    """Return what paints a segmentation, and the size that it states itself."""
    found = entry["segmentation"]
    where = f"{entry.where}, segmentation"
    if isinstance(found, list):
        parts = found if isinstance(found[0], list) else [found]
        return paint_polygons([polygon_points(part, where) for part in parts]), None
    runs = Fields(found, where)
    stated = runs.array("size")
    if len(stated) != 2:
        raise runs.wrong("size", "height and width")
    own_size = frame_size(Fields(dict(zip(("height", "width"), stated, strict=True)), f"{where}, size"))
    if size is not None and own_size != size:
        raise MaskError(
            f"{where} is {own_size[1]}x{own_size[0]} (width x height), but its image {size[1]}x{size[0]}. Export the "
            "annotations again."
        )
    counts = runs["counts"]
    if isinstance(counts, list):
        lengths = _plain_counts(counts, where)
    elif isinstance(counts, str):
        try:
            lengths = counts_from_text(counts)
        except ValueError as error:
            raise MaskError(f"{where} cannot be read: {error}. Export the annotations again.") from error
    else:
        raise runs.wrong("counts", "a list of run lengths, or a text")

    def paint(_: tuple[int, int]) -> NDArray[np.bool_]:
        return counts_to_mask(lengths, (own_size[1], own_size[0])).T

    return paint, own_size


def _plain_counts(counts: list[Any], where: str) -> NDArray[np.int64]:
    if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**40 for count in counts):
        raise MaskError(f"{where} has run lengths {shown(counts)}. Expected whole numbers from 0 on.")
    return np.array(counts, dtype=np.int64)


class CocoExporter(Exporter):
    """Writes one JSON file: an image per frame, an annotation with run lengths per object and frame.

    The order of the parts lets both lists be written as frames come: annotations wait in a file beside the result.
    """

    def __init__(self, path: Path, video: ExportedVideo) -> None:
        super().__init__(path, video)
        self._annotations = 0
        self._images = 0
        self._file: IO[str] = path.open("w", encoding="utf-8")
        self._waiting_path = path.with_name(f"{path.name}.images")
        self._waiting: IO[str] = self._waiting_path.open("w+", encoding="utf-8")
        head = {
            "info": {"description": f"Masks of {video.name}"},
            "licenses": [],
            "videos": [{"id": 1, "name": video.name}],
            "categories": [{"id": one, "name": video.label(one), "supercategory": ""} for one in video.objects],
        }
        self._file.write(json.dumps(head)[:-1] + ', "annotations": [')

    def write(self, frame: ResultFrame) -> None:
        """Append one frame."""
        height, width = frame.mask.shape
        self._images += 1
        image = {
            "id": self._images,
            "file_name": self.video.frame_files[self._images - 1],
            "height": height,
            "width": width,
            "video_id": 1,
            "frame_id": frame.index,
        }
        self._waiting.write((", " if self._images > 1 else "") + json.dumps(image))
        for annotation in self._objects(frame):
            self._annotations += 1
            entry = {"id": self._annotations, "image_id": self._images, "video_id": 1, **annotation}
            self._file.write((",\n" if self._annotations > 1 else "\n") + json.dumps(entry))

    def close(self) -> None:
        """Finish the file."""
        self._file.write('\n], "images": [')
        self._waiting.seek(0)
        while part := self._waiting.read(1 << 20):
            self._file.write(part)
        self._file.write("]}\n")
        self.discard()

    def discard(self) -> None:
        """Close and remove what was open."""
        for file in (self._file, self._waiting):
            with contextlib.suppress(OSError):  # a full disk refuses what is still to be written
                file.close()
        self._waiting_path.unlink(missing_ok=True)

    def _objects(self, frame: ResultFrame) -> Iterator[dict[str, Any]]:
        height, width = frame.mask.shape
        for object_id in self.video.objects:
            area = frame.mask == object_id
            if not area.any():
                continue
            columns, rows = (np.flatnonzero(area.any(axis=axis)) for axis in (0, 1))
            left, top = int(columns[0]), int(rows[0])
            yield {
                "category_id": object_id,
                "track_id": object_id,
                "segmentation": {"size": [height, width], "counts": text_from_counts(mask_to_counts(area.T))},
                "area": int(np.count_nonzero(area)),
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "iscrowd": 0,
            }
