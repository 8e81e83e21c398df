from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from testing.checkpoints import save_tiny
from testing.clips import FRAMES, LATE_FRAME
from vos_zoo.errors import ConfigError, MaskError, OutputExistsError, OutputInUseError, UnknownModelError, VideoError
from vos_zoo.files import folder_lock
from vos_zoo.interchange.export_masks import export_masks
from vos_zoo.media.masks import mask_ids, read_mask, write_mask
from vos_zoo.models.hs2s import HS2SNetwork
from vos_zoo.models.load import load_model
from vos_zoo.models.tsn import TSNModule
from vos_zoo.segmentation.video import segment_video

NAMES = [f"{index:05d}" for index in range(FRAMES)]
# In the given masks of frames 0 and 3 every object is annotated, so that nothing is left to segment there.
SEGMENTED = [name for index, name in enumerate(NAMES) if index not in (0, LATE_FRAME)]


@pytest.fixture
def options(tiny_model, tmp_path):
    return {"out": tmp_path / "out", "model": tiny_model, "device": "cpu", "size": 32}


def written(folder):
    return sorted(path.stem for path in folder.glob("*.png"))


def test_every_frame_gets_a_mask_of_its_size_under_its_name(small_clip, options):
    calls = []
    report = segment_video(
        small_clip.frames, small_clip.first, **options, progress=lambda done, total: calls.append((done, total))
    )
    assert written(options["out"]) == NAMES
    for name in NAMES:
        mask = read_mask(options["out"] / f"{name}.png", void=0)
        assert mask.shape == (48, 64)
        assert set(mask_ids(mask)) <= {1}
    assert calls == [(index + 1, FRAMES) for index in range(FRAMES)]
    assert (report.frames, report.segmented, report.objects) == (FRAMES, FRAMES, (1,))
    assert report.frames_per_second > 0
    assert report.overlay is None


def test_objects_enter_with_a_later_mask(small_clip, options):
    report = segment_video(small_clip.frames, small_clip.given, **options)
    assert report.objects == (1, 7)
    for index, name in enumerate(NAMES):
        ids = set(mask_ids(read_mask(options["out"] / f"{name}.png", void=0)))
        assert ids <= ({1, 7} if index >= LATE_FRAME else {1})


