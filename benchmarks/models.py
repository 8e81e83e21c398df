"""What the papers promise about their own cost, measured: whole frames in a session, paper sizes, random weights.

    python benchmarks/models.py --json benchmarks/results/models.json

- TSN: its second stream adds at most 15 % to the frame time of its own pixel stream (paper: 17.2 against 18.6 FPS).
- GIEL: the fast variant is at least 1.3 times as fast as the full one (paper: 9.1 against 6.6 FPS), and from one to
  five objects its time grows less than STCN's.
- HS2S: the memory of a session stays as it is over 1,000 frames.

Contenders of a comparison take turns of five frames, in which STCN and TSN memorise once; ratios are of medians.
Time and memory do not depend on the weights.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vos_zoo.inference.session import VideoSession
from vos_zoo.memory.benchmark import describe_machine, measure_rates, time_in_turns
from vos_zoo.registry import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Callable

    from vos_zoo.network import VOSNetwork

TURN = 5  # frames; one memory interval of STCN and TSN
FULL_SUPPORT = 5  # frames until GIEL's support set is full
MOST_ADDED, LEAST_GAIN = 0.15, 1.3  # from the frame rates that the papers print
HS2S_MARKS = (10, 100, 1000)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
MIB = 2**20


def build(model: str, size: str, **switches: Any) -> VOSNetwork[Any, Any]:
    """Make a network with random weights."""
    architecture = ARCHITECTURES[model]
    config = replace(getattr(architecture.load_class("config"), size)(), **switches)
    torch.manual_seed(0)
    network: VOSNetwork[Any, Any] = architecture.load_class("network")(config)
    return network.eval()


def moving_video(size: tuple[int, int], objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Make one random frame, to be shifted, and a mask of equal blocks."""
    height, width = size
    frame = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    mask = np.zeros(size, np.int32)
    for index in range(objects):
        left = index * width // objects
        mask[height // 4 : 3 * height // 4, left : left + width // (2 * objects) + 1] = index + 1
    return frame, mask


def contender(
    network: VOSNetwork[Any, Any], size: tuple[int, int], objects: int, device: str, precision: Any
) -> Callable[[], None]:
    """Return what plays one turn of five frames in a session that has seen its first frames."""
    session = VideoSession(network, size=None, device=device, precision=precision)
    frame, mask = moving_video(size, objects)
    session.step(frame, mask)
    shift = count(1)
    for _ in range(FULL_SUPPORT - 1):
        session.step(np.roll(frame, 3 * next(shift), axis=1))

    def turn() -> None:
        for _ in range(TURN):
            session.step(np.roll(frame, 3 * next(shift), axis=1))

    return turn


def compare(
    named: dict[str, VOSNetwork[Any, Any]], cases: list[tuple[str, int]], options: argparse.Namespace
) -> dict[str, float]:
    """Return the median seconds per frame of networks with some numbers of objects, by "name, objects"."""
    contenders = [
        contender(named[name], options.size, objects, options.device, options.precision) for name, objects in cases
    ]
    turns = time_in_turns(contenders, rounds=options.rounds, device=options.device, clock=CLOCKS[options.clock])
    return {
        f"{name}, {objects}": statistics.median(seconds) / TURN
        for (name, objects), seconds in zip(cases, turns, strict=True)
    }


def measure_tsn(options: argparse.Namespace) -> dict[str, Any]:
    """Compare TSN with its own pixel stream, which is STCN."""
    both, pixel = (build("tsn", options.variant, streams=streams) for streams in ("both", "pixel"))
    pixel.load_state_dict({key: both.state_dict()[key] for key in pixel.state_dict()})
    times = compare({"both": both, "pixel": pixel}, [("both", 1), ("pixel", 1)], options)
    added = times["both, 1"] / times["pixel, 1"] - 1
    report(
        f"TSN {options.variant}: {1e3 * times['pixel, 1']:.0f} ms with the pixel stream, {1e3 * times['both, 1']:.0f} "
        f"ms with both",
        f"+{100 * added:.1f} %",
        f"at most +{100 * MOST_ADDED:.0f} %",
        is_met=added <= MOST_ADDED,
    )
    return {"seconds_per_frame": times, "added": added}


def measure_giel(options: argparse.Namespace) -> dict[str, Any]:
    """Compare GIEL's variants, and its growth with objects with STCN's."""
    fast_name = "r50_fast" if options.variant == "r50" else options.variant
    networks = {
        "full": build("giel", options.variant, variant="full"),
        "fast": build("giel", fast_name, variant="fast"),
        "stcn": build("stcn", options.variant),
    }
    times = compare(networks, [(name, objects) for name in networks for objects in (1, 5)], options)
    gain = times["full, 1"] / times["fast, 1"]
    growth = {name: times[f"{name}, 5"] / times[f"{name}, 1"] for name in networks}
    report(
        f"GIEL {options.variant}: {1e3 * times['full, 1']:.0f} ms full, {1e3 * times['fast, 1']:.0f} ms fast",
        f"{gain:.2f} x",
        f"at least {LEAST_GAIN} x",
        is_met=gain >= LEAST_GAIN,
    )
    for name in ("full", "fast"):
        report(
            f"GIEL {name}, one to five objects: {1e3 * times[f'{name}, 1']:.0f} to {1e3 * times[f'{name}, 5']:.0f} ms",
            f"{growth[name]:.2f} x",
            f"less than STCN's {growth['stcn']:.2f} x",
            is_met=growth[name] < growth["stcn"],
        )
    return {"seconds_per_frame": times, "fast_over_full": gain, "growth_1_to_5": growth}


def measure_hs2s(options: argparse.Namespace) -> dict[str, Any]:
    """Run HS2S for 1,000 small frames, and say what the paper's size would hold."""
    size = (32, 64)  # memory does not depend on time, so the least work will do
    session = VideoSession(build("hs2s", "small"), size=None, device=options.device)
    frame, mask = moving_video(size, 1)
    marks: dict[int, dict[str, float]] = {}
    for index in range(max(HS2S_MARKS)):
        session.step(np.roll(frame, index, axis=1), mask if index == 0 else None)
        if index + 1 in HS2S_MARKS:
            marks[index + 1] = {"memory_bytes": session.memory_bytes, "peak_bytes": peak_bytes(options.device)}
    sizes = [mark["memory_bytes"] for mark in marks.values()]
    grown = marks[HS2S_MARKS[-1]]["peak_bytes"] - marks[HS2S_MARKS[1]]["peak_bytes"]
    with torch.device("meta"):
        paper = build("hs2s", "r50")
    cost = paper.memory_cost(paper.default_policy(), (256, 448), 1)
    report(
        f"HS2S small, frames {', '.join(map(str, HS2S_MARKS))}: memory "
        f"{', '.join(f'{bytes_ / MIB:.2f}' for bytes_ in sizes)} MiB",
        f"peak of the process {grown / MIB:+.1f} MiB",
        "no growth from frame 100 on",
        is_met=len(set(sizes)) == 1 and grown <= 8 * MIB,
    )
    print(f"  paper's size at 256x448: {cost.bytes_per_frame / MIB:.1f} MiB for each object, whatever the length")
    return {"marks": marks, "paper_bytes_per_object": cost.bytes_per_frame}


def peak_bytes(device: str) -> int:
    """Return the peak memory of the process, or of the GPU."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def report(what: str, found: str, wanted: str, *, is_met: bool) -> None:
    """Print one comparison."""
    print(f"{what}\n  {found} ({wanted}: {'met' if is_met else 'missed'})", flush=True)


def frame_size(text: str) -> tuple[int, int]:
    """Read a size such as 240x432."""
    height, width = text.split("x")
    return int(height), int(width)


def main() -> None:
    """Print the comparisons and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["tsn", "giel", "hs2s"], choices=("tsn", "giel", "hs2s"))
    parser.add_argument("--variant", default="r50", choices=("r50", "small"))
    parser.add_argument("--size", type=frame_size, default=(240, 432), help="height x width of frames (240x432)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument(
        "--clock",
        default="wall",
        choices=tuple(CLOCKS),
        help="wall: as it passes (default); cpu: of this process alone, for one thread on a busy machine",
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rates = measure_rates(device=options.device)
    machine = describe_machine(options.device)
    print(
        f"{machine}; matrices {rates.matrix / 1e9:.0f} GFLOP/s, copies {rates.copy / 1e9:.1f} GB/s\n"
        f"{options.size[0]}x{options.size[1]}, {options.precision}, medians of {options.rounds} rounds, "
        f"{options.clock} time",
        flush=True,
    )
    parts = {"tsn": measure_tsn, "giel": measure_giel, "hs2s": measure_hs2s}
    results = {name: parts[name](options) for name in options.parts}
    if options.json:
        content = {
            "machine": machine,
            "matrix_flops": rates.matrix,
            "copy_bytes_per_second": rates.copy,
            "settings": {key: value for key, value in vars(options).items() if key not in ("json", "parts")},
        }
        # Parts that were measured before stay, each with the machine and the settings of its own run.
        earlier = json.loads(options.json.read_text()) if options.json.is_file() else {}
        content = earlier | {name: {**content, **result} for name, result in results.items()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=2) + "\n")
        print(f"written: {options.json}", file=sys.stderr)


if __name__ == "__main__":
    main()
