"""``lightning`` in two processes, and stopped from outside."""

from __future__ import annotations

import csv
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from testing.hostile import save_hostile_checkpoint, serve
from testing.limits import file_size_limit
from testing.videos import write_frames
from vos_zoo.cli import lightning
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.packed import pack_videos
from vos_zoo.media.masks import read_mask, write_mask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]

RECIPE = """
seed_everything: 3
trainer:
  accelerator: cpu
  max_steps: 3
  enable_progress_bar: false
  enable_model_summary: false
  num_sanity_val_steps: 0
  log_every_n_steps: 1
  gradient_clip_val: 1.0
  logger: {class_path: CSVLogger, init_args: {save_dir: run}}
model:
  class_path: RDEModule
  init_args: {config: tiny, learning_rate: 1.0e-3, evaluation_size: 32}
data:
  class_path: SyntheticDataModule
  init_args: {crop_size: 48, num_frames: 5, samples_per_epoch: 12, num_workers: 0, validation_frames: 4}
"""
PREDICTION = """
trainer: {accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}
model: {class_path: RDEModule, init_args: {config: tiny, evaluation_size: 32}}
"""
TWO_PROCESSES = ("--trainer.devices=2", "--trainer.strategy=ddp")


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch):
    """Give back what Lightning's seeding changes."""
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    environment = dict(os.environ)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002  # the global generator
    yield
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    os.environ.clear()
    os.environ.update(environment)


def start(folder: Path, *words: str, recipe: str = RECIPE, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    (folder / "recipe.yaml").write_text(recipe)
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path}
    command = [sys.executable, "-m", *launcher, "vos_zoo.cli.lightning", words[0], "--config=recipe.yaml", *words[1:]]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_two(folder: Path, *words: str) -> None:
    process = start(folder, *words, *TWO_PROCESSES)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors


