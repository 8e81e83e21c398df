"""Runs that stop anywhere: inputs stay untouched, masks are whole, and no old mask passes for a new one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from testing.clips import FRAMES
from testing.killing import CAN_KILL, run_killed
from vos_zoo.cli.main import main
from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.segmentation.video import segment_video


@pytest.fixture
def options(tiny_model, tmp_path):
    return {"out": tmp_path / "out", "model": tiny_model, "device": "cpu", "size": 32}


class StopError(Exception):
    """Stands for whatever ends a run half-way."""


def stop_after(frames):
    def progress(done, total):
        if done == frames:
            raise StopError

    return progress


def note(folder):
    return json.loads((folder / "run.json").read_text())


@pytest.fixture
def given(small_clip, tmp_path):
    return Path(shutil.copytree(small_clip.given, tmp_path / "given"))


def test_the_run_file_says_how_far_the_run_came(small_clip, options):
    with pytest.raises(StopError):
        segment_video(small_clip.frames, small_clip.given, **options, progress=stop_after(3))
    early = note(options["out"])
    assert early["finished"] == 3
    segment_video(small_clip.frames, small_clip.given, **options, resume=True)
    late = note(options["out"])
    assert late["finished"] == FRAMES
    assert set(early["given_masks"]) == {"00000"}
    assert set(late["given_masks"]) == {"00000", "00003"}
    assert (early["complete"], late["complete"]) == (False, True)
    segment_video(small_clip.frames, small_clip.given, **{**options, "out": options["out"].parent / "at once"})
    assert note(options["out"].parent / "at once") == late


def redraw(given):
    mask = read_mask(given / "00000.png")
    write_mask(given / "00000.png", np.roll(mask, 3, axis=1))


def remove(given):
    (given / "00000.png").unlink()


def add(given):
    shutil.copy(given / "00003.png", given / "00001.png")


@pytest.mark.parametrize("change", [redraw, remove, add])
def test_a_mask_that_changed_under_a_run_is_told(small_clip, options, given, change, capsys):
    with pytest.raises(StopError):
        segment_video(small_clip.frames, given, **options, progress=stop_after(2))
    change(given)
    if change is remove:
        shutil.copy(small_clip.given / "00003.png", given / "00001.png")
    before = {path: path.read_bytes() for path in options["out"].iterdir()}
    with pytest.raises(ConfigError, match="given masks have changed"):
        segment_video(small_clip.frames, given, **options, resume=True)
    words = ["segment", str(small_clip.frames), str(given), "--out", str(options["out"]), "--resume"]
    assert main([*words, "--model", str(options["model"]), "--device", "cpu", "--size", "32"]) == 2
    assert "redrawn, added or removed" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in options["out"].iterdir()} == before


def test_masks_of_frames_to_come_may_change(small_clip, options, given):
    """Whoever stops a run to correct what it would do next resumes it."""
    with pytest.raises(StopError):
        segment_video(small_clip.frames, given, **options, progress=stop_after(2))
    shutil.copy(given / "00003.png", given / "00005.png")
    assert segment_video(small_clip.frames, given, **options, resume=True).segmented == FRAMES - 2


def test_a_mask_that_was_only_saved_anew_is_the_same(small_clip, options, given):
    segment_video(small_clip.frames, given, **options)
    write_mask(given / "00000.png", read_mask(given / "00000.png"), np.full((2, 3), 200, np.uint8))
    assert segment_video(small_clip.frames, given, **options, resume=True).segmented == 0


def test_a_resumed_run_replaces_its_own_overlay_only(small_clip, options, tmp_path):
    own, foreign = tmp_path / "own.mp4", tmp_path / "holiday.mp4"
    with pytest.raises(StopError):
        segment_video(small_clip.frames, small_clip.given, **options, overlay=own, progress=stop_after(3))
    assert own.exists()
    foreign.write_text("holiday")
    with pytest.raises(OutputExistsError, match=r"holiday\.mp4` exists, and the run in .* did not write it"):
        segment_video(small_clip.frames, small_clip.given, **options, overlay=foreign, resume=True)
    assert foreign.read_text() == "holiday"
    assert segment_video(small_clip.frames, small_clip.given, **options, overlay=own, resume=True).frames == FRAMES


@pytest.mark.parametrize("finished", [-1, FRAMES + 1, 1.5, "3", None, True])
def test_a_damaged_count_is_named(small_clip, options, finished):
    segment_video(small_clip.frames, small_clip.first, **options)
    content = {**note(options["out"]), "finished": finished}
    (options["out"] / "run.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"run\.json is damaged"):
        segment_video(small_clip.frames, small_clip.first, **options, resume=True)


def test_runs_of_version_0_1_are_resumed(small_clip, options):
    with pytest.raises(StopError):
        segment_video(small_clip.frames, small_clip.given, **options, progress=stop_after(3))
    content = note(options["out"])
    del content["finished"], content["given_masks"], content["passes"], content["redo"], content["complete"]
    (options["out"] / "run.json").write_text(json.dumps(content))
    assert segment_video(small_clip.frames, small_clip.given, **options, resume=True).segmented == FRAMES - 3


@pytest.mark.slow
@pytest.mark.skipif(not CAN_KILL, reason="processes are killed as POSIX does it")
def test_a_run_killed_at_any_point_can_be_resumed(small_clip, options, tmp_path):
    # The older run followed objects 1 and 7 as 8 and 9.
    other = tmp_path / "other"
    for path in small_clip.given.iterdir():
        mask = read_mask(path)
        write_mask(other / path.name, np.where(mask == 1, 8, np.where(mask == 7, 9, 0)).astype(np.uint8))
    older = tmp_path / "older"
    segment_video(small_clip.frames, other, **{**options, "out": older})
    # One note at the start, then a mask and a note for every frame: before and after the first four, and in the end.
    last = 2 * (1 + 2 * FRAMES) + 1
    points = [*range(2, 8), last - 2, last - 1]
    for point in points:
        shutil.copytree(older, tmp_path / "runs" / str(point))
    # Copies have the time of their original; an untrained network may draw the same mask as the older run.
    old = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/*.png")}
    inputs = {path: path.read_bytes() for path in (*small_clip.frames.iterdir(), *small_clip.given.iterdir())}
    words = ["segment", str(small_clip.frames), str(small_clip.given), "--model", str(options["model"]), "--overwrite"]
    words += ["--device", "cpu", "--size", "32", "--out"]
    run_killed({point: [*words, str(tmp_path / "runs" / str(point))] for point in points}, options["model"])

    assert {path: path.read_bytes() for path in inputs} == inputs
    for point in points:
        folder = tmp_path / "runs" / str(point)
        ids = {path.stem: set(np.unique(read_mask(path, void=0))) - {0} for path in folder.glob("*.png")}
        assert len(ids) == FRAMES  # nothing is missing, and all are whole
        new = [path.stem for path in sorted(folder.glob("*.png")) if path.stat().st_mtime_ns != old[path]]
        finished = note(folder)["finished"]
        if point == 2:  # killed before the run was noted: the older run is as it was
            assert (finished, new) == (FRAMES, [])
            continue
        assert len(new) - finished in (0, 1)
    for point in (3, 6, last - 2):
        out = tmp_path / "runs" / str(point)
        finished = note(out)["finished"]
        report = segment_video(small_clip.frames, small_clip.given, **{**options, "out": out}, resume=True)
        assert report.segmented == FRAMES - finished
        assert all(path.stat().st_mtime_ns != old[path] for path in out.glob("*.png"))
        assert all(set(np.unique(read_mask(path, void=0))) <= {0, 1, 7} for path in out.glob("*.png"))
