"""How fast is the memory read, and how much memory does it take?

    python benchmarks/memory_read.py [--threads 2] [--rounds 9] [--json benchmarks/results/memory_read.json]

Ours and the usual implementation (write the affinity, sort it, scatter the weights, multiply) take turns within every
round, and medians are printed, at 30 × 54 queries (480p), 64 key channels, 512 value channels and top-20 in float32.

* ``floor`` is the time of the similarities at the best matrix rate that this machine showed in the same run, plus
  reading keys and chosen values and writing the result once at its copy rate; ``share`` is that part of our time.
* ``extra`` is the most memory in use at any moment beyond inputs and result, in a process that does nothing else.
* ``error`` is the largest difference to float64.
* ``backend`` is the implementation that read; VOS_ZOO_MEMORY_BACKEND=cpu shows what machines without a C compiler get.

Times are linear in memory frames if the last column of the second table stays flat.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from vos_zoo.memory import read_memory
from vos_zoo.memory.benchmark import (
    MachineRates,
    ReadCase,
    ReadTiming,
    describe_machine,
    make_read,
    measure_rates,
    measure_reads,
    read_textbook,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20
TARGETS = {1: (4.0, 5), 5: (10.0, 15), 20: (14.0, 30)}  # memory frames: speed-up at least, extra MiB at most
LEAST_SHARE_OF_FLOOR = 0.45  # at 20 frames
MOST_FOR_FIVE_OBJECTS = 1.6  # times one object
RESULTS = Path(__file__).parent / "results" / "memory_read.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="1, 5 and 20 frames only")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument(
        "--measure-extra", nargs=3, metavar=("IMPLEMENTATION", "FRAMES", "OBJECTS"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.measure_extra:
        implementation, frames, objects = arguments.measure_extra
        print(extra_bytes(implementation, ReadCase(int(frames), int(objects))))
        return
    machine = describe_machine()
    rates = measure_rates()
    print(machine)
    print(
        f"matrix {rates.matrix / 1e9:.0f}, thin matrix {rates.thin_matrix / 1e9:.0f}, 1×1 convolution "
        f"{rates.convolution / 1e9:.0f} GFLOP/s; copy {rates.copy / 1e9:.1f} GB/s\n"
    )
    rows = compare(rates, arguments.rounds, arguments.threads)
    lengths = [] if arguments.quick else scale(rates, arguments.rounds)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "machine": machine,
            "date": time.strftime("%Y-%m-%d"),
            "rates": dataclasses.asdict(rates),
            "against_textbook": rows,
            "by_length": lengths,
        }
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
        print(f"written: {arguments.json}", file=sys.stderr)


def compare(rates: MachineRates, rounds: int, threads: int) -> list[dict[str, object]]:
    """Print and return the table against the usual implementation."""
    print(
        f"{'frames':>6}{'objects':>8}{'backend':>9}{'ours ms':>9}{'best':>7}{'usual ms':>10}{'best':>7}{'ratio':>7}"
        f"{'best':>6}{'extra MiB':>11}{'usual':>7}{'error':>9}{'floor ms':>10}{'share':>7}  targets"
    )
    rows: list[dict[str, object]] = []
    alone: dict[int, ReadTiming] = {}
    for timing in [one for frames in TARGETS for one in measure_reads(same_memory(frames), rates, rounds=rounds)]:
        case = timing.case
        extra, usual = (run_extra(name, case, threads) for name in ("ours", "textbook"))
        assert timing.textbook_seconds is not None
        assert timing.textbook_best_seconds is not None
        best_ratio = timing.textbook_best_seconds / timing.best_seconds
        verdict = judge(timing, extra, alone)
        print(
            f"{case.frames:>6}{case.objects:>8}{timing.backend:>9}"
            f"{1e3 * timing.seconds:>9.1f}{1e3 * timing.best_seconds:>7.1f}"
            f"{1e3 * timing.textbook_seconds:>10.1f}{1e3 * timing.textbook_best_seconds:>7.1f}{timing.speed_up:>7.1f}"
            f"{best_ratio:>6.1f}{show_bytes(extra):>11}{show_bytes(usual):>7}{timing.error:>9.0e}"
            f"{1e3 * timing.floor_seconds:>10.1f}{timing.share_of_floor:>7.0%}  {verdict}",
            flush=True,
        )
        rows.append(as_row(timing, extra_bytes=extra, textbook_extra_bytes=usual))
    print()
    return rows


def same_memory(frames: int) -> list[ReadCase]:
    """One and five objects, which take turns within every round."""
    return [ReadCase(frames, objects) for objects in (1, 5)]


def judge(timing: ReadTiming, extra: int | None, alone: dict[int, ReadTiming]) -> str:
    """Say which targets the case meets."""
    case = timing.case
    if case.objects > 1:
        one = alone[case.frames]
        ratio, of_floors = timing.seconds / one.seconds, timing.floor_seconds / one.floor_seconds
        verdict = "met" if ratio <= MOST_FOR_FIVE_OBJECTS else "missed"
        return f"{ratio:.2f} × one object ({verdict}), floor {of_floors:.2f} ×"
    alone[case.frames] = timing
    speed_up, most = TARGETS[case.frames]
    assert timing.speed_up is not None
    met = {f"{speed_up:.0f}×": timing.speed_up >= speed_up}
    if extra is not None:
        met[f"{most} MiB"] = extra <= most * MIB
    if case.frames == 20:
        met[f"{LEAST_SHARE_OF_FLOOR:.0%} of floor"] = timing.share_of_floor >= LEAST_SHARE_OF_FLOOR
    return ", ".join(f"{name} {'met' if is_met else 'missed'}" for name, is_met in met.items())


def scale(rates: MachineRates, rounds: int) -> list[dict[str, object]]:
    """Print and return our times at growing memories; the usual implementation would need gigabytes there."""
    print(f"{'frames':>6}{'ours ms':>9}{'ms per frame':>14}")
    rows: list[dict[str, object]] = []
    cases = [ReadCase(frames) for frames in (1, 5, 20, 50, 100, 200)]
    for timing in measure_reads(cases, rates, rounds=min(rounds, 5), with_textbook=False):
        frames = timing.case.frames
        print(f"{frames:>6}{1e3 * timing.seconds:>9.1f}{1e3 * timing.seconds / frames:>14.2f}", flush=True)
        rows.append(as_row(timing))
    print()
    return rows


def as_row(timing: ReadTiming, **more: object) -> dict[str, object]:
    return {
        **dataclasses.asdict(timing),
        "speed_up": timing.speed_up,
        "share_of_floor": timing.share_of_floor,
        **more,
    }


def show_bytes(count: int | None) -> str:
    return "?" if count is None else f"{count / MIB:.1f}"


def run_extra(implementation: str, case: ReadCase, threads: int) -> int | None:
    """Measure the extra memory in a process of its own."""
    command = [sys.executable, __file__, "--threads", str(threads), "--measure-extra", implementation]
    result = subprocess.run(
        [*command, str(case.frames), str(case.objects)], capture_output=True, text=True, check=True
    ).stdout.strip()
    return None if result == "None" else int(result)


@torch.inference_mode()
def extra_bytes(implementation: str, case: ReadCase) -> int | None:
    """Return the peak of the resident memory during one read, less inputs and result; None outside of Linux."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        return None
    timed = prepare(implementation, case)
    # The libraries' own buffers stay with the process and are not the read's; what a read keeps for the next one is.
    prepare(implementation, ReadCase(1, grid=(8, 8)))()
    ctypes.CDLL(None).malloc_trim(0)
    reset.write_text("5")  # the peak restarts from here
    before = resident(status, "VmRSS")
    result = timed()
    return resident(status, "VmHWM") - before - result.numel() * result.element_size()


def prepare(implementation: str, case: ReadCase) -> Callable[[], torch.Tensor]:
    """Make inputs in the layout of the implementation, and a function that reads them."""
    inputs = make_read(case)
    if implementation == "ours":
        return lambda: read_memory(inputs.query_key, inputs.memory, top_k=case.top_k).values
    layout = inputs.textbook_layout()
    return lambda: read_textbook(*layout, case.top_k)


def resident(status: Path, name: str) -> int:
    """Read a field of the process status, in bytes."""
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
