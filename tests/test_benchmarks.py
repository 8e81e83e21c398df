"""The steps of benchmarks/gpu on a CPU: each does the least of what it does on a GPU and appends rows as it goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu" / "run.py"
WRITES = {
    "env": {"machine", "backends", "copy_bytes"},
    "parity": {"different"},
    "reads": {"seconds", "floor_seconds", "compiled_while_timed"},
    "fps": {"frames_per_second", "warm_up"},
    "long": {"frame", "memory_bytes"},
    "train": {"clips_per_second"},
    "loader": {"workers"},
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("step", WRITES)
def test_a_step_does_the_least_on_a_cpu_and_says_what_it_would_do(step: str, tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text('{"step": "earlier"}\n')
    result = run("--dry", "--steps", step, "--rows", str(path), "--seconds", "60")
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{step} (60 s at most): " in result.stdout
    earlier, *found = rows(path)
    assert earlier == {"step": "earlier"}
    assert {row["step"] for row in found} == {step}
    assert all(row["dry"] for row in found)
    assert {name for row in found for name in row} >= WRITES[step]


@pytest.mark.slow
def test_a_step_whose_time_is_over_keeps_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    result = run("--dry", "--steps", "long", "fps", "--rows", str(path), "--seconds", "0.001")
    assert result.returncode == 0, result.stdout + result.stderr
    steps = [row["step"] for row in rows(path)]
    assert steps.count("long") == 1  # of three: it looks at the clock after each
    assert steps.count("fps") <= 1  # of four: it looks before each


def test_without_a_device_only_the_plan_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    result = run("--rows", str(path))
    assert result.returncode == 0, result.stderr
    assert "No CUDA device" in result.stdout
    assert all(f"\n{step} (" in result.stdout for step in WRITES)
    assert not path.exists()
