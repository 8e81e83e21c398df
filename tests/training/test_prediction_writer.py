"""Predictions on disk: whole videos or none, gone on with, zipped."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException

from testing.videos import write_frames
from vos_zoo import VideoSession, waiting
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.data.modules.prediction import PredictionDataModule
from vos_zoo.errors import ConfigError, FailedVideosError, OutputExistsError
from vos_zoo.failures import read_failures
from vos_zoo.files import file_lock, folder_lock
from vos_zoo.inference.result import PendingResult
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.models.stcn import STCNModule
from vos_zoo.training import PredictionWriter

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning asks torch in the old way
    pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers"),
]

LENGTHS = {"ash": 3, "birch": 5, "cedar": 4}


@pytest.fixture
def davis(tmp_path):
    """Three videos in DAVIS layout; masks of all frames, of which only the first are given."""
    for number, (name, frames) in enumerate(LENGTHS.items()):
        video = moving_shapes(frames, 32, 48, num_objects=2, rng=number)
        write_frames(tmp_path / "data" / "JPEGImages" / "480p" / name, list(video.frames))
        for index, mask in enumerate(video.masks):
            write_mask(tmp_path / "data" / "Annotations" / "480p" / name / f"{index:05d}.png", mask)
    return tmp_path / "data"


@pytest.fixture
def module():
    torch.manual_seed(0)
    return STCNModule("tiny", evaluation_size=None)


def predict(module, root, folder, **options):
    writer = PredictionWriter(str(folder), **options)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[writer], default_root_dir=str(folder.parent),
    )  # fmt: skip
    return trainer.predict(module, PredictionDataModule(str(root)), return_predictions=False)


def test_the_data_root_takes_no_predictions(davis, module):
    (davis / "run.json").write_text("{}")
    with pytest.raises(OutputExistsError, match="is an input of this command"):
        predict(module, davis, davis / "JPEGImages" / "..")


def masks_in(folder):
    return {path.relative_to(folder).as_posix(): read_mask(path) for path in sorted(folder.rglob("*.png"))}


def test_masks_are_those_of_a_session(davis, module, tmp_path):
    predict(module, davis, tmp_path / "out")
    found = masks_in(tmp_path / "out")
    assert {name.split("/")[0]: 0 for name in found}.keys() == LENGTHS.keys()
    assert len(found) == sum(LENGTHS.values())
    session = VideoSession(module.eval(), size=None)
    for index in range(LENGTHS["birch"]):
        frame = np.array(Image.open(davis / "JPEGImages" / "480p" / "birch" / f"{index:05d}.png"))
        given = read_mask(davis / "Annotations" / "480p" / "birch" / "00000.png").astype(np.int32)
        expected = session.step(frame, given if index == 0 else None).mask
        np.testing.assert_array_equal(found[f"birch/{index:05d}.png"], expected)
    with Image.open(tmp_path / "out" / "ash" / "00001.png") as image:
        assert image.mode == "P"


@pytest.mark.slow
@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_two_processes_on_one_device_share_the_videos(davis, module, tmp_path, accelerator):
    predict(module, davis, tmp_path / "alone")
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = str(place.getsockname()[1])
    program = [sys.executable, str(Path(__file__).parents[1] / "testing" / "prediction_process.py")]
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": "0", "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [*program, str(davis), str(tmp_path / "out"), accelerator],
            env=environment | {"NODE_RANK": str(rank)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    expected, found = masks_in(tmp_path / "alone"), masks_in(tmp_path / "out")
    assert found.keys() == expected.keys()
    different = [float((found[name] != expected[name]).mean()) for name in expected]
    assert max(different) <= (0 if accelerator == "cpu" else 0.01)


def test_the_archive_holds_folders_of_videos(davis, module, tmp_path):
    predict(module, davis, tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert names == sorted(f"{name}/{index:05d}.png" for name, count in LENGTHS.items() for index in range(count))


@pytest.fixture
def youtube(tmp_path):
    """A split of YouTube-VOS: every fifth frame, and all of them beside it; object 2 enters at frame 5."""
    video = moving_shapes(11, 32, 48, num_objects=2, rng=3)
    split, dense = tmp_path / "valid", tmp_path / "valid_all_frames"
    names = [f"{index:05d}.jpg" for index in range(11)]
    write_frames(dense / "JPEGImages" / "0a1b", list(video.frames), names)
    write_frames(split / "JPEGImages" / "0a1b", list(video.frames[::5]), names[::5])
    first, later = np.where(video.masks[0] == 1, 1, 0), np.where(video.masks[5] == 2, 2, 0)
    write_mask(split / "Annotations" / "0a1b" / "00000.png", first)
    write_mask(split / "Annotations" / "0a1b" / "00005.png", later)
    meta = {"1": {"frames": ["00000", "00005", "00010"]}, "2": {"frames": ["00005", "00010"]}}
    (split / "meta.json").write_text(json.dumps({"videos": {"0a1b": {"objects": meta}}}))
    return split


@pytest.mark.parametrize("all_frames", [False, True])
def test_youtube_vos_takes_every_fifth_frame(youtube, module, tmp_path, all_frames, monkeypatch):
    seen = []
    submit = VideoSession.submit

    def watched(self, frame, mask=None):
        seen.append(None if mask is None else set(np.unique(mask)))
        return submit(self, frame, mask)

    monkeypatch.setattr(VideoSession, "submit", watched)
    writer = PredictionWriter(str(tmp_path / "out"))
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[writer],
        enable_checkpointing=False,
    )  # fmt: skip
    data = PredictionDataModule(str(youtube), all_frames=all_frames)
    trainer.predict(module, data, return_predictions=False)
    expected = [f"Annotations/0a1b/{index:05d}.png" for index in (0, 5, 10)]
    assert sorted(masks_in(tmp_path / "out")) == expected
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        assert archive.namelist() == expected
    assert len(seen) == (11 if all_frames else 3)
    assert {0, 2} in seen


def test_finished_videos_are_left_as_they_are(davis, module, tmp_path, monkeypatch, caplog):
    predict(module, davis, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    for path in (tmp_path / "out" / "cedar").iterdir():
        path.unlink()
    (tmp_path / "out" / "cedar").rmdir()
    steps = []
    submit = VideoSession.submit
    monkeypatch.setattr(VideoSession, "submit", lambda self, *args: steps.append(1) or submit(self, *args))
    with caplog.at_level("INFO"):
        predict(module, davis, tmp_path / "out")
    assert len(steps) == LENGTHS["cedar"]
    assert "2 videos were finished before this run" in caplog.text
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.parent.name != "cedar")


@pytest.mark.parametrize("stop", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_video_that_is_not_finished_leaves_nothing(davis, module, tmp_path, monkeypatch, stop):
    submit = VideoSession.submit
    count = []

    def failing(self, frame, mask=None) -> PendingResult:
        count.append(1)
        if len(count) == LENGTHS["birch"] + 3:  # the longest video is whole, the second one is in its third frame
            raise stop
        return submit(self, frame, mask)

    monkeypatch.setattr(VideoSession, "submit", failing)
    expected = SystemExit if isinstance(stop, KeyboardInterrupt) else OSError
    with pytest.raises(expected):
        predict(module, davis, tmp_path / "out")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["birch", "run.json"]
    assert len(list((out / "birch").iterdir())) == LENGTHS["birch"]
    monkeypatch.undo()
    predict(module, davis, out)
    assert len(masks_in(out)) == sum(LENGTHS.values())


def test_a_full_disk_while_zipping_leaves_no_archive(davis, module, tmp_path, monkeypatch):
    def full(*_args, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(OSError, match="No space"):
        predict(module, davis, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.zip*"))
    assert len(masks_in(tmp_path / "out")) == sum(LENGTHS.values())


def test_other_weights_need_another_folder(davis, module, tmp_path):
    predict(module, davis, tmp_path / "out")
    with torch.no_grad():
        next(module.network.parameters()).add_(1)
    with pytest.raises(ConfigError, match="other settings: weights"):
        predict(module, davis, tmp_path / "out")


def test_a_folder_of_something_else_is_refused(davis, module, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"holds no run\.json"):
        predict(module, davis, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_a_folder_that_somebody_changed_is_refused(davis, module, tmp_path):
    predict(module, davis, tmp_path / "out")
    (tmp_path / "out" / "ash" / "00001.png").unlink()
    with pytest.raises(FailedVideosError, match=r"lacks 1 of 3 masks, the first is 00001\.png"):
        predict(module, davis, tmp_path / "out")


def test_precision_of_the_trainer_reaches_the_session(module):
    module._trainer = SimpleNamespace(precision="bf16-mixed")
    assert module._evaluation_session()._precision == "bf16"


def test_runs_share_a_folder_and_the_last_one_zips(davis, module, tmp_path, caplog):
    out = tmp_path / "out"
    predict(module, davis, out)
    (out / "submission.zip").unlink()
    shutil.rmtree(out / "birch")
    with caplog.at_level("INFO"), file_lock(out / ".birch.lock", what=out / "birch"):  # as another run at work holds it
        predict(module, davis, out)
    assert "1 videos are still with other runs" in caplog.text
    assert not (out / "birch").exists()
    assert not (out / "submission.zip").exists()
    predict(module, davis, out)
    with zipfile.ZipFile(out / "submission.zip") as archive:
        assert len(archive.namelist()) == sum(LENGTHS.values())
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_nobody_waits_for_others_once_videos_have_begun(davis, module, tmp_path, monkeypatch):
    calls = []
    for name in ("barrier", "broadcast", "reduce", "all_gather"):
        method = getattr(SingleDeviceStrategy, name)
        monkeypatch.setattr(
            SingleDeviceStrategy,
            name,
            lambda self, *args, _m=method, _n=name, **kw: calls.append(_n) or _m(self, *args, **kw),
        )
    write = PredictionWriter.write_on_batch_end
    monkeypatch.setattr(
        PredictionWriter, "write_on_batch_end", lambda self, *args: calls.append("video") or write(self, *args)
    )
    predict(module, davis, tmp_path / "out")
    assert set(calls[calls.index("video") :]) == {"video"}


def test_a_broken_video_is_named_and_does_not_end_the_run(davis, module, tmp_path):
    broken = davis / "JPEGImages" / "480p" / "birch" / "00002.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    out = tmp_path / "out"
    with pytest.raises(FailedVideosError, match=r"1 of 3 videos .* the first is birch: .*00002\.png"):
        predict(module, davis, out)
    assert sorted(masks_in(out)) == sorted(
        f"{name}/{index:05d}.png" for name in ("ash", "cedar") for index in range(LENGTHS[name])
    )
    assert read_failures(out)["birch"].error == "DataError"
    assert not (out / "submission.zip").exists()  # which would lack a video
    broken.write_bytes(whole)
    predict(module, davis, out)
    assert (out / "submission.zip").is_file()
    assert not (out / "failures.jsonl").exists()


def test_a_long_video_speaks_without_a_terminal(davis, module, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(waiting.Pace.__init__, "__kwdefaults__", {"every": 0.0, "first": 0.0})
    with caplog.at_level("INFO"):
        predict(module, davis, tmp_path / "out")
    assert re.search(r"birch: 3 of 5 masks, [0-9.]+ masks/s, 0:00:\d\d left", caplog.text)


def test_a_signal_ends_the_run_after_the_frame(davis, module, tmp_path, monkeypatch):
    submit = VideoSession.submit
    count = []

    def signalled(self, frame, mask=None):
        count.append(1)
        if len(count) == LENGTHS["birch"] + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return submit(self, frame, mask)

    monkeypatch.setattr(VideoSession, "submit", signalled)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SIGTERMException):
        predict(module, davis, tmp_path / "out")
    assert signal.getsignal(signal.SIGTERM) == before
    assert len(count) == LENGTHS["birch"] + 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["birch", "run.json"]


def test_a_run_that_fails_leaves_the_folder_to_others(davis, module, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(VideoSession, "submit", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            predict(module, davis, tmp_path / "out")
    with folder_lock(tmp_path / "out"):
        pass
