"""``vos-zoo demo``: segment the bundled clip with the bundled model and show what came out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.output import format_bytes
from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.demo import demo_clip
from vos_zoo.errors import OutputExistsError
from vos_zoo.files import atomic_path
from vos_zoo.run_file import RUN_FILE, changed_settings
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse

SUMMARY = "Segment the bundled clip and show the result."

_logger = logging.getLogger(__name__)
_SHEET_FRAMES = 12  # four columns, three rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--out", type=Path, default=Path("vos-zoo-demo"), metavar="DIR", help="folder to write (default: vos-zoo-demo)"
    )
    parser.add_argument(
        "--model", default="rde", metavar="NAME", help="name of `vos-zoo list` or folder (default: rde)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument("--size", type=int, default=480, metavar="PIXELS", help="short side (default: 480)")
    parser.add_argument("--end", type=int, metavar="N", help="frame to stop before, for a shorter run")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Segment and draw."""
    clip = demo_clip()
    masks, overlay, sheet = (arguments.out / name for name in ("masks", "overlay.mp4", "contact_sheet.png"))
    _check_folder(arguments.out, masks, clip.video)
    print(f"Segmenting the clip {clip.name!r} from the mask of its first frame ...", flush=True)

    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.devices import peak_memory
        from vos_zoo.segmentation.video import segment_video

    with progress_bar("frames") as progress:
        report = segment_video(
            clip.video,
            clip.first_mask,
            out=masks,
            model=arguments.model,
            device=arguments.device,
            size=arguments.size,
            end=arguments.end,
            overlay=overlay,
            overwrite=True,  # the folder is the demo's own; running it twice is not a mistake
            progress=progress,
        )
    peak = peak_memory(report.device)
    _write_sheet(clip.video, masks, report.frames, sheet)
    inputs = [_copy(file, arguments.out) for file in (clip.video, clip.first_mask)]

    print(f"Speed:       {report.frames_per_second:.2f} frames/s on {report.device}, 1 object, {arguments.size} pixels")
    print(f"Peak memory: {format_bytes(peak) if peak is not None else 'unknown on this system'}")
    print(f"Clip and mask: {' and '.join(str(path.resolve()) for path in inputs)}")
    print(f"Masks:         {masks.resolve()}")
    print(f"Overlay video: {overlay.resolve()}")
    print(f"Contact sheet: {sheet.resolve()}")
    print(f"Clip: Big Buck Bunny, (c) 2008 Blender Foundation, CC BY 3.0; credit in {clip.credit}")
    return 0


def _check_folder(out: Path, masks: Path, video: Path) -> None:
    """Refuse a folder with files that no demo has written; running the demo twice is not a mistake.

    Raises:
        OutputExistsError: If the folder holds something else, or is a file.
    """
    found = (path for path in out.rglob("*") if path.is_file() and not path.name.startswith("."))
    if not out.is_file() and not any(found):
        return
    run_file = masks / RUN_FILE
    try:
        is_own = run_file.is_file() and not changed_settings(run_file, {"video": str(video.resolve())})
    except ValueError:
        is_own = False
    if not is_own:
        raise OutputExistsError(
            f"`{out}` exists and holds no results of `vos-zoo demo`, which would replace files of their names there. "
            "Choose a new folder with `--out`."
        )


def _copy(file: Path, out: Path) -> Path:
    """Put a file of the bundled clip beside the results, for commands of the user's own to work on."""
    with atomic_path(out / file.name) as partial:
        shutil.copyfile(file, partial)
    return out / file.name


def _write_sheet(video: Path, masks: Path, frames: int, sheet: Path) -> None:
    """Lay frames out at equal distances, the first and the last among them."""
    from vos_zoo.media.masks import read_mask
    from vos_zoo.media.overlay import contact_sheet, draw_overlay, write_image
    from vos_zoo.media.reader import open_video

    count = min(_SHEET_FRAMES, frames)
    chosen = {round(number * (frames - 1) / max(1, count - 1)) for number in range(count)}
    drawn = (
        (frame.name, draw_overlay(frame.image, read_mask(masks / f"{frame.name}.png", void=0)))
        for frame in open_video(video, end=frames)
        if frame.index in chosen
    )
    write_image(sheet, contact_sheet(drawn))