def run_one(folder: Path, *words: str) -> int:
    (folder / "recipe.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["lightning", words[0], "--config=recipe.yaml", *words[1:]])
        return lightning.main()


def column(folder: Path, name: str) -> list[float]:
    (path,) = folder.rglob("metrics.csv")
    with path.open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.rglob("*.ckpt")
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


@pytest.mark.timeout(600)
def test_two_processes_train_and_predict_like_one(tmp_path, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert run_one(one, "fit", "--data.batch_size=4") == 0
    run_two(two, "fit", "--data.batch_size=2")

    losses = column(one, "train/loss")
    assert len(losses) == 3
    assert column(two, "train/loss") == pytest.approx(losses, rel=1e-5)
    first, second = weights(one), weights(two)
    # Adam divides by the gradients' magnitude, so that rounding shows where a gradient is almost 0.
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 2e-4
    assert column(two, "val/jf_mean") == pytest.approx(column(one, "val/jf_mean"), abs=0.02)

    (checkpoint,) = one.rglob("*.ckpt")
    words = ("predict", f"--ckpt_path={checkpoint}", "--predictions.folder=out")
    assert run_one(one, *words) == 0
    run_two(two, *words)
    found = [
        sorted(path.relative_to(folder / "out") for path in (folder / "out").rglob("*.png")) for folder in (one, two)
    ]
    assert found[0] == found[1]
    assert len({path.parent for path in found[0]}) == 4
    assert all((read_mask(one / "out" / path) == read_mask(two / "out" / path)).all() for path in found[0])
    assert (two / "out" / "submission.zip").is_file()
    before = {path: path.stat().st_mtime_ns for path in (two / "out").rglob("*.png")}
    assert run_one(two, *words) == 0  # what two processes have finished, one need not do again
    assert {path: path.stat().st_mtime_ns for path in (two / "out").rglob("*.png")} == before


@pytest.mark.timeout(600)
def test_processes_on_a_cpu_train_without_shared_batch_statistics(tmp_path):
    process = start(
        tmp_path, "fit", "--model=HS2SModule", "--model.config=tiny", "--data.crop_size=64", "--data.batch_size=1",
        "--trainer.sync_batchnorm=true", "--trainer.max_steps=1", "--trainer.limit_val_batches=0", *TWO_PROCESSES,
    )  # fmt: skip
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    assert errors.count("CPUs cannot share batch statistics") == 1
    assert len(column(tmp_path, "train/loss")) == 1


@pytest.mark.timeout(600)
def test_a_stopped_training_says_how_to_go_on(tmp_path):
    process = start(tmp_path, "fit", "--data.batch_size=1", "--trainer.max_steps=1000")
    deadline = time.monotonic() + 300
    while not any(path.stat().st_size > 100 for path in tmp_path.rglob("metrics.csv")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 128 + signal.SIGTERM, errors
    (checkpoint,) = tmp_path.rglob("interrupted.ckpt")
    assert f"--ckpt_path {checkpoint.relative_to(tmp_path)}" in errors
    assert torch.load(checkpoint, weights_only=True)["global_step"] > 0


@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_untrained_weights_are_refused(tmp_path, command, capsys):
    assert run_one(tmp_path, command) == 2
    assert f"`lightning {command}` was given no trained weights" in capsys.readouterr().err


@pytest.mark.parametrize("is_remote", [True, False], ids=["remote", "local"])
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_checkpoint_never_runs_code(tmp_path, monkeypatch, capsys, command, is_remote):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    marker = tmp_path / "code was run"
    checkpoint = save_hostile_checkpoint(tmp_path / "evil.ckpt", marker)
    with serve(tmp_path) as address:
        source = f"{address}/evil.ckpt" if is_remote else str(checkpoint)
        code = run_one(tmp_path, command, f"--ckpt_path={source}")
    assert not marker.exists()
    assert code == 2
    message = capsys.readouterr().err
    assert source in message
    assert "can run code" in message


def test_reading_checkpoints_without_care_is_refused(tmp_path, capsys):
    marker = tmp_path / "code was run"
    checkpoint = save_hostile_checkpoint(tmp_path / "evil.ckpt", marker)
    assert run_one(tmp_path, "fit", f"--ckpt_path={checkpoint}", "--weights_only=false") == 2
    assert not marker.exists()
    assert "--weights_only" in capsys.readouterr().err


def test_training_on_a_full_disk_is_one_message(tmp_path, capsys):
    with file_size_limit(20_000):  # room for the settings, but not for a checkpoint
        assert run_one(tmp_path, "fit", "--trainer.max_steps=1", "--data.batch_size=1") == 2
    assert "lightning: error: no space is left on the disk" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.timeout(600)
def test_processes_share_videos_go_past_a_broken_one_and_are_no_more_than_videos(tmp_path, tiny_model):
    for number, (name, frames) in enumerate({"ash": 3, "birch": 40, "cedar": 3, "oak": 4}.items()):
        video = moving_shapes(frames, 32, 48, num_objects=1, rng=number)
        write_frames(tmp_path / "data" / "JPEGImages" / "480p" / name, list(video.frames))
        write_mask(tmp_path / "data" / "Annotations" / "480p" / name / "00000.png", video.masks[0])
    broken = tmp_path / "data" / "JPEGImages" / "480p" / "oak" / "00002.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    words = (
        "predict", f"--model.initial_weights={tiny_model}", "--data=PredictionDataModule", "--data.root=data",
        "--predictions.folder=out", "--trainer.strategy=ddp",
    )  # fmt: skip
    first = start(tmp_path, *words, "--trainer.devices=2", recipe=PREDICTION)
    _, errors = first.communicate(timeout=250)
    assert first.returncode == 1, errors
    assert "1 of 4 videos could not be segmented, the first is oak" in errors
    assert "Traceback" not in errors
    out = tmp_path / "out"
    assert {path.name: len(list(path.iterdir())) for path in out.iterdir() if path.is_dir()} == {
        "ash": 3, "birch": 40, "cedar": 3,
    }  # fmt: skip
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []

    broken.write_bytes(whole)
    second = start(tmp_path, *words, "--trainer.devices=64", "--data.video_names=[oak]", recipe=PREDICTION)
    output, errors = second.communicate(timeout=250)
    assert second.returncode == 0, errors
    assert "1 video, so 1 of 64 devices are used" in output
    assert sorted(path.name for path in out.iterdir()) == ["ash", "birch", "cedar", "oak", "run.json", "submission.zip"]


@pytest.mark.timeout(600)
def test_two_nodes_of_torchrun_train_like_one_process(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    shards = tmp_path / "shards"
    for number in range(6):
        video = moving_shapes(5, 48, 48, num_objects=1, rng=number)
        write_frames(tmp_path / "davis" / "JPEGImages" / "480p" / f"v{number}", list(video.frames))
        for index, mask in enumerate(video.masks):
            write_mask(tmp_path / "davis" / "Annotations" / "480p" / f"v{number}" / f"{index:05d}.png", mask)
    pack_videos(DavisVideos(tmp_path / "davis"), shards, source=tmp_path / "davis", shard_bytes=20_000)
    words = [
        "fit", "--data=PackedDataModule", f"--data.root={shards}", "--data.crop_size=48", "--data.num_frames=5",
        "--data.samples_per_epoch=12", "--data.num_workers=0", "--trainer.limit_val_batches=0",
    ]  # fmt: skip
    recipe = RECIPE[: RECIPE.index("data:")]
    alone = start(one, *words, "--data.batch_size=4", recipe=recipe)
    _, errors = alone.communicate(timeout=250)
    assert alone.returncode == 0, errors
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words += ["--data.batch_size=2", "--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    torchrun = ("torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1")
    nodes = [
        start(two, *words, recipe=recipe, launcher=(*torchrun, f"--master-port={port}", f"--node-rank={rank}", "-m"))
        for rank in range(2)
    ]
    for node in nodes:
        _, errors = node.communicate(timeout=250)
        assert node.returncode == 0, errors
    losses = column(one, "train/loss")
    assert len(losses) == 3
    assert column(two, "train/loss") == pytest.approx(losses, rel=1e-5)
    first, second = weights(one), weights(two)
    assert max(float((first[key] - second[key]).abs().max()) for key in first) < 1e-4


@pytest.mark.timeout(600)
def test_a_process_that_dies_leaves_its_video_to_the_others(tmp_path, tiny_model):
    for number, name in enumerate(("ash", "birch", "oak")):
        video = moving_shapes(60, 32, 48, num_objects=1, rng=number)
        write_frames(tmp_path / "data" / "JPEGImages" / "480p" / name, list(video.frames))
        write_mask(tmp_path / "data" / "Annotations" / "480p" / name / "00000.png", video.masks[0])
    words = (
        "predict", f"--model.initial_weights={tiny_model}", "--data=PredictionDataModule", "--data.root=data",
        "--predictions.folder=out", *TWO_PROCESSES,
    )  # fmt: skip
    process = start(tmp_path, *words, recipe=PREDICTION)
    deadline = time.monotonic() + 250
    out = tmp_path / "out"
    while sum(1 for partial in out.glob(".*.part") if len(list(partial.glob("*.png"))) > 2) < 2:  # both are at work
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    finished = {path: path.stat().st_mtime_ns for name in ("ash", "birch", "oak") for path in out.glob(f"{name}/*.png")}
    _, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    assert "Device 1 died with code -9" in errors
    assert {path.name: len(list(path.iterdir())) for path in out.iterdir() if path.is_dir()} == {
        "ash": 60, "birch": 60, "oak": 60,
    }  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert (out / "submission.zip").is_file()
