"""The steps of benchmarks/gpu on a CPU: each does the least of what it does on a GPU and appends rows as it goes.

And those parts of benchmarks/scale.py that need no network.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu" / "run.py"
SCALE = Path(__file__).parents[1] / "benchmarks" / "scale.py"
_HANGS = 3000  # seconds after which a process hangs, however busy the machine is
WRITES = {
    "env": {"machine", "backends", "copy_bytes"},
    "suite": {"exit_code", "selected"},
    "parity": {"different"},
    "sanitize": {"exit_code", "tool"},
    "reads": {"seconds", "floor_seconds", "compiled_while_timed"},
    "fps": {"frames_per_second", "warm_up", "graphs"},
    "long": {"frame", "memory_bytes"},
    "share": {"network_share", "decoding_ms", "encoding_ms"},
    "train": {"clips_per_second", "waited_seconds"},
    "loader": {"workers"},
}


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, str(SCRIPT), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_HANGS, check=False)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def dry_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Run all steps that are asked for without a device; return the command and the rows that it leaves."""
    asked = [
        item.callspec.params["step"]
        for item in request.session.items
        if item.path == request.path and "dry_run" in item.fixturenames
    ]
    path = tmp_path_factory.mktemp("results") / "rows.jsonl"
    path.write_text('{"step": "earlier"}\n')
    result = run("--dry", "--steps", *asked, "--rows", str(path), "--seconds", str(_HANGS))
    return result, rows(path)


@pytest.mark.slow
@pytest.mark.timeout(len(WRITES) * _HANGS)
@pytest.mark.parametrize("step", WRITES)
def test_a_step_does_the_least_on_a_cpu_and_says_what_it_would_do(
    step: str, dry_run: tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]
) -> None:
    result, (earlier, *found) = dry_run
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"\n{step} ({_HANGS} s at most): " in result.stdout
    assert earlier == {"step": "earlier"}
    assert {row["step"] for row in found} <= WRITES.keys()
    own = [row for row in found if row["step"] == step]
    assert own
    assert all(row["dry"] for row in own)
    assert {name for row in own for name in row} >= WRITES[step]


