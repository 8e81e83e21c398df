"""The options of ``vos-zoo segment`` that stand for a first mask: boxes, polygons, points and scribbles."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vos_zoo.cli.output import check_new_files
from vos_zoo.errors import PromptError
from vos_zoo.files import check_outputs, local_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vos_zoo.prompts.given import Prompts
    from vos_zoo.prompts.prompt import Prompt

__all__ = ["add_prompt_arguments", "prompts_of"]


def add_prompt_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    group = parser.add_argument_group(
        "prompts instead of masks",
        "ID:NUMBERS, in pixels from the top-left corner, x before y; ID@FRAME:NUMBERS on a frame of its own. Each "
        "option takes several, and can be repeated.",
    )
    for option, numbers, what in (
        ("--box", "X0,Y0,X1,Y1", "left, top, right and bottom around an object, such as 1:120,40,310,420"),
        ("--polygon", "X,Y,X,Y,...", "the outline of an object, taken exactly"),
        ("--point", "±X,Y", "a point of an object (+) or beside it (-), such as 1:+200,180 1:-40,40"),
        ("--scribble", "±X,Y,X,Y,...", "a line over an object (+) or beside it (-)"),
    ):
        group.add_argument(option, action="extend", nargs="+", default=[], metavar=f"ID:{numbers}", help=what)
    group.add_argument("--prompts", type=Path, metavar="FILE", help="JSON file of prompts")
    group.add_argument(
        "--frame",
        type=int,
        default=0,
        metavar="N",
        help="frame of prompts that name none, from 0 (default: 0)",
    )
    group.add_argument(
        "--prompt-method",
        default="auto",
        metavar="METHOD",
        help="how masks are made: auto (the prompt network), grabcut (only colours), or the folder of another network",
    )
    group.add_argument(
        "--save-prompt",
        type=Path,
        metavar="FILE",
        help="also write an image of the resulting mask; with prompts on several frames, one each, FILE-N",
    )


def prompts_of(arguments: argparse.Namespace, *, replace: bool = False) -> Prompts | None:
    """Return the prompts of a command line, with its masks beside; None if there are none.

    Args:
        arguments: With ``video`` and ``masks``, which may be None, and the options of :func:`add_prompt_arguments`.
        replace: Whether images of an earlier run may be replaced.

    Raises:
        PromptError: If a prompt is misspelled, there are neither prompts nor masks, or there is nothing to show.
        OutputExistsError: If an image would replace a file.
    """
    from vos_zoo.prompts import json_form, spelling

    parsers: tuple[tuple[list[str], Callable[[str], spelling.Spelled]], ...] = (
        (arguments.box, spelling.parse_box),
        (arguments.polygon, spelling.parse_polygon),
        (arguments.point, spelling.parse_point),
        (arguments.scribble, spelling.parse_scribble),
    )
    spelled = [parse(text) for texts, parse in parsers for text in texts]
    if arguments.frame < 0:
        raise PromptError(f"--frame is {arguments.frame}. Expected the number of a frame, counted from 0.")
    by_frame: dict[Any, list[Prompt]] = dict(spelling.prompts_by_frame(spelled, arguments.frame))
    if arguments.prompts is not None:
        read = json_form.read_prompts(arguments.prompts)
        if not any(read.values()):
            raise PromptError(f"`{arguments.prompts}` holds no prompts. Add one to its frames, or give another file.")
        for frame, of_frame in read.items():
            by_frame[frame] = [*of_frame, *by_frame.get(frame, [])]
    if not by_frame:
        if arguments.masks is None:
            raise PromptError(
                "There are neither masks nor prompts. Give MASKS, or a prompt such as `--box 1:120,40,310,420`."
            )
        if arguments.save_prompt is not None:
            raise PromptError("--save-prompt was given without prompts. Add a prompt, or leave it out.")
        return None
    from vos_zoo.prompts.given import Prompts
    from vos_zoo.prompts.mask import METHODS

    shown = None
    if arguments.save_prompt is not None:
        from vos_zoo.media.overlay import check_image_name

        images = _images(arguments.save_prompt, list(by_frame))
        check_image_name(arguments.save_prompt)
        check_outputs(images.values(), [arguments.video, *filter(None, (arguments.masks, arguments.prompts))])
        check_new_files(images.values(), overwrite=replace)
        shown = _writer(images)
    named: Any = arguments.prompt_method
    method = named if named in METHODS else local_path(named)
    return Prompts(by_frame, masks=arguments.masks, method=method, shown=shown)


def _images(path: Path, frames: Sequence[int]) -> dict[int, Path]:
    if len(frames) == 1:
        return {frames[0]: path}
    return {frame: path.with_name(f"{path.stem}-{frame}{path.suffix}") for frame in frames}


def _writer(images: dict[int, Path]) -> Any:
    from vos_zoo.media.overlay import write_image
    from vos_zoo.prompts.drawing import draw_prompts

    def write(frame: Any, mask: Any, prompts: Sequence[Prompt]) -> None:
        write_image(images[frame.index], draw_prompts(frame.image, mask, prompts))

    return write
