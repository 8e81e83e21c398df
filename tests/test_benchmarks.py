"""The steps of benchmarks/gpu on a CPU: each does the least of what it does on a GPU and appends rows as it goes.

And those parts of benchmarks/scale.py that need no network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu" / "run.py"
SCALE = Path(__file__).parents[1] / "benchmarks" / "scale.py"
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


def scale(*words: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, str(SCALE), *words, "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def test_the_queue_of_many_videos_is_measured_without_a_network(tmp_path: Path) -> None:
    found = scale("list", "--rows", "40", "--videos", "10", "--workers", "1", out=tmp_path / "list.json")
    assert found["rows"] == 40
    assert found["videos"] >= 10
    assert found["driver_mib"] < 300  # neither torch nor OpenCV is in the driver


def test_costs_are_multiplied(tmp_path: Path) -> None:
    words = ("--videos", "1000", "--frames", "100", "--speed", "25", "--dollars", "2", "--devices", "4")
    found = scale("cost", *words, "--overhead-ms", "200", "--bytes", "4096", out=tmp_path / "cost.json")
    assert found == {"frames": 100_000, "device_hours": 1.2, "days": 0.01, "dollars": 2.33, "masks_gib": 0.4}