def test_frames_before_the_first_mask_are_empty(small_clip, options, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    shutil.copy(small_clip.masks / "00004.png", given)
    segment_video(small_clip.frames, given, **options)
    assert not any(read_mask(options["out"] / f"{name}.png").any() for name in NAMES[:4])


def test_an_empty_first_mask_is_fine_if_an_object_enters_later(small_clip, options, tmp_path):
    given = tmp_path / "given"
    write_mask(given / "00000.png", np.zeros((48, 64), np.uint8))
    shutil.copy(small_clip.masks / "00002.png", given)
    report = segment_video(small_clip.frames, given, **options)
    assert report.objects == (1,)
    assert not read_mask(options["out"] / "00001.png").any()


@pytest.mark.parametrize(
    ("selection", "names"),
    [
        ({"start": 3}, NAMES[3:]),
        ({"end": 2}, NAMES[:2]),
        ({"every": 3}, NAMES[::3]),
        ({"start": 1, "end": 7, "every": 2}, NAMES[1:7:2]),
    ],
)
def test_a_selection_of_frames(small_clip, options, selection, names):
    segment_video(small_clip.frames, small_clip.masks / f"{names[0]}.png", **options, **selection)
    assert written(options["out"]) == names


@pytest.mark.parametrize("place", [True, "elsewhere/video.mp4"])
def test_an_overlay_plays(small_clip, options, tmp_path, place):
    overlay = place if place is True else tmp_path / place
    report = segment_video(small_clip.frames, small_clip.first, **options, overlay=overlay)
    assert report.overlay == (options["out"] / "overlay.mp4" if place is True else overlay)
    with av.open(str(report.overlay)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (64, 48)
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in container.decode(stream)) == FRAMES


def test_a_loaded_model_and_its_name_give_the_same(small_clip, options, tmp_path):
    segment_video(small_clip.frames, small_clip.first, **options)
    model = load_model(options["model"], device="cpu")
    segment_video(small_clip.frames, small_clip.first, **{**options, "out": tmp_path / "second", "model": model})
    for name in NAMES:
        first, second = ((folder / f"{name}.png").read_bytes() for folder in (options["out"], tmp_path / "second"))
        assert first == second


def test_a_loaded_model_stays_where_it_is_and_the_run_may_not(small_clip, options, monkeypatch):
    model = load_model(options["model"], device="cpu")
    asked = []
    monkeypatch.setattr("vos_zoo.inference.session.find_device", lambda name: asked.append(name) or torch.device("cpu"))
    report = segment_video(small_clip.frames, small_clip.first, **{**options, "model": model, "device": "cuda:1"})
    assert asked == ["cuda:1"]
    assert report.device == "cpu"
    segment_video(
        small_clip.frames, small_clip.first, **{**options, "model": model, "device": None}, overwrite=True, end=2
    )
    assert asked == ["cuda:1"]


def test_a_model_works_at_its_own_size_unless_told_another(small_clip, options, tmp_path, monkeypatch):
    seen = []
    encode = HS2SNetwork.encode

    def watched(self, image):
        seen.append(tuple(image.shape[2:]))
        return encode(self, image)

    monkeypatch.setattr(HS2SNetwork, "encode", watched)
    model = save_tiny("hs2s", tmp_path)
    for number, size in enumerate(("native", (64, 96), 32)):
        more = {"model": model, "out": tmp_path / str(number), "size": size, "end": 2}
        segment_video(small_clip.frames, small_clip.first, **{**options, **more})
    assert seen == [(256, 448)] * 2 + [(64, 96)] * 2 + [(32, 64)] * 2
    segment_video(small_clip.frames, small_clip.first, **{**options, **more, "size": 32}, resume=True)


def test_a_size_of_two_numbers_can_be_resumed(small_clip, options):
    segment_video(small_clip.frames, small_clip.first, **{**options, "size": (32, 48)}, end=3)
    again = segment_video(small_clip.frames, small_clip.first, **{**options, "size": (32, 48)}, end=3, resume=True)
    assert again.segmented == 0


# What a model shows beside its masks


def test_the_routing_map_is_written(small_clip, options, tmp_path):
    more = {"model": save_tiny("tsn", tmp_path), "show": "routing"}
    report = segment_video(small_clip.frames, small_clip.given, **{**options, **more})
    assert report.views == options["out"] / "routing"
    files = [f"{name}.jpg" for name in SEGMENTED] + ["mean.csv", "mean.png"]
    assert sorted(path.name for path in report.views.iterdir()) == sorted(files)
    with (report.views / "mean.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == SEGMENTED
    assert all(0 < float(row[column]) < 1 for row in rows for column in ("memory", "first frame"))
    # Until a second frame is memorised, both columns are the same comparison.
    assert rows[0]["memory"] == rows[0]["first frame"]
    assert written(options["out"]) == NAMES


def test_a_resumed_run_adds_to_the_routing_maps(small_clip, options, tmp_path):
    more = {**options, "model": save_tiny("tsn", tmp_path), "show": "routing"}
    run_until(small_clip, more, 4)
    segment_video(small_clip.frames, small_clip.given, **more, resume=True)
    with (options["out"] / "routing" / "mean.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == SEGMENTED


def test_a_model_without_a_routing_map_says_so(small_clip, options, tmp_path):
    with pytest.raises(ConfigError, match="RDENetwork has no view 'routing'"):
        segment_video(small_clip.frames, small_clip.first, **options, show="routing")
    model = TSNModule("tiny", overrides={"streams": "pixel"})
    with pytest.raises(ConfigError, match="TSNNetwork has no view 'routing'"):
        segment_video(
            small_clip.frames, small_clip.first, **{**options, "model": model}, overwrite=True, show="routing"
        )
    with pytest.raises(ConfigError, match="'affinity'"):
        model.session().watch("affinity")


class StopError(Exception):
    """Stands for whatever ends a run half-way."""


def run_until(small_clip, options, stop_at, **more):
    def progress(done, total):
        if done == stop_at:
            raise StopError

    with pytest.raises(StopError):
        segment_video(small_clip.frames, small_clip.given, **options, **more, progress=progress)


@pytest.mark.parametrize("stop_at", [1, 5])
@pytest.mark.parametrize("overlay", [False, True])
def test_a_stopped_run_keeps_its_masks_and_goes_on(small_clip, options, stop_at, overlay):
    run_until(small_clip, options, stop_at, overlay=overlay)
    assert written(options["out"]) == NAMES[:stop_at]
    kept = {name: (options["out"] / f"{name}.png").read_bytes() for name in NAMES[:stop_at]}

    report = segment_video(small_clip.frames, small_clip.given, **options, overlay=overlay, resume=True)
    assert (report.frames, report.segmented) == (FRAMES, FRAMES - stop_at)
    assert report.objects == (1, 7)
    assert written(options["out"]) == NAMES
    assert {name: (options["out"] / f"{name}.png").read_bytes() for name in kept} == kept
    if overlay:
        with av.open(str(report.overlay)) as container:
            assert sum(1 for _ in container.decode(video=0)) == FRAMES


def test_resuming_a_finished_run_does_nothing(small_clip, options):
    segment_video(small_clip.frames, small_clip.first, **options)
    report = segment_video(small_clip.frames, small_clip.first, **options, resume=True)
    assert (report.frames, report.segmented, report.frames_per_second) == (FRAMES, 0, 0.0)


def test_resuming_nothing_starts(small_clip, options):
    assert segment_video(small_clip.frames, small_clip.first, **options, resume=True).segmented == FRAMES


def test_a_run_is_not_resumed_with_other_settings(small_clip, options):
    segment_video(small_clip.frames, small_clip.first, **options)
    with pytest.raises(ConfigError, match="size 32, now 48"):
        segment_video(small_clip.frames, small_clip.first, **{**options, "size": 48}, resume=True)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"settings": 1}'])
def test_a_damaged_note_of_the_settings_is_named(small_clip, options, content):
    segment_video(small_clip.frames, small_clip.first, **options)
    (options["out"] / "run.json").write_text(content)
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        segment_video(small_clip.frames, small_clip.first, **options, resume=True)


def test_masks_of_unknown_origin_are_not_resumed(small_clip, options):
    shutil.copytree(small_clip.masks, options["out"])
    with pytest.raises(OutputExistsError, match=r"no run\.json"):
        segment_video(small_clip.frames, small_clip.first, **options, resume=True)


def test_existing_files_stay_untouched(small_clip, options):
    options["out"].mkdir()
    (options["out"] / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"mine\.txt"):
        segment_video(small_clip.frames, small_clip.first, **options)
    segment_video(small_clip.frames, small_clip.first, **options, overwrite=True)
    assert (options["out"] / "mine.txt").read_text() == "mine"


def test_masks_of_an_overwritten_run_stay_until_new_ones_are_complete(small_clip, options):
    segment_video(small_clip.frames, small_clip.given, **options)
    old = {name: (options["out"] / f"{name}.png").read_bytes() for name in NAMES}
    more = {**options, "size": 48}
    run_until(small_clip, more, 2, overwrite=True)
    assert {name: (options["out"] / f"{name}.png").read_bytes() for name in NAMES[2:]} == {
        name: old[name] for name in NAMES[2:]
    }
    # They do not pass for finished ones: the resumed run has all frames but two to do.
    assert segment_video(small_clip.frames, small_clip.given, **more, resume=True).segmented == FRAMES - 2


def test_resume_and_overwrite_exclude_each_other(small_clip, options):
    with pytest.raises(ConfigError, match="Both resume and overwrite"):
        segment_video(small_clip.frames, small_clip.first, **options, resume=True, overwrite=True)


def test_mistakes_are_found_before_a_model_is_loaded(small_clip, options, tmp_path):
    wrong = {**options, "model": "no such model"}
    write_mask(tmp_path / "empty.png", np.zeros((48, 64), np.uint8))
    with pytest.raises(MaskError, match="is empty"):
        segment_video(small_clip.frames, tmp_path / "empty.png", **wrong)
    with pytest.raises(VideoError, match="cannot start at frame 99"):
        segment_video(small_clip.frames, small_clip.first, **wrong, start=99)
    with pytest.raises(ConfigError, match="must end in"):
        segment_video(small_clip.frames, small_clip.first, **wrong, overlay="video.avi")
    with pytest.raises(UnknownModelError):
        segment_video(small_clip.frames, small_clip.first, **wrong)


def test_the_settings_are_noted(small_clip, options):
    segment_video(small_clip.frames, small_clip.first, **options)
    content = json.loads((options["out"] / "run.json").read_text())
    assert content["settings"]["size"] == 32
    assert content["settings"]["model"] == str(options["model"])


def test_a_frame_that_breaks_off_keeps_what_was_done(small_clip, options, tmp_path):
    frames = tmp_path / "frames"
    shutil.copytree(small_clip.frames, frames)
    damaged = frames / "00005.png"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(VideoError, match=r"00005\.png"):
        segment_video(frames, small_clip.first, **options)
    assert written(options["out"]) == NAMES[:5]


# One run at a time


def start_command(small_clip, options, *words):
    """Start ``vos-zoo segment`` in a process of its own."""
    code = "import sys; from vos_zoo.cli.main import main; sys.exit(main())"
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    arguments = ["segment", small_clip.frames, small_clip.first, "--out", options["out"], "--size", "32"]
    arguments += ["--model", options["model"], "--device", "cpu", *words]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": search_path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--overwrite"], ["--resume"], []], ids=str)
