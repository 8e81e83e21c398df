"""``vos-zoo demo``: segment the bundled clip with the bundled model and show what came out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.cli.output import format_bytes, progress_bar
from vos_zoo.demo import demo_clip

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

SUMMARY = "Segment the bundled clip, score the result and write pictures of it."

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


def run(arguments: argparse.Namespace) -> int:
    """Segment, score, draw."""
    clip = demo_clip()
    first_mask = min(clip.annotations.glob("*.png"))
    masks, overlay, sheet = (arguments.out / name for name in ("masks", "overlay.mp4", "contact_sheet.png"))
    print(f"Segmenting the clip {clip.name!r} from the mask of its first frame ...", flush=True)

    from vos_zoo.devices import peak_memory
    from vos_zoo.segmentation.video import segment_video

    with progress_bar("frames") as progress:
        report = segment_video(
            clip.frames,
            first_mask,
            out=masks,
            model=arguments.model,
            device=arguments.device,
            size=arguments.size,
            end=arguments.end,
            overlay=overlay,
            overwrite=True,  # the folder is the demo's own; running it twice is no mistake
            progress=progress,
        )
    peak = peak_memory(report.device)
    names = sorted(frame.stem for frame in clip.frames.glob("*.jpg"))[: report.frames]
    _write_sheet(clip.frames, masks, names, sheet)

    print(f"Speed:       {report.frames_per_second:.2f} frames/s on {report.device}, 1 object, {arguments.size} pixels")
    print(f"Peak memory: {format_bytes(peak) if peak is not None else 'unknown on this system'}")
    print(f"J&F:         {_score(masks, clip.annotations, names)}")
    print(f"Masks:         {masks.resolve()}")
    print(f"Overlay video: {overlay.resolve()}")
    print(f"Contact sheet: {sheet.resolve()}")
    print(f"Clip: PUMaVOS, CC BY 4.0; credit in {clip.credit}")
    return 0


def _score(masks: Path, annotations: Path, names: Sequence[str]) -> str:
    """Score the masks of some frames against the true ones."""
    import shutil
    import tempfile

    from vos_zoo.metrics import evaluate

    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            shutil.copyfile(annotations / f"{name}.png", Path(folder) / f"{name}.png")
        report = evaluate(masks, folder)
    return (
        f"{100 * report.j_and_f:.1f} % (J {100 * report.region.mean:.1f}, F {100 * report.boundary.mean:.1f}; "
        "DAVIS 2017 protocol, against the clip's true masks)"
    )


def _write_sheet(frames: Path, masks: Path, names: Sequence[str], sheet: Path) -> None:
    """Lay frames out at equal distances, the first and the last among them."""
    from vos_zoo.media.masks import read_mask
    from vos_zoo.media.overlay import contact_sheet, draw_overlay, write_image
    from vos_zoo.media.reader import read_image

    count = min(_SHEET_FRAMES, len(names))
    chosen = [names[round(number * (len(names) - 1) / max(1, count - 1))] for number in range(count)]
    drawn = (
        (name, draw_overlay(read_image(frames / f"{name}.jpg"), read_mask(masks / f"{name}.png", void=0)))
        for name in chosen
    )
    write_image(sheet, contact_sheet(drawn))
