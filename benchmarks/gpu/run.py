"""What only a CUDA device can tell, step by step, each in a process of its own with a time limit of its own.

    python benchmarks/gpu/run.py [--steps env reads …] [--rows benchmarks/results/gpu.jsonl] [--dry]

Every measurement is appended to the rows at once, as a line of JSON, so that a step that runs out of time, or breaks,
loses nothing of what it found. With ``--dry`` each step says what it would do and does the least of it on the CPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from common import STEPS, Run, load_step

GRACE = 60.0  # seconds beyond a step's limit, for its start above all, after which it is killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--rows", type=Path, default=Path(__file__).parents[1] / "results" / "gpu.jsonl")
    parser.add_argument("--seconds", type=float, help="limit of every step; by default its own")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # run one step in this process
    arguments = parser.parse_args()
    if not arguments.dry and not torch.cuda.is_available():
        print("No CUDA device: nothing was measured. With one, this would:")
        for name in arguments.steps:
            say_plan(name, arguments.seconds)
        return 0
    if arguments.inside:
        (name,) = arguments.steps
        step = load_step(name)
        run = Run(name, arguments.rows, arguments.seconds or step.SECONDS, is_dry=arguments.dry)
        step.measure(run)
        return 0
    failed = []
    for name in arguments.steps:
        say_plan(name, arguments.seconds)
        limit = arguments.seconds or load_step(name).SECONDS
        words = ["--inside", "--steps", name, "--rows", str(arguments.rows), "--seconds", str(limit)]
        command = [sys.executable, __file__, *words, *(["--dry"] if arguments.dry else [])]
        try:
            returned = subprocess.run(command, timeout=limit + GRACE, check=False).returncode
        except subprocess.TimeoutExpired:
            returned = None
        if returned != 0:
            problem = "ran out of time" if returned is None else f"ended with {returned}"
            print(f"{name} {problem}; what it had measured is in {arguments.rows}", flush=True)
            failed.append(name)
    return 1 if failed else 0


def say_plan(name: str, seconds: float | None) -> None:
    """Print what a step does and how long it may take."""
    step = load_step(name)
    print(f"\n{name} ({seconds or step.SECONDS:.0f} s at most): {' '.join((step.__doc__ or '').split())}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
