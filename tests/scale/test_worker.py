"""A worker with a model: what it writes, how it fails, and what a killed one leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time

import numpy as np
import pytest

from testing.videos import write_frames, write_video
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.files import folder_lock
from vos_zoo.inference import winograd
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.scale import worker as worker_module
from vos_zoo.scale.jobs import Job
from vos_zoo.scale.local import LocalEngine
from vos_zoo.scale.worker import FINISHED_FOLDER, RunSettings, StoppedError, Worker, marker_name
from vos_zoo.segmentation.video import segment_video
from vos_zoo.weights import load_network

FRAMES = 4


@pytest.fixture
def job(tmp_path):
    video = moving_shapes(FRAMES, 48, 64, num_objects=1, rng=3)
    write_video(tmp_path / "cat.mp4", list(video.frames))
    write_mask(tmp_path / "cat.png", video.masks[0])
    return Job(7, "cat", str(tmp_path / "cat.mp4"), str(tmp_path / "cat.png"), {})


@pytest.fixture
def settings(tmp_path, tiny_model):
    return RunSettings(str(tmp_path / "out"), str(tiny_model), {"size": 48})


def quiet(done, total):
    """Take progress and do nothing."""


def test_results_are_those_of_segment_video(job, settings, tmp_path, tiny_model):
    worker = Worker(settings, device="cpu", threads=1)
    outcome = worker.run(job, quiet)
    assert outcome.kind == "finished", outcome
    assert (outcome.record["row"], outcome.record["masks"], outcome.record["objects"]) == (7, FRAMES, [1])
    marker = tmp_path / "out" / FINISHED_FOLDER / marker_name(job, settings)
    assert json.loads(marker.read_text()) == outcome.record
    segment_video(job.video, job.masks, out=tmp_path / "alone", model=load_network(tiny_model), device="cpu", size=48)
    for index in range(FRAMES):
        name = f"{index:05d}.png"
        np.testing.assert_array_equal(read_mask(tmp_path / "out" / "cat" / name), read_mask(tmp_path / "alone" / name))
    shutil.rmtree(tmp_path / "out" / "cat")
    assert worker.run(job, quiet).record == outcome.record  # another run has finished it meanwhile
    assert not (tmp_path / "out" / "cat").exists()


def test_pairs_survive_the_way_through_a_pipe(job, settings):
    way = json.loads(json.dumps(job._replace(options={"size": (48, 64), "start": 1})._asdict()))
    outcome = Worker(settings, device="cpu", threads=1).run(Job(**way), quiet)
    assert (outcome.kind, outcome.record["masks"]) == ("finished", FRAMES - 1)


def test_prompts_of_a_row_and_those_of_another_video(job, settings, tmp_path):
    box = {"kind": "box", "object_id": 3, "left": 8, "top": 8, "right": 40, "bottom": 40}
    for name, place in (("own", box), ("other", box | {"left": 900, "right": 990})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"version": 1, "frames": {"0": [place]}}))
    worker = Worker(settings, device="cpu", threads=1)
    outcome = worker.run(job._replace(masks="", prompts=str(tmp_path / "other.json")), quiet)
    assert (outcome.kind, outcome.error) == ("failed", "PromptError"), outcome
    outcome = worker.run(job._replace(masks="", prompts=str(tmp_path / "own.json")), quiet)
    assert (outcome.kind, outcome.record.get("objects")) == ("finished", [3]), outcome


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda job: job._replace(video="nowhere.mp4"), "MissingFileError"),
        (lambda job: job._replace(masks=job.video), "MaskError"),
        (lambda job: job._replace(masks="nowhere.png"), "MissingFileError"),
        (lambda job: job._replace(options={"start": 99}), "VideoError"),
    ],
)
def test_what_is_wrong_with_a_video_is_its_failure(job, settings, change, error):
    worker = Worker(settings, device="cpu", threads=1)
    outcome = worker.run(change(job), quiet)
    assert (outcome.kind, outcome.error, outcome.is_worker_sound) == ("failed", error, True)
    assert worker.run(job, quiet).kind == "finished"


def test_masks_of_another_video_are_named(job, settings, tmp_path):
    write_mask(tmp_path / "other.png", np.ones((20, 30), np.uint8))
    outcome = Worker(settings, device="cpu", threads=1).run(job._replace(masks=str(tmp_path / "other.png")), quiet)
    assert (outcome.kind, outcome.error) == ("failed", "MaskError")
    assert "other.png" in outcome.message


def test_other_obstacles(job, settings, tmp_path, monkeypatch):
    worker = Worker(settings, device="cpu", threads=1)
    with folder_lock(tmp_path / "out" / "cat"):
        assert worker.run(job, quiet).kind == "busy"

    def stop(done, total):
        raise StoppedError

    assert worker.run(job, stop).kind == "stopped"

    def full(*_args, **_options):
        raise OSError(28, "No space left on device", "/scratch/x")

    monkeypatch.setattr(worker_module, "fetch", full)
    outcome = worker.run(job, quiet)
    assert (outcome.kind, outcome.is_worker_sound) == ("full", False)
    assert "no space is left on the disk of" in outcome.message
    monkeypatch.setattr(worker_module, "fetch", lambda *_, **__: 1 / 0)
    outcome = worker.run(job, quiet)
    assert (outcome.kind, outcome.error, outcome.is_worker_sound) == ("failed", "ZeroDivisionError", False)


def test_videos_and_results_in_a_bucket(job, settings, bucket, tmp_path):
    import fsspec

    files = fsspec.filesystem("s3")
    files.put_file(job.video, f"{bucket}/clips/cat.mp4")
    files.put_file(job.masks, f"{bucket}/clips/cat.png")
    remote = job._replace(video=f"{bucket}/clips/cat.mp4", masks=f"{bucket}/clips/cat.png")
    outcome = Worker(RunSettings(f"{bucket}/out", settings.model, settings.options), device="cpu", threads=1).run(
        remote, quiet
    )
    assert outcome.kind == "finished", outcome
    names = sorted(name.rpartition("/")[2] for name in files.ls(f"{bucket}/out/cat"))
    assert names == [*(f"{index:05d}.png" for index in range(FRAMES)), "objects.csv", "run.json"]
    noted = json.loads(files.cat_file(f"{bucket}/out/cat/run.json"))["settings"]
    assert (noted["video"], noted["masks"]) == (remote.video, remote.masks)  # no signed address, no temporary file
    local = Worker(settings, device="cpu", threads=1)

    def stop(done, total):
        if done == 2:
            raise StoppedError

    assert local.run(remote, stop).kind == "stopped"
    assert "X-Amz" not in (tmp_path / "out" / "cat" / "run.json").read_text()
    made = (tmp_path / "out" / "cat" / "00001.png").stat().st_mtime_ns
    outcome = local.run(remote, quiet)
    assert (outcome.kind, outcome.record["segmented"]) == ("finished", FRAMES - 2)
    assert (tmp_path / "out" / "cat" / "00001.png").stat().st_mtime_ns == made


@pytest.fixture
def remote(job, bucket):
    """The job, with its video and its mask in a bucket."""
    import fsspec

    files = fsspec.filesystem("s3")
    files.put_file(job.video, f"{bucket}/clips/cat.mp4")
    files.put_file(job.masks, f"{bucket}/clips/cat.png")
    return job._replace(video=f"{bucket}/clips/cat.mp4", masks=f"{bucket}/clips/cat.png")


@pytest.mark.parametrize(("direction", "left"), [("forward", FRAMES - 2), ("both", FRAMES - 1)])
def test_a_video_in_a_bucket_goes_on_where_another_machine_left_it(remote, settings, bucket, direction, left):
    import fsspec

    settings = RunSettings(f"{bucket}/out", settings.model, settings.options)
    job = remote._replace(options={"direction": direction})

    def stop(done, total):
        if done == 2:
            raise StoppedError

    outcome = Worker(settings, device="cpu", threads=1).run(job, stop)
    assert outcome.kind == "stopped", outcome
    files = fsspec.filesystem("s3")
    noted = json.loads(files.cat_file(f"{bucket}/out/cat/run.json"))
    assert (noted["finished"], noted["settings"]["video"]) == (2, job.video)
    outcome = Worker(settings, device="cpu", threads=1).run(job, quiet)
    assert (outcome.kind, outcome.record["segmented"]) == ("finished", left), outcome
    names = [name.partition("/out/cat/")[2] for name in files.find(f"{bucket}/out/cat")]
    assert sorted(names) == [*(f"{index:05d}.png" for index in range(FRAMES)), "objects.csv", "run.json"]
    # A half-done video of another row is not gone on with, and the message names the place that the user knows.
    files.rm(f"{bucket}/out/.finished", recursive=True)
    outcome = Worker(settings, device="cpu", threads=1).run(job._replace(options={"size": 64}), quiet)
    assert (outcome.error, outcome.message.count(f"{bucket}/out/cat")) == ("ConfigError", 1), outcome


def test_messages_name_what_the_user_named(remote, settings, tmp_path):
    outcome = Worker(settings, device="cpu", threads=1).run(remote._replace(video=remote.masks), quiet)
    assert remote.masks in outcome.message
    assert "/tmp" not in outcome.message


def test_sessions_share_one_rearranged_network(job, settings, monkeypatch):
    rearranged = []
    transform = winograd.transform_weight
    monkeypatch.setattr(winograd, "transform_weight", lambda weight: rearranged.append(1) or transform(weight))
    monkeypatch.setattr(winograd, "_LEAST_CHANNELS", 1)
    worker = Worker(settings, device="cpu", threads=1)
    once = len(rearranged)
    assert once
    assert [worker.run(job._replace(name=name), quiet).kind for name in "ab"] == ["finished"] * 2
    assert len(rearranged) == once


@pytest.mark.slow
def test_a_killed_worker_loses_its_current_frame_at_most(settings, tmp_path):
    # A frame takes milliseconds: the worker must not be done before it is killed.
    video = moving_shapes(400, 48, 64, num_objects=1, rng=3)
    write_frames(tmp_path / "long", list(video.frames))
    write_mask(tmp_path / "long.png", video.masks[0])
    job = Job(1, "long", str(tmp_path / "long"), str(tmp_path / "long.png"), {})
    engine = LocalEngine(settings, workers=1, device="cpu")
    try:
        deadline = time.monotonic() + 240

        def until(is_enough):
            while not is_enough(engine.wait(0.2)):
                assert time.monotonic() < deadline

        until(lambda _: engine.room())
        engine.submit(job)
        until(lambda _: len(list((tmp_path / "out" / "long").glob("*.png"))) > 5)
        os.kill(engine._processes[0].pid, signal.SIGKILL)
        until(lambda events: any(event.kind == "lost" for event in events))
        made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "long").glob("*.png")}
        until(lambda _: engine.room())
        engine.submit(job)
        until(lambda events: any(event.kind == "outcome" for event in events))
    finally:
        engine.close()
    assert len(list((tmp_path / "out" / "long").glob("*.png"))) == 400
    changed = [path for path, when in made.items() if path.stat().st_mtime_ns != when]
    assert len(changed) <= 1  # a mask that was complete, but not yet noted


@pytest.mark.slow
def test_a_killed_worker_with_a_bucket_loses_a_second_at_most(remote, settings, bucket, tmp_path):
    import fsspec

    files = fsspec.filesystem("s3")
    # Long enough for the results of the first second to arrive before the last frame.
    video = moving_shapes(1200, 48, 64, num_objects=1, rng=3)
    write_video(tmp_path / "long.mp4", list(video.frames))
    files.put_file(str(tmp_path / "long.mp4"), f"{bucket}/clips/long.mp4")
    job = remote._replace(name="long", video=f"{bucket}/clips/long.mp4")
    engine = LocalEngine(RunSettings(f"{bucket}/out", settings.model, settings.options), workers=1, device="cpu")
    try:
        deadline = time.monotonic() + 240

        def until(is_enough):
            while not is_enough(engine.wait(0.05)):
                assert time.monotonic() < deadline

        until(lambda _: engine.room())
        engine.submit(job)
        until(lambda _: files.exists(f"{bucket}/out/long/run.json"))
        os.kill(engine._processes[0].pid, signal.SIGKILL)
        until(lambda events: any(event.kind == "lost" for event in events))
        kept = json.loads(files.cat_file(f"{bucket}/out/long/run.json"))["finished"]
        assert kept
        until(lambda _: engine.room())
        engine.submit(job)
        ended = []
        until(lambda events: ended.extend(event for event in events if event.outcome) or ended)
    finally:
        engine.close()
    assert (ended[0].outcome.kind, ended[0].outcome.record["segmented"]) == ("finished", 1200 - kept)
