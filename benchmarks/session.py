"""Time and memory of a session, stage by stage: every model and size at 480x854 with 1, 3 and 5 objects.

    python benchmarks/session.py --models stcn rde --sizes small r50 --objects 1 3 5 --json results/session.json

Weights are random: time and memory do not depend on them. Stages are timed inside the session itself. The
memory bank is then fed 1,000 frames at full size without the encoders, to show what it holds at frames 100 and 1,000.

    python benchmarks/session.py --compare --models stcn rde --sizes r50 --objects 1 5

sets a session with all its defaults against the plain network with the usual memory read, with the same weights at
frame 100, and against itself at frame 2,000, with at most 20 frames in memory. The three take turns; medians are
printed. ``--later`` sets another frame than 2,000.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import resource
import statistics
import sys
import time
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vos_zoo.inference.optimize import optimize_network
from vos_zoo.inference.session import VideoSession
from vos_zoo.memory import MemoryReadout
from vos_zoo.memory.benchmark import read_textbook
from vos_zoo.models import grouped_memory
from vos_zoo.registry import ARCHITECTURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vos_zoo.network import VOSNetwork

STAGES = ("encode", "read", "decode", "memorize")
FRAME = (480, 854)
COMPARED_MEMORY_FRAMES = 20  # what STCN holds at frame 100, and a usual bound
LEAST_SPEED_UP = 1.5
MOST_GROWTH = 1.1  # of the frame time from frame 100 to 2,000


def build(model: str, size: str) -> VOSNetwork[Any, Any]:
    """Make a network with random weights."""
    architecture = ARCHITECTURES[model]
    config = getattr(architecture.load_class("config"), size)()
    torch.manual_seed(0)
    network: VOSNetwork[Any, Any] = architecture.load_class("network")(config)
    return network.eval()


@contextmanager
def stage_times(network: VOSNetwork[Any, Any]) -> Iterator[dict[str, list[float]]]:
    """Collect seconds of every call of the stages of a network."""
    times: dict[str, list[float]] = defaultdict(list)

    def timed(stage: str) -> Any:
        method = getattr(network, stage)

        def call(*args: Any, **kwargs: Any) -> Any:
            synchronize(network)
            start = time.perf_counter()
            result = method(*args, **kwargs)
            synchronize(network)
            times[stage].append(time.perf_counter() - start)
            return result

        return call

    for stage in STAGES:
        setattr(network, stage, timed(stage))
    try:
        yield times
    finally:
        for stage in STAGES:
            delattr(network, stage)


def synchronize(network: VOSNetwork[Any, Any]) -> None:
    """Wait for the GPU, if there is one."""
    if next(network.parameters()).is_cuda:
        torch.cuda.synchronize()


def moving_video(frames: int, objects: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Make random frames and one mask with equal blocks."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(FRAME, np.int32)
    for index in range(objects):
        left = 40 + index * (FRAME[1] - 80) // objects
        mask[120:360, left : left + 110] = index + 1
    base = rng.integers(0, 255, (*FRAME, 3), dtype=np.uint8)
    return [np.roll(base, 3 * index, axis=1) for index in range(frames)], mask


def peak_bytes(network: VOSNetwork[Any, Any]) -> int:
    """Return the peak memory of the process, or of the GPU."""
    if next(network.parameters()).is_cuda:
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def time_session(network: VOSNetwork[Any, Any], objects: int, frames: int, **options: Any) -> dict[str, Any]:
    """Run a session and return medians in milliseconds."""
    video, mask = moving_video(frames, objects)
    seconds = []
    with stage_times(network) as times:
        session = VideoSession(network, optimize=False, graphs=False, **options)  # the timers live on this object
        for index, frame in enumerate(video):
            start = time.perf_counter()
            session.step(frame, mask if index == 0 else None)
            seconds.append(time.perf_counter() - start)
    steady = seconds[2:]  # the first frames annotate and warm up
    return {
        "objects": objects,
        "frames_per_second": len(steady) / sum(steady),
        "ms": {stage: 1000 * statistics.median(times[stage][1:] or times[stage]) for stage in STAGES},
        "peak_bytes": peak_bytes(network),
        "memory_frames": session.memory_frames,
        "memory_bytes": session.memory_bytes,
    }


@torch.inference_mode()
def bank_growth(network: VOSNetwork[Any, Any], objects: int, marks: tuple[int, ...] = (100, 1000)) -> dict[int, int]:
    """Feed a memory at full size with random values and return its bytes at some frames."""
    memory = network.new_memory()
    height, width = FRAME[0], -(-FRAME[1] // 16) * 16
    features = network.encode(torch.zeros(1, 3, height, width))
    config: Any = network.config
    values = 1e-3 * torch.rand(1, objects, config.value_dim, height // 16, width // 16)
    sizes = {}
    for index in range(max(marks) + 1):
        if index > 0:
            memory.tick()
        if index == 0 or memory.is_due:
            _remember(network, features, values, memory, is_first=index == 0)
        if index in marks:
            sizes[index] = memory.nbytes
    return sizes


def _remember(network: Any, features: Any, values: torch.Tensor, memory: Any, *, is_first: bool) -> None:
    """Store a frame without encoding its masks; STM's keys are per object and come from the masks as well."""
    if hasattr(network, "remember"):
        network.remember(features, values, memory, reference=is_first)
        return
    objects, tokens = values.shape[1], values.flatten(3).transpose(2, 3)
    keys = torch.zeros(1, objects, tokens.shape[2], network.config.key_dim)
    memory.write(keys, tokens, frozenset(range(objects)) if is_first else frozenset())


