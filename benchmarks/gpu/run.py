"""What only a CUDA device can tell, step by step, each in a process of its own with a time limit of its own.

    python benchmarks/gpu/run.py [--steps env reads …] [--rows benchmarks/results/gpu.jsonl] [--dry]
    python benchmarks/gpu/run.py --call A
    python benchmarks/gpu/run.py --call B

Every measurement is appended to the rows at once, as a line of JSON, so that a step that runs out of time, or breaks,
loses nothing of what it found. With ``--dry`` each step says what it would do and does the least of it on the CPU.
``--call`` runs half of the steps within five and a half minutes, for devices that are lent by the minute; ``tree.py``
beside this file says which files they need there, and ``slices.py`` trains in slices.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from common import CALL_SECONDS, CALLS, STEPS, Run, load_step

GRACE = 60.0  # seconds beyond a step's limit, for the measurement that is under way then, after which it is killed


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    chosen.add_argument("--call", choices=CALLS, help="half of the steps, with limits that end in time")
    parser.add_argument("--shards", type=Path, help="packed videos to train on; by default generated ones")
    parser.add_argument("--rows", type=Path, default=Path(__file__).parents[1] / "results" / "gpu.jsonl")
    parser.add_argument("--seconds", type=float, help="limit of every step; by default its own")
    parser.add_argument("--dry", action="store_true")
    # Run one step in this process; its time began when the process was started, as told by time.monotonic.
    parser.add_argument("--inside", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    limits = CALLS[arguments.call] if arguments.call else {name: load_step(name).SECONDS for name in arguments.steps}
    if arguments.seconds:
        limits = dict.fromkeys(limits, arguments.seconds)
    if not arguments.dry and not torch.cuda.is_available():
        print("No CUDA device: nothing was measured. With one, this would:")
        for name, limit in limits.items():
            say_plan(name, limit)
        return 0
    if arguments.inside is not None:
        ((name, limit),) = limits.items()
        run = Run(
            name, arguments.rows, limit, is_dry=arguments.dry, shards=arguments.shards, start=arguments.inside
        )  # fmt: skip
        load_step(name).measure(run)
        return 0
    failed = []
    end = time.monotonic() + (CALL_SECONDS if arguments.call else float("inf"))
    for name, limit in limits.items():
        say_plan(name, limit)
        now = time.monotonic()
        command = [sys.executable, __file__, "--inside", str(now), "--steps", name, "--rows", str(arguments.rows)]
        command += ["--seconds", str(limit), *(["--dry"] if arguments.dry else [])]
        command += [] if arguments.shards is None else ["--shards", str(arguments.shards)]
        returned = run_process(command, min(limit + GRACE, end - now))
        if returned != 0:
            problem = "ran out of time" if returned is None else f"ended with {returned}"
            print(f"{name} {problem}; what it had measured is in {arguments.rows}", flush=True)
            failed.append(name)
    return 1 if failed else 0


def run_process(command: list[str], seconds: float) -> int | None:
    """Run a command; return its exit code, or None if it was ended, with all that it had started, for lack of time."""
    if seconds <= 0:
        return None
    process = subprocess.Popen(command, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Also what a step that has died leaves behind: it would be at work on the device while the next one measures.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def say_plan(name: str, seconds: float) -> None:
    """Print what a step does and how long it may take."""
    step = load_step(name)
    print(f"\n{name} ({seconds:.0f} s at most): {' '.join((step.__doc__ or '').split())}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
