"""The arguments of commands that take given masks: how these are to be read where there are two ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from vos_zoo.interchange.reading import MASK_FORMATS, MaskReading, ObjectsBy

if TYPE_CHECKING:
    import argparse

__all__ = ["add_mask_reading_arguments", "mask_reading"]


def add_mask_reading_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments; none of them is needed where masks can be read in one way only."""
    group = parser.add_argument_group("masks that can be read in two ways")
    group.add_argument(
        "--mask-format",
        choices=tuple(MASK_FORMATS),
        metavar="FORMAT",
        help=f"format of MASKS: {', '.join(MASK_FORMATS)} (default: detected from the content)",
    )
    group.add_argument(
        "--first-frame-number",
        type=int,
        metavar="N",
        help="number of the first frame of the video in MASKS: 0, 1, …",
    )
    group.add_argument(
        "--objects-by",
        choices=get_args(ObjectsBy),
        help="what identifies an object across frames: the track of the annotation tool, the label, or the "
        "order of the areas in each frame",
    )
    group.add_argument(
        "--background",
        metavar="COLOUR",
        help="background of masks whose objects have colours, such as ffffff; none if every colour is an object "
        "(default: black, or transparent pixels)",
    )


def mask_reading(arguments: argparse.Namespace) -> MaskReading:
    """Return what was said.

    Raises:
        ConfigError: If a value is out of range.
    """
    return MaskReading(
        format=arguments.mask_format,
        first_frame_number=arguments.first_frame_number,
        objects_by=arguments.objects_by,
        background=arguments.background,
    )
