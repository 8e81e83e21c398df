"""``vos-zoo benchmark``: how fast this machine is with the memory read and with a bundled model."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from vos_zoo.cli.progress import add_progress_argument, progress_bar
from vos_zoo.demo import demo_clip
from vos_zoo.waiting import announced

if TYPE_CHECKING:
    import argparse

_logger = logging.getLogger(__name__)

SUMMARY = "Time the memory read and a model on this machine, in about a minute."

_MEMORY_FRAMES = (1, 5, 20)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--model", default="rde", metavar="NAME", help="name of `vos-zoo list` or folder (default: rde)"
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.add_argument("--size", type=int, default=480, metavar="PIXELS", help="short side (default: 480)")
    parser.add_argument("--frames", type=int, default=8, metavar="N", help="frames to segment (default: 8)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds per memory read (default: 5)")
    add_progress_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    with announced(_logger, "Loading PyTorch"):
        from vos_zoo.devices import find_device
        from vos_zoo.memory.benchmark import ReadCase, describe_machine, measure_rates, measure_reads

    device = find_device(arguments.device)
    print(describe_machine(device))
    rates = measure_rates(device=device, rounds=arguments.rounds)
    print(f"Matrix products {rates.matrix / 1e9:.0f} GFLOP/s, copies {rates.copy / 1e9:.1f} GB/s")
    print("\nMemory read at 480p, top 20, one object, float32, against the usual implementation:")
    print(f"{'memory frames':>13}{'backend':>11}{'ours':>11}{'usual':>11}{'faster':>9}")
    cases = [ReadCase(frames) for frames in _MEMORY_FRAMES]
    for timing in measure_reads(cases, rates, device=device, rounds=arguments.rounds):
        usual = timing.textbook_seconds or 0.0
        print(
            f"{timing.case.frames:>13}{timing.backend:>11}{1000 * timing.seconds:>8.1f} ms{1000 * usual:>8.1f} ms"
            f"{usual / timing.seconds:>8.1f}x"
        )
    seconds = _frame_seconds(arguments, device=str(device))
    print(
        f"\n{arguments.model}: {seconds:.2f} s per frame at a short side of {arguments.size} pixels with one object; "
        f"expect about {60 * 25 * seconds / 60:.0f} minutes for a minute of video at 25 frames/s."
    )
    return 0


def _frame_seconds(arguments: argparse.Namespace, *, device: str) -> float:
    """Return the median seconds per frame of the bundled clip, the annotated frame left out."""
    import statistics
    import time

    from vos_zoo.inference.session import VideoSession
    from vos_zoo.media.masks import read_mask
    from vos_zoo.media.reader import open_video
    from vos_zoo.models.load import load_model

    clip = demo_clip()
    session = VideoSession(load_model(arguments.model, device=device), size=arguments.size)
    mask = read_mask(clip.first_mask)
    seconds = []
    with progress_bar("frames") as progress:
        for number, frame in enumerate(open_video(clip.video, end=max(2, arguments.frames))):
            begin = time.perf_counter()
            session.step(frame.image, mask if number == 0 else None)
            seconds.append(time.perf_counter() - begin)
            progress(number + 1, max(2, arguments.frames))
    return statistics.median(seconds[1:])
