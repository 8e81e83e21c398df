"""What a user says about masks that can be read in more than one way."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from vos_zoo.errors import ConfigError

__all__ = ["MASK_FORMATS", "MaskReading", "ObjectsBy"]

ObjectsBy = Literal["track", "label", "order"]
"""What makes areas of different frames one object: the track or group that the tool gives, the label, or the place
among the areas of each frame."""

MASK_FORMATS = {
    "ids": "images whose values are object ids: one for the first frame, or a folder of them named like frames",
    "stack": "a TIFF file with a mask of ids for every frame",
    "colours": "images in which every object has one colour",
    "object-files": "one image per frame and object, such as 00000_obj1.png",
    "object-folders": "one folder per object, with images named like frames",
    "array-frames": "a NumPy file with a mask of ids, or booleans of all objects, for every frame",
    "array-objects": "a NumPy file with a boolean mask of the first frame for every object",
    "coco": "COCO JSON",
    "labelme": "labelme JSON, one file or a folder",
    "cvat": "CVAT XML 1.1, for images or for video",
    "yolo": "YOLO segmentation, a text file or a folder of them",
    "label-studio": "Label Studio JSON or JSON-MIN",
    "label-studio-images": "a folder of Label Studio's PNG export, such as task-3-annotation-1-by-1-tag-cat-0.png",
}
"""The formats of given masks, by the names that ``--mask-format`` takes."""


@dataclass(frozen=True)
class MaskReading:
    """How given masks are to be read, where they can be read in more than one way.

    Nothing of this is needed where there is one way only. Where there are two, an error names both, and the attribute
    that decides.

    Attributes:
        format: One of ``MASK_FORMATS``; None finds it out by the content.
        first_frame_number: The number by which names and numbers of the given masks call the first frame of the video.
        objects_by: What makes areas of different frames one object: "track" (the track or group that the annotation
            tool gives), "label", or "order" (the n-th area of every frame is object n).
        background: Colour of the background where objects have colours, such as "ffffff"; "none" if every colour is an
            object.

    Raises:
        ConfigError: If one of them is out of range.

    Example:
        >>> MaskReading(objects_by="label").objects_by
        'label'
    """

    format: str | None = None
    first_frame_number: int | None = None
    objects_by: ObjectsBy | None = None
    background: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in MASK_FORMATS:
            raise ConfigError(f"format is {self.format!r}. Expected one of {', '.join(MASK_FORMATS)}.")
        if self.objects_by is not None and self.objects_by not in get_args(ObjectsBy):
            raise ConfigError(f"objects_by is {self.objects_by!r}. Expected one of {', '.join(get_args(ObjectsBy))}.")
        first = self.first_frame_number
        if first is not None and (not isinstance(first, int) or isinstance(first, bool) or first < 0):
            raise ConfigError(f"first_frame_number is {first!r}. Expected a whole number from 0 on.")
        colour = self.background
        if colour not in (None, "none") and not (isinstance(colour, str) and re.fullmatch(r"#?[0-9a-fA-F]{6}", colour)):
            raise ConfigError(f"background is {colour!r}. Expected a colour such as ffffff (white), or none.")

    def settings(self) -> dict[str, Any]:
        """Return what differs from the defaults, as JSON data."""
        return {name: value for name, value in asdict(self).items() if value is not None}