def test_a_second_run_into_a_folder_is_refused(small_clip, options, words):
    """It starts when the first mask of the first one is there, and ends before the second is."""

    def while_running(done, total):
        if done == 1:
            second = start_command(small_clip, options, *words)
            _, message = second.communicate(timeout=120)
            assert second.returncode == 2
            assert f"Another run is writing into {options['out']} (process {os.getpid()} on " in message
            with pytest.raises(OutputInUseError, match="this process"):
                segment_video(small_clip.frames, small_clip.first, **options, overwrite=True)
            assert written(options["out"]) == NAMES[:1]

    report = segment_video(small_clip.frames, small_clip.first, **options, progress=while_running)
    assert report.frames == FRAMES
    assert written(options["out"]) == NAMES
    assert [path.name for path in options["out"].iterdir() if path.name.startswith(".")] == []


@pytest.mark.slow
def test_of_two_runs_at_once_exactly_one_succeeds(small_clip, options):
    runs = [start_command(small_clip, options) for _ in range(2)]
    messages = [run.communicate(timeout=120)[1] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2], messages
    assert written(options["out"]) == NAMES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processes are killed as POSIX does it")
def test_a_killed_run_is_resumed(small_clip, options):
    run = start_command(small_clip, options)
    deadline = time.monotonic() + 120
    while not written(options["out"]) and run.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.kill()
    run.communicate()
    report = segment_video(
        small_clip.frames, small_clip.first, **(options | {"model": str(options["model"])}), resume=True
    )
    assert report.frames == FRAMES


