"""Opening the masks that a user gives, whatever holds them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vos_zoo.errors import MaskError
from vos_zoo.files import local_path, printable
from vos_zoo.interchange.annotation import AnnotationFile, GivenFrame
from vos_zoo.interchange.array_files import read_arrays
from vos_zoo.interchange.coco import read_coco
from vos_zoo.interchange.colours import read_colours
from vos_zoo.interchange.cvat import read_cvat
from vos_zoo.interchange.given_masks import AnnotatedMasks
from vos_zoo.interchange.label_studio import read_label_studio
from vos_zoo.interchange.label_studio_images import read_label_studio_images
from vos_zoo.interchange.labelme import read_labelme
from vos_zoo.interchange.object_files import read_object_files, read_object_folders
from vos_zoo.interchange.object_ids import number_objects
from vos_zoo.interchange.reading import MaskReading
from vos_zoo.interchange.recognition import Found, recognise
from vos_zoo.interchange.stacks import read_stack
from vos_zoo.interchange.yolo import read_yolo
from vos_zoo.media.given_masks import open_given_masks
from vos_zoo.media.masks import mask_files

if TYPE_CHECKING:
    from vos_zoo.media.given_masks import GivenMasks, MaskSource
    from vos_zoo.media.mask_values import VoidChoice

__all__ = ["open_masks"]

_logger = logging.getLogger(__name__)


def open_masks(
    masks: MaskSource,
    frame_names: Sequence[str],
    size: tuple[int, int],
    *,
    all_names: Sequence[str] | None = None,
    void: VoidChoice = "auto",
    resize: bool = False,
    reading: MaskReading | None = None,
) -> GivenMasks:
    """Open the masks that a user gives, of whatever format.

    Args:
        masks: A file or folder of any of ``MASK_FORMATS``, or masks in memory, see
            :func:`vos_zoo.media.given_masks.open_given_masks`.
        frame_names: Names of the frames to segment, in their order.
        size: (H, W) of the frames.
        all_names: Names of all frames of the video, where only some are segmented; None means ``frame_names``.
        void: The value of pixels without an opinion in images and arrays of ids, see :func:`vos_zoo.read_mask`.
        resize: Whether masks may have another size than the frames.
        reading: What decides where there are two ways to read them.

    Returns:
        The masks. What every object is in the file is logged.

    Raises:
        MissingFileError: If there is no such file or folder.
        MaskError: If it holds no masks, is damaged, is of another video, or can be read in two ways.
    """
    reading = reading or MaskReading()
    first_number = reading.first_frame_number
    if not isinstance(masks, (str, os.PathLike)):
        return open_given_masks(masks, frame_names, all_names=all_names, void=void)
    path = local_path(os.fspath(masks))
    found = recognise(path, reading.format) if path.exists() else Found("ids", path)
    if found.format == "ids":
        return open_given_masks(path, frame_names, all_names=all_names, void=void, first_number=first_number)
    given, objects = _read(found, frame_names, frame_names if all_names is None else all_names, reading, void)
    if objects:
        table = ", ".join(f"{object_id} is {printable(name)}" for object_id, name in objects.items())
        _logger.info("Objects of `%s`: %s.", path, table)
    return AnnotatedMasks(given, path, frame_names, size, all_names=all_names, first_number=first_number, resize=resize)


def _read(
    found: Found, frame_names: Sequence[str], all_names: Sequence[str], reading: MaskReading, void: VoidChoice
) -> tuple[Sequence[GivenFrame], dict[int, str]]:
    """Read what was recognised: its frames, and what every object is there."""
    path = found.path
    if found.format in ("arrays", "array-frames", "array-objects"):
        as_frames = {"array-frames": True, "array-objects": False}.get(found.format)
        return read_arrays(path, len(all_names), as_frames=as_frames, void=void)
    if found.format == "colours":
        return read_colours(path, reading.background)
    if found.format == "stack":
        return read_stack(path, frame_names, all_names, void), {}
    if found.format == "object-files":
        return read_object_files(mask_files(path) if path.is_dir() else [path])
    if found.format == "object-folders":
        return read_object_folders(path)
    file = _read_annotations(found, reading.first_frame_number)
    _tell_left_out(file)
    if not any(frame.annotations for frame in file.frames):
        raise MaskError(
            f"`{found.path}` is a file of {file.tool}, but holds no regions of objects. Draw polygons or masks, and "
            "export again. Points, lines and boxes do not say which pixels belong to an object; a box can be a "
            "prompt, `--box 1:LEFT,TOP,RIGHT,BOTTOM`."
        )
    return number_objects(file, reading.objects_by)


def _read_annotations(found: Found, first_number: int | None) -> AnnotationFile:
    if found.format == "coco":
        return read_coco(found.content, found.path)
    if found.format == "labelme":
        return read_labelme(found.content, found.path)
    if found.format == "label-studio":
        return read_label_studio(found.content, found.path)
    if found.format == "label-studio-images":
        images = mask_files(found.path) if found.path.is_dir() else [found.path]
        return read_label_studio_images(images, found.path, first_number=first_number)
    return read_cvat(found.path) if found.format == "cvat" else read_yolo(found.path)


def _tell_left_out(file: AnnotationFile) -> None:
    if file.left_out:
        parts = ", ".join(f"{count} {what}" for what, count in sorted(file.left_out.items()))
        _logger.info("Left out of `%s`: %s.", file.path, parts)
