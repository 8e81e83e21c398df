"""Which object of the video an annotated area belongs to: by track, by label, or by its order in the frame."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vos_zoo.errors import MaskError
from vos_zoo.interchange.annotation import AnnotatedFrame, Annotation, AnnotationFile, GivenFrame
from vos_zoo.interchange.reading import ObjectsBy
from vos_zoo.media.mask_decoding import MAX_ID

if TYPE_CHECKING:
    from vos_zoo.media.mask_decoding import Mask

__all__ = ["NumberedFrame", "id_in_name", "number_objects"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NumberedFrame(GivenFrame):
    """A frame of an annotation file, with the ids of its objects.

    It has no areas if the file only says that objects are not visible in it.

    Attributes:
        annotations: Areas with their object ids; later ones lie over earlier ones.
        outside: Ids of objects that are declared absent here.
        told: Messages already logged; the frames of a file share it, so that nothing is logged twice.
    """

    annotations: tuple[tuple[int, Annotation], ...]
    outside: tuple[int, ...] = ()
    told: set[Hashable] = field(default_factory=set, compare=False)

    def ids(self, size: tuple[int, int]) -> Mask:
        """Paint the areas; see :class:`GivenFrame`."""
        highest = max((object_id for object_id, _ in self.annotations), default=0)
        mask = np.zeros(self.size or size, np.uint8 if highest <= 255 else np.int32)
        painted: set[int] = set()
        for object_id, annotation in self.annotations:
            try:
                area = annotation.paint(mask.shape)
            except ValueError as error:
                raise MaskError(f"{annotation.where} cannot be read: {error}. Export the annotations again.") from error
            if not area.any() and self._is_news(annotation.where):
                _logger.warning(
                    "%s covers the centre of no pixel: object %d gets nothing from it.", annotation.where, object_id
                )
            if painted - {object_id}:
                self._tell_overlap(mask[area], object_id)
            mask[area] = object_id
            painted.add(object_id)
        return mask

    def _tell_overlap(self, below: Mask, object_id: int) -> None:
        others = np.unique(below[(below != 0) & (below != object_id)])
        if others.size and self._is_news((object_id, *others.tolist())):
            _logger.info(
                "%s: object %d lies over object %s; %d pixels that both have are taken as object %d, which lies "
                "above or comes later (reported once).", self.origin, object_id, ", ".join(map(str, others)),
                np.count_nonzero(np.isin(below, others)), object_id,
            )  # fmt: skip

    def _is_news(self, note: Hashable) -> bool:
        is_news = note not in self.told
        self.told.add(note)
        return is_news


def number_objects(
    file: AnnotationFile, objects_by: ObjectsBy | None = None
) -> tuple[list[NumberedFrame], dict[int, str]]:
    """Give every annotated area the id of its object.

    Tracks decide if every area has one. Otherwise labels do, if no frame has two areas of one label, and the order if
    only one frame is annotated. Anything else could be read in two ways.

    Ids are those of the file where it has some: whole numbers from 1 on that are tracks, or labels such as "3" and
    "object 3". Tracks that count from 0 are raised by one. Other objects are numbered in the order in which they come.

    Args:
        file: What was read.
        objects_by: What decides; None detects it.

    Returns:
        The frames in their order, and what every object is in the file, by its id.

    Raises:
        MaskError: If nothing tells which areas are one object, or ``objects_by`` asks for what is not there.
    """
    by = objects_by or _what_decides(file)
    keys = [[_key(one, place, by, file) for place, one in enumerate(frame.annotations)] for frame in file.frames]
    if by == "order":
        keys = [_places(of_frame) for of_frame in keys]
    annotations = [annotation for frame in file.frames for annotation in frame.annotations]
    ids = _ids(by, [key for of_frame in keys for key in of_frame], annotations, file)
    table: dict[int, str] = {}
    for annotation, key in zip(annotations, (key for of_frame in keys for key in of_frame), strict=True):
        known_by = f"track {annotation.track}" if by == "track" else f"number {key} of its frame"
        table.setdefault(ids[key], annotation.label if by == "label" else f"{annotation.label} ({known_by})".lstrip())
    told: set[Hashable] = set()
    frames = [
        NumberedFrame(
            name=frame.name,
            number=frame.number,
            size=frame.size,
            origin=frame.origin,
            annotations=tuple(
                sorted(
                    ((ids[key], annotation) for key, annotation in zip(of_frame, frame.annotations, strict=True)),
                    key=lambda entry: entry[1].z,
                )
            ),
            outside=tuple(ids[track] for track in frame.outside if track in ids) if by == "track" else (),
            told=told,
        )
        for frame, of_frame in zip(file.frames, keys, strict=True)
    ]
    return frames, dict(sorted(table.items()))


def id_in_name(name: str) -> int | None:
    """Return the id that a name such as "3", "object 3", "obj_3" or "id3" states; None if it states none.

    Example:
        >>> id_in_name("object 3"), id_in_name("obj03"), id_in_name("dog 3"), id_in_name("0")
        (3, 3, None, None)
    """
    match = re.fullmatch(r"(?:(?:obj|object|id)[ _-]?)?0*([1-9][0-9]{0,4})", name.strip().lower())
    number = int(match[1]) if match else 0
    return number if 1 <= number <= MAX_ID else None


def _what_decides(file: AnnotationFile) -> ObjectsBy:
    annotations = [annotation for frame in file.frames for annotation in frame.annotations]
    tracked = sum(annotation.track is not None for annotation in annotations)
    annotated = [frame for frame in file.frames if frame.annotations]
    if tracked == len(annotations):
        return "track"
    repeated = next(filter(None, map(_repeated_label, annotated)), None)
    if repeated is None:
        return "label"
    if len(annotated) == 1:
        return "order"
    frame, label, count = repeated
    some = f"; only {tracked} of the {len(annotations)} areas have a track or group" if tracked else ""
    raise MaskError(
        f"{file.tool} annotations in `{file.path}` can be read in two ways: {frame.origin} has {count} areas "
        f"`{label}`{some}. They are parts of one object, which is known by its label: objects_by='label' "
        "(`--objects-by label`); or they are objects of their own, the n-th area of every frame being object n: "
        "objects_by='order' (`--objects-by order`). Say which, or give tracks in the annotation tool."
    )


def _repeated_label(frame: AnnotatedFrame) -> tuple[AnnotatedFrame, str, int] | None:
    """Find a label that several objects of a frame have; areas of one group are one object."""
    objects = {
        (one.label, ("alone", place) if one.track is None else ("track", one.track))
        for place, one in enumerate(frame.annotations)
    }
    label, count = Counter(label for label, _ in objects).most_common(1)[0]
    return (frame, label, count) if count > 1 else None


def _key(annotation: Annotation, place: int, by: ObjectsBy, file: AnnotationFile) -> Hashable:
    if by == "label":
        return annotation.label
    if by == "order":
        return ("alone", place) if annotation.track is None else ("track", annotation.track, annotation.label)
    if annotation.track is None:
        raise MaskError(
            f"{annotation.where} has no track or group, and objects_by='track' (`--objects-by track`) asks for one. "
            f"Choose 'label' or 'order', or give it one in the annotation tool ({file.tool})."
        )
    return annotation.track


def _places(keys: Sequence[Hashable]) -> list[Hashable]:
    places: dict[Hashable, int] = {}
    return [places.setdefault(key, len(places) + 1) for key in keys]


def _ids(
    by: ObjectsBy, keys: Sequence[Hashable], annotations: Sequence[Annotation], file: AnnotationFile
) -> dict[Hashable, int]:
    """Give every object its id."""
    stated: dict[Hashable, int | None] = {}
    for key, annotation in zip(keys, annotations, strict=True):
        if by == "label":
            number = annotation.label_number
            stated.setdefault(key, id_in_name(annotation.label) if number is None else number)
        else:
            stated.setdefault(key, key if isinstance(key, int) else None)
    numbers = [number for number in stated.values() if number is not None]
    first = min(numbers, default=1)
    is_usable = len(numbers) == len(stated) == len(set(numbers)) and first >= 0
    shift = 1 if is_usable and first == 0 else 0
    if is_usable and max(numbers) + shift <= MAX_ID:
        return {key: number + shift for key, number in stated.items() if number is not None}
    in_order = list(dict.fromkeys(keys))
    if len(in_order) > MAX_ID:
        raise MaskError(
            f"{file.tool} annotations in `{file.path}` hold {len(in_order)} objects. Masks hold {MAX_ID} at most."
        )
    return {key: place for place, key in enumerate(in_order, start=1)}