@contextmanager
def usual_memory_read() -> Iterator[None]:
    """Let the matching networks read their memory as papers' code commonly does."""

    def read(query_key: torch.Tensor, memory: Any, *, top_k: int | None) -> MemoryReadout:
        # The bank's layout is turned into the usual one by views, so that it costs nothing.
        values = read_textbook(query_key[0].flatten(1), memory.keys[0].T, memory.values[0].T, top_k)
        return MemoryReadout(values.view(1, -1, *query_key.shape[2:]), None)

    ours = grouped_memory.read_memory
    grouped_memory.read_memory = read  # type: ignore[assignment]
    try:
        yield
    finally:
        grouped_memory.read_memory = ours


def session_at(network: VOSNetwork[Any, Any], objects: int, frame: int, *, optimize: bool, **options: Any) -> Any:
    """Open a session and let its memory be what it is after so many frames."""
    policy = network.default_policy()
    policy = dataclasses.replace(policy, max_frames=COMPARED_MEMORY_FRAMES)
    session = VideoSession(network, optimize=optimize, policy=policy, **options)
    video, mask = moving_video(1, objects)
    session.step(video[0], mask)
    memory, height, width = session._memory, FRAME[0], -(-FRAME[1] // 16) * 16
    config: Any = network.config
    values = 1e-3 * torch.rand(1, objects, config.value_dim, height // 16, width // 16)
    with torch.inference_mode():
        features = network.encode(torch.rand(1, 3, height, width))
        for _ in range(1, frame):
            memory.tick()
            if memory.is_due:
                _remember(network, features, values, memory, is_first=False)
    return session


def compare(network: VOSNetwork[Any, Any], objects: int, rounds: int, later: int, **options: Any) -> dict[str, Any]:
    """Time the three kinds of frames in turns; return medians and the ratios of medians."""
    sessions = {
        "plain": session_at(network, objects, 100, optimize=False, **options),
        "ours": session_at(network, objects, 100, optimize=True, **options),
        "later": session_at(network, objects, later, optimize=True, **options),
    }
    times: dict[str, list[float]] = {name: [] for name in sessions}
    for frame in moving_video(rounds + 1, objects, seed=1)[0]:
        for name, session in sessions.items():
            with usual_memory_read() if name == "plain" else nullcontext():
                start = time.perf_counter()
                session.step(frame)
                synchronize(network)
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    return {
        "objects": objects,
        "memory_frames": sessions["ours"].memory_frames,
        "seconds": medians,
        "speed_up": medians["plain"] / medians["ours"],
        "later_frame": later,
        "growth": medians["later"] / medians["ours"],
    }


def print_comparison(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print and return the table of the comparison."""
    print(
        f"{'model':<12}{'objects':>8}{'memory':>8}{'plain':>8}{'ours':>8}{'ratio':>7}"
        f"{f'frame {arguments.later}':>13}{'growth':>8}"
    )
    rows = []
    for model in arguments.models:
        for size in arguments.sizes:
            network = build(model, size).to(arguments.device)
            for objects in arguments.objects:
                row = compare(network, objects, arguments.frames, arguments.later, precision=arguments.precision)
                row.update(model=model, size=size, precision=arguments.precision)
                rows.append(row)
                plain, ours, later = (f"{1000 * seconds:.0f}" for seconds in row["seconds"].values())
                is_met = row["speed_up"] >= LEAST_SPEED_UP and row["growth"] <= MOST_GROWTH
                print(
                    f"{model + '.' + size:<12}{objects:>8}{row['memory_frames']:>8}{plain:>8}{ours:>8}"
                    f"{row['speed_up']:>7.2f}{later:>13}{row['growth']:>8.2f}  {'met' if is_met else 'missed'}",
                    flush=True,
                )
    return rows


def main() -> None:
    """Print the tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(ARCHITECTURES))
    parser.add_argument("--sizes", nargs="+", default=["small", "r50"])
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 3, 5])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--skip-bank", action="store_true")
    parser.add_argument("--plain", action="store_true", help="without the rearrangement for inference")
    parser.add_argument("--compare", action="store_true", help="with the plain network and the usual memory read")
    parser.add_argument("--later", type=int, default=2000, help="frame that the comparison looks at after frame 100")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    machine = (
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    print(f"{machine}; 480x854, {arguments.precision}; medians in ms", flush=True)
    rows = print_comparison(arguments) if arguments.compare else print_stages(arguments)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
        print(f"written: {arguments.json}", file=sys.stderr)


def print_stages(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print and return the table of stages."""
    head = "".join(f"{stage:>10}" for stage in STAGES)
    print(f"{'model':<12}{'objects':>8}{head}{'frames/s':>10}{'peak MiB':>10}{'bank MiB at 100 / 1000':>26}")
    rows = []
    for model in arguments.models:
        for size in arguments.sizes:
            network = build(model, size).to(arguments.device)
            if not arguments.plain:
                network = optimize_network(network)
            for objects in arguments.objects:
                row = time_session(network, objects, arguments.frames, precision=arguments.precision)
                row.update(model=model, size=size, precision=arguments.precision)
                growth = {} if arguments.skip_bank else bank_growth(network, objects)
                row["bank_bytes"] = growth
                rows.append(row)
                bank = " / ".join(f"{value / 2**20:.1f}" for value in growth.values())
                times = "".join(f"{row['ms'][stage]:>10.0f}" for stage in STAGES)
                print(
                    f"{model + '.' + size:<12}{objects:>8}{times}{row['frames_per_second']:>10.2f}"
                    f"{row['peak_bytes'] / 2**20:>10.0f}{bank:>26}",
                    flush=True,
                )
    return rows


if __name__ == "__main__":
    main()