@pytest.mark.slow
def test_a_step_whose_time_is_over_keeps_what_it_measured(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    result = run("--dry", "--steps", "long", "fps", "--rows", str(path), "--seconds", "0.001")
    assert result.returncode == 0, result.stdout + result.stderr
    steps = [row["step"] for row in rows(path)]
    assert steps.count("long") == 1  # of three: it looks at the clock after each
    assert steps.count("fps") <= 1  # of four: it looks before each


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for folder in (SCRIPT.parents[1], SCRIPT.parent):
        monkeypatch.syspath_prepend(str(folder))
    return gpu_module("run")


def test_a_step_that_dies_or_runs_out_of_time_leaves_the_rows_of_the_others(
    runner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    ends = {"env": 0, "reads": -9, "fps": None, "long": 1, "loader": 0}

    def end(command: list[str], seconds: float) -> int | None:
        name = command[command.index("--steps") + 1]
        assert command[command.index("--rows") + 1] == str(path)
        assert seconds == 7 + runner.GRACE
        with path.open("a") as file:
            file.write(json.dumps({"step": name}) + "\n")
        return ends[name]

    monkeypatch.setattr(runner, "run_process", end)
    assert runner.main(["--dry", "--steps", *ends, "--rows", str(path), "--seconds", "7"]) == 1
    assert [row["step"] for row in rows(path)] == list(ends)
    said = capsys.readouterr().out
    for name, problem in (("reads", "ended with -9"), ("fps", "ran out of time"), ("long", "ended with 1")):
        assert f"{name} {problem}; what it had measured is in {path}" in said
    assert said.count("what it had measured") == 3


_STARTS_ANOTHER = """
import subprocess, sys, time
from pathlib import Path
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100000)"])
partial = Path(sys.argv[1] + ".partial")
partial.write_text(str(other.pid))
partial.rename(sys.argv[1])
"""


@pytest.mark.timeout(_HANGS)
def test_a_process_out_of_time_is_ended_with_what_it_has_started(runner: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    for seconds in (1, 10, 100, 1000):  # until it is enough to begin
        assert (
            runner.run_process([sys.executable, "-c", f"{_STARTS_ANOTHER}\ntime.sleep(10000)", str(path)], seconds)
            is None
        )
        if path.exists():
            break
    assert_gone(int(path.read_text()))


@pytest.mark.timeout(_HANGS)
def test_a_process_that_dies_is_followed_by_what_it_has_started(runner: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    dies = f"{_STARTS_ANOTHER}\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    assert runner.run_process([sys.executable, "-c", dies, str(path)], _HANGS) == -9
    assert_gone(int(path.read_text()))
    assert runner.run_process([sys.executable, "-c", "raise SystemExit(3)"], _HANGS) == 3
    assert runner.run_process(["this is never started"], -1.0) is None


def assert_gone(process: int) -> None:
    """Wait until a process has ended; one that nobody waits for may stay in the table as a zombie."""
    while True:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state in "ZX":
            return
        time.sleep(0.05)


@pytest.fixture
def plan(runner: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run words where there is no device; return what is said."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def of(*words: str) -> str:
        assert runner.main([*words]) == 0
        return capsys.readouterr().out

    return of


def test_without_a_device_only_the_plan_is_printed(plan: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    said = plan("--rows", str(path))
    assert "No CUDA device" in said
    assert all(f"\n{step} (" in said for step in WRITES)
    assert not path.exists()


def test_both_calls_have_all_steps_and_end_in_time(plan: Any, tmp_path: Path) -> None:
    seconds: dict[str, dict[str, int]] = {}
    for call in ("A", "B"):
        said = plan("--call", call, "--rows", str(tmp_path / "rows.jsonl"))
        seconds[call] = {name: int(limit) for name, limit in re.findall(r"^(\w+) \((\d+) s at most", said, re.M)}
        assert sum(seconds[call].values()) < 330
    assert sorted([*seconds["A"], *seconds["B"]]) == sorted(WRITES)


def gpu_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_gpu_{name}", SCRIPT.with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tree_has_what_the_steps_load_and_fits() -> None:
    tree = gpu_module("tree")
    names = ["src/a.py", "checkpoints/tsn-small/model.safetensors", "checkpoints/tsn-small/config.json"]
    names.append("checkpoints/rde-small/model.safetensors")
    assert tree.needed(names) == [names[0], names[2], names[3]]
    assert {name.replace(".", "-") for name in ("rde.small", "stcn.small")} == set(tree.WEIGHTS)


def adam_checkpoint(path: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(256, 256))
    optimizer = torch.optim.Adam([weight])
    for _ in range(3):
        (weight.sin().sum()).backward()
        optimizer.step()
    state = {"global_step": 3, "state_dict": {"w": weight.data}, "optimizer_states": [optimizer.state_dict()]}
    torch.save(state, path)
    return state


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_travels_in_parts(half: bool, tmp_path: Path) -> None:
    slices = gpu_module("slices")
    state = adam_checkpoint(tmp_path / "last.ckpt")
    out = tmp_path / "out"
    out.mkdir()
    slices.split(tmp_path / "last.ckpt", out, 0.125, 8, {"from_step": 0}, half_moments=half)
    parts = sorted(path.stat().st_size for path in out.glob("checkpoint.*"))
    assert parts[-1] == 2**17
    assert len(parts) == (5 if half else 7)  # of 768 KiB, and a third less
    joined = torch.load(slices.join(out, tmp_path / "joined.ckpt"), weights_only=True)
    assert joined["global_step"] == 3
    assert torch.equal(joined["state_dict"]["w"], state["state_dict"]["w"])
    moments, expected = (one["optimizer_states"][0]["state"][0] for one in (joined, state))
    for key in ("exp_avg", "exp_avg_sq"):
        assert moments[key].dtype == torch.float32
        assert torch.equal(moments[key], expected[key].bfloat16().float() if half else expected[key])
    assert moments["step"] == expected["step"]
    (out / "checkpoint.01").write_bytes(b"other")
    with pytest.raises(SystemExit, match="damaged"):
        slices.join(out, tmp_path / "again.ckpt")


def test_a_checkpoint_that_does_not_fit_is_kept_whole(tmp_path: Path) -> None:
    slices = gpu_module("slices")
    adam_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit, match="--half-moments"):
        slices.split(tmp_path / "last.ckpt", tmp_path / "out", 0.125, 6, {}, half_moments=False)
    assert (tmp_path / "out" / "whole.ckpt").read_bytes() == (tmp_path / "last.ckpt").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(2 * _HANGS)
def test_a_slice_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    words = [
        *("--model", "STCNModule", "--model.config", "tiny", "--model.evaluation_size", "null"),
        *("--data", "SyntheticDataModule", "--data.batch_size", "1", "--data.crop_size", "32"),
        *("--data.samples_per_epoch", "3", "--data.num_workers", "0", "--trainer.accelerator", "cpu"),
        *("--trainer.logger", "false", "--trainer.enable_progress_bar", "false", "--trainer.limit_val_batches", "0"),
    ]
    notes = []
    for number, steps in enumerate((3, 6)):
        start = ["--start", str(tmp_path / "0")] if number else []
        out = tmp_path / str(number)
        command = [
            sys.executable,
            str(SCRIPT.with_name("slices.py")),
            "--out",
            str(out),
            "--seconds",
            str(_HANGS / 2),
            *start,
        ]
        command += ["--", *words, "--trainer.max_steps", str(steps)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=_HANGS, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        notes.append(json.loads((out / "slice.json").read_text()))
        assert len(list(out.iterdir())) <= 8
    assert [(note["from_step"], note["to_step"]) for note in notes] == [(0, 3), (3, 6)]


def scale(*words: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, str(SCALE), *words, "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_HANGS, check=False)
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