def test_a_folder_in_use_is_refused_before_the_model_loads(small_clip, options):
    with folder_lock(options["out"]), pytest.raises(OutputInUseError):
        segment_video(small_clip.frames, small_clip.first, **(options | {"model": "no such model"}))


def probabilities(folder):
    """Every probability file below a folder of masks, by object and frame."""
    found = {}
    for path in sorted((folder / "probabilities").rglob("*.png")):
        with Image.open(path) as image:
            assert image.mode == "L"
            found[int(path.parent.name), path.stem] = np.array(image)
    return found


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_probabilities_are_written_beside_the_masks(small_clip, options, direction):
    segment_video(small_clip.frames, small_clip.given, **options, direction=direction, save_probabilities=True)
    found = probabilities(options["out"])
    for name in NAMES:
        mask = read_mask(options["out"] / f"{name}.png", void=0)
        planes = {object_id: plane for (object_id, frame), plane in found.items() if frame == name}
        assert set(mask_ids(mask)) <= planes.keys() <= {1, 7}
        assert all(plane.shape == mask.shape for plane in planes.values())
        if name not in SEGMENTED:
            continue
        levels = np.stack([255 - np.sum(list(planes.values()), axis=0, dtype=int), *planes.values()])
        winner = np.array([0, *planes])[levels.argmax(axis=0)]
        # Where two levels are within the rounding of all of them, another may have won.
        top = np.sort(levels, axis=0)
        is_clear = top[-1] - top[-2] > 2
        np.testing.assert_array_equal(winner[is_clear], mask[is_clear])


def test_a_resumed_run_saves_the_same_probabilities(small_clip, options, tmp_path):
    segment_video(small_clip.frames, small_clip.given, **options, save_probabilities=True)
    whole = probabilities(options["out"])
    part = options | {"out": tmp_path / "part"}

    class StopNowError(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise StopNowError

    with pytest.raises(StopNowError):
        segment_video(small_clip.frames, small_clip.given, **part, save_probabilities=True, progress=stop)
    with pytest.raises(ConfigError, match="save_probabilities"):
        segment_video(small_clip.frames, small_clip.given, **part, resume=True)
    segment_video(small_clip.frames, small_clip.given, **part, resume=True, save_probabilities=True)
    assert probabilities(part["out"]).keys() == whole.keys()


def test_probabilities_do_not_mix_with_inputs(small_clip, options):
    given = options["out"] / "probabilities"
    shutil.copytree(small_clip.given, given)
    with pytest.raises(OutputExistsError, match="is an input"):
        segment_video(small_clip.frames, given, **options, overwrite=True, save_probabilities=True)


def test_soft_edges_of_a_run(small_clip, options, tmp_path):
    segment_video(small_clip.frames, small_clip.given, **options, save_probabilities=True)
    export_masks(options["out"], to="cutouts", out=tmp_path / "soft", soft=True)
    export_masks(options["out"], to="cutouts", out=tmp_path / "hard")
    levels = set()
    for name in NAMES:
        opacity = {}
        for kind in ("soft", "hard"):
            with Image.open(tmp_path / kind / f"{name}.png") as image:
                opacity[kind] = np.array(image)[..., 3]
        levels.update(np.unique(opacity["soft"]).tolist())
        mask = read_mask(options["out"] / f"{name}.png", void=0)
        np.testing.assert_array_equal(opacity["hard"], 255 * (mask > 0))
    assert len(levels) > 10
