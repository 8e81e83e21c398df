"""Look for accesses out of bounds and races in one small memory read of each kind, by NVIDIA's compute-sanitizer."""

from __future__ import annotations

import shutil
import subprocess
import sys

import torch
from common import Run

from vos_zoo.memory import read_memory
from vos_zoo.memory.benchmark import ReadCase, make_read

SECONDS = 45.0
_TOOLS = ("memcheck", "racecheck")
_FRAMES = (3, 30, 200)  # of which a grid of 6 x 55 makes all similarities, small groups and large groups


def measure(run: Run) -> None:
    """Write one row for each tool; without compute-sanitizer the reads are run, and the row says that it is missing."""
    program = None if run.is_dry else shutil.which("compute-sanitizer")
    for tool in _TOOLS if program else _TOOLS[:1]:
        if run.is_over:
            return
        command = [sys.executable, __file__, run.device.type]
        if program is not None:
            command = [program, "--tool", tool, "--error-exitcode", "9", *command]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=run.seconds_left + 1, check=False)
        except subprocess.TimeoutExpired:
            run.row(tool=tool, problem="ran out of time")
            return
        summary = [line for line in ended.stdout.splitlines() if "SUMMARY" in line]
        run.row(
            tool=tool if program else None, exit_code=ended.returncode, summary=summary,
            problem=None if ended.returncode == 0 else (ended.stdout + ended.stderr)[-2000:],
        )  # fmt: skip


def read_once(device: str) -> None:
    """Read memories of every kind with few queries."""
    for frames in _FRAMES if device == "cuda" else _FRAMES[:1]:
        case = ReadCase(frames, grid=(6, 55), value_dim=64)
        inputs = make_read(case, device=device, dtype=torch.float32)
        values = read_memory(inputs.query_key[..., :2, :], inputs.memory, top_k=case.top_k).values
        assert torch.isfinite(values).all()


if __name__ == "__main__":
    read_once(sys.argv[1])
