"""Runs in both directions and corrections of finished runs, as users start them; killed and gone on with, too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from testing.clips import FRAMES
from testing.killing import CAN_KILL, run_killed
from vos_zoo import segment_frames, segment_video
from vos_zoo.cli.main import main
from vos_zoo.errors import ConfigError, MaskError, OutputExistsError
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.media.reader import read_frames
from vos_zoo.models.load import load_model
from vos_zoo.segmentation.confidence import read_objects

NAMES = [f"{index:05d}" for index in range(FRAMES)]
MIDDLE = 4
DIRECTIONS = ["forward", "backward", "both"]


class StopError(Exception):
    """Stands for whatever ends a run half-way."""


def stop_after(steps):
    def progress(done, total):
        if done == steps:
            raise StopError

    return progress


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu")


@pytest.fixture
def options(model, tmp_path):
    return {"out": tmp_path / "out", "model": model, "size": 32}


@pytest.fixture
def given(small_clip, tmp_path):
    """Masks of frames 2 and 5."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name in (NAMES[2], NAMES[5]):
        shutil.copy(small_clip.masks / f"{name}.png", folder)
    return folder


def masks_of(folder):
    return {path.stem: read_mask(path, void=0) for path in sorted(folder.glob("*.png"))}


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_mask_in_the_middle_reaches_the_frames_of_its_direction(small_clip, options, direction):
    calls = []
    masks = {MIDDLE: read_mask(small_clip.masks / f"{NAMES[MIDDLE]}.png")}
    report = segment_video(
        small_clip.frames, masks, **options, direction=direction, progress=lambda *counts: calls.append(counts)
    )
    made = masks_of(options["out"])
    assert list(made) == NAMES
    assert (report.frames, report.segmented) == (FRAMES, FRAMES)
    reached = {name for name, mask in made.items() if mask.any()}
    expected = {"forward": set(NAMES[MIDDLE:]), "backward": set(NAMES[: MIDDLE + 1]), "both": set(NAMES)}[direction]
    assert reached <= expected
    assert NAMES[MIDDLE] in reached
    assert (made[NAMES[MIDDLE]] == masks[MIDDLE]).all()
    assert calls[-1][0] == calls[-1][1]
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    assert hidden(options["out"]) == []


def test_backward_is_forward_through_the_reversed_video(small_clip, options, model):
    frames = np.stack(list(read_frames(small_clip.frames)))
    mask = read_mask(small_clip.masks / f"{NAMES[MIDDLE]}.png")
    backward = {result.index: result for result in segment_frames(frames, {MIDDLE: mask}, model=model, size=32,
                                                                  direction="backward")}  # fmt: skip
    forward = segment_frames(frames[::-1], {FRAMES - 1 - MIDDLE: mask}, model=model, size=32)
    for result in forward:
        other = backward[FRAMES - 1 - result.index]
        assert (other.mask == result.mask).all()
        assert (other.probabilities == result.probabilities).all()
    assert list(backward) == list(range(FRAMES))[::-1]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_files_and_frames_in_memory_give_the_same(small_clip, given, options, direction):
    segment_video(small_clip.frames, given, **options, direction=direction)
    made = masks_of(options["out"])
    results = list(segment_frames(small_clip.frames, given, model=options["model"], size=32, direction=direction))
    assert sorted(result.name for result in results) == NAMES
    for result in results:
        assert (result.mask == made[result.name]).all()
        assert abs(result.probabilities.sum(0) - 1).max() < 1e-5


def test_outside_of_the_annotated_frames_both_is_one_of_the_ways(small_clip, given, options, tmp_path):
    made = {}
    for direction in DIRECTIONS:
        segment_video(small_clip.frames, given, **{**options, "out": tmp_path / direction}, direction=direction)
        made[direction] = masks_of(tmp_path / direction)
    for index, name in enumerate(NAMES):
        if index < 2:
            assert (made["both"][name] == made["backward"][name]).all()
        elif index > 5:
            assert (made["both"][name] == made["forward"][name]).all()
        elif index in (2, 5):
            annotation = read_mask(given / f"{name}.png")
            assert (made["both"][name][annotation > 0] == annotation[annotation > 0]).all()


@pytest.mark.parametrize("direction", ["backward", "both"])
@pytest.mark.parametrize("stop", [1, 3, 6, 9])
def test_a_stopped_run_keeps_its_masks_and_goes_on(small_clip, given, options, direction, stop):
    choices = {**options, "direction": direction}
    stops = stop if direction == "both" else min(stop, FRAMES - 1)
    with pytest.raises(StopError):
        segment_video(small_clip.frames, given, **choices, progress=stop_after(stops))
    before = contents(options["out"])
    assert json.loads((options["out"] / "run.json").read_text())["finished"] == stops
    calls = []
    report = segment_video(
        small_clip.frames, given, **choices, resume=True, progress=lambda *counts: calls.append(counts)
    )
    after = contents(options["out"])
    assert {name: after[name] for name in before} == before
    assert sorted(after) == [f"{name}.png" for name in NAMES]
    assert (report.frames, report.segmented) == (FRAMES, FRAMES - len(before))
    assert calls[-1][0] == calls[-1][1]
    assert hidden(options["out"]) == []
    assert segment_video(small_clip.frames, given, **choices, resume=True).segmented == 0


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_overlay_has_every_frame_in_its_order(small_clip, given, options, direction):
    report = segment_video(small_clip.frames, given, **options, direction=direction, overlay=True)
    with av.open(str(report.overlay)) as container:
        drawn = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = [np.asarray(Image.open(path)) for path in sorted(small_clip.frames.iterdir())]
    assert len(drawn) == FRAMES
    for index, picture in enumerate(drawn):  # an untrained network may paint all of it in one colour
        likeness = [np.corrcoef(picture.ravel(), frame.ravel())[0, 1] for frame in frames]
        assert int(np.argmax(likeness)) == index


def test_the_direction_is_a_setting_of_the_run(small_clip, given, options):
    segment_video(small_clip.frames, given, **options, direction="both")
    with pytest.raises(ConfigError, match="direction 'both', now None"):
        segment_video(small_clip.frames, given, **options, resume=True)


def test_frames_that_come_once_go_forward_only(small_clip, options):
    mask = read_mask(small_clip.first)
    for direction in ("backward", "both"):
        with pytest.raises(ConfigError, match="come once only"):
            segment_video(read_frames(small_clip.frames), mask, **options, direction=direction)
        with pytest.raises(ConfigError, match="come once only"):
            segment_frames(read_frames(small_clip.frames), mask, model=options["model"], direction=direction)
    assert not options["out"].exists()


# Not here


def test_an_absent_object_has_no_pixel_and_comes_back(small_clip, options, model):
    masks = {0: read_mask(small_clip.first)}
    segment_video(small_clip.frames, masks, **options, absent={3: 1})
    made = masks_of(options["out"])
    assert not made[NAMES[3]].any()
    results = list(segment_frames(small_clip.frames, masks, model=model, size=32, absent={NAMES[3]: [1]}))
    assert [result.object_ids for result in results] == [(1,)] * FRAMES
    for result in results:
        assert (result.mask == made[result.name]).all()


def test_a_file_says_the_same_as_an_argument(small_clip, options, tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    shutil.copy(small_clip.first, folder)
    (folder / "absent.json").write_text('{"3": [1]}')
    segment_video(small_clip.frames, folder, **options)
    segment_video(small_clip.frames, small_clip.first, **{**options, "out": tmp_path / "other"}, absent={3: [1]})
    assert contents(options["out"]) == contents(tmp_path / "other")
    with pytest.raises(MaskError, match="Object 5 is declared absent"):
        segment_video(small_clip.frames, folder, **{**options, "out": tmp_path / "third"}, absent={3: [5]})
    assert not (tmp_path / "third").exists()


# Redo


def correct(folder, small_clip, index):
    mask = read_mask(small_clip.masks / f"{NAMES[index]}.png")
    write_mask(folder / f"{NAMES[index]}.png", np.roll(mask, 2, axis=0))


WINDOWS = {"forward": range(4, 5), "backward": range(3, 5), "both": range(3, 5)}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("overlay", [False, True])
def test_a_correction_changes_the_frames_to_the_next_annotation_only(small_clip, given, options, direction, overlay):
    choices = {**options, "direction": direction, "overlay": overlay}
    segment_video(small_clip.frames, given, **choices)
    before = contents(options["out"])
    times = {path.name: path.stat().st_mtime_ns for path in options["out"].glob("*.png")}
    correct(given, small_clip, 4)
    report = segment_video(small_clip.frames, given, **choices, redo=True)
    touched = {path.name for path in options["out"].glob("*.png") if path.stat().st_mtime_ns != times[path.name]}
    assert touched == {f"{NAMES[index]}.png" for index in WINDOWS[direction]}
    assert report.segmented == len(touched)
    assert report.frames == FRAMES
    after = contents(options["out"])
    assert {name for name in after if after[name] != before[name]} <= touched
    assert (masks_of(options["out"])[NAMES[4]] != read_mask(small_clip.masks / f"{NAMES[4]}.png")).any()
    again = segment_video(small_clip.frames, given, **choices, redo=True)
    assert again.segmented == 0
    assert contents(options["out"]) == after
    assert segment_video(small_clip.frames, given, **choices, resume=True).segmented == 0


def test_a_redo_of_everything_after_the_only_mask_is_the_run_itself(small_clip, options, tmp_path):
    """With nothing before the correction, a redo does what a new run does."""
    given = tmp_path / "masks"
    given.mkdir()
    shutil.copy(small_clip.first, given)
    segment_video(small_clip.frames, given, **options)
    write_mask(given / "00000.png", np.roll(read_mask(small_clip.first), 5, axis=1))
    assert segment_video(small_clip.frames, given, **options, redo=True).segmented == FRAMES
    segment_video(small_clip.frames, given, **{**options, "out": tmp_path / "new"})
    assert contents(options["out"]) == contents(tmp_path / "new")


FOLLOWED = {"forward": range(3, FRAMES), "backward": range(4), "both": range(FRAMES)}


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_object_that_is_new_in_a_correction_is_followed_to_the_end(small_clip, options, direction, tmp_path):
    choices = {**options, "direction": direction}
    given = tmp_path / "new"
    for index in (1, 6):  # object 1 alone
        mask = read_mask(small_clip.masks / f"{NAMES[index]}.png")
        write_mask(given / f"{NAMES[index]}.png", np.where(mask == 1, mask, 0))
    segment_video(small_clip.frames, given, **choices)
    before = contents(options["out"])
    shutil.copy(small_clip.masks / f"{NAMES[3]}.png", given)  # objects 1 and 7
    came = []
    segment_video(small_clip.frames, given, **choices, redo=True, on_frame=lambda result: came.append(result.index))
    assert sorted(came) == list(FOLLOWED[direction])
    found = {(row.frame, row.state.object_id) for row in read_objects(options["out"] / "objects.csv")}
    assert {frame for frame, object_id in found if object_id == 7} == set(FOLLOWED[direction])
    segment_video(small_clip.frames, given, **{**choices, "out": tmp_path / "anew"})
    assert found == {(row.frame, row.state.object_id) for row in read_objects(tmp_path / "anew" / "objects.csv")}
    assert segment_video(small_clip.frames, given, **choices, redo=True).segmented == 0

    (given / f"{NAMES[3]}.png").unlink()  # taken back, it is gone everywhere
    segment_video(small_clip.frames, given, **choices, redo=True)
    assert {row.state.object_id for row in read_objects(options["out"] / "objects.csv")} == {1}
    assert all(set(np.unique(mask)) <= {0, 1} for mask in masks_of(options["out"]).values())
    untouched = [name for index, name in enumerate(NAMES) if index not in FOLLOWED[direction]]
    assert all(contents(options["out"])[f"{name}.png"] == before[f"{name}.png"] for name in untouched)


def test_a_new_object_that_a_stopped_redo_left_is_followed_by_the_next(small_clip, options, tmp_path):
    masks = {0: read_mask(small_clip.first), 5: read_mask(small_clip.first)}
    segment_video(small_clip.frames, masks, **options)
    masks[3] = read_mask(small_clip.masks / "00003.png")
    shutil.copytree(options["out"], tmp_path / "at once")
    segment_video(small_clip.frames, masks, **{**options, "out": tmp_path / "at once"}, redo=True)
    with pytest.raises(StopError):
        segment_video(small_clip.frames, masks, **options, redo=True, progress=stop_after(3))
    assert segment_video(small_clip.frames, masks, **options, redo=True).segmented == FRAMES - 3
    assert contents(options["out"]) == contents(tmp_path / "at once")


def test_an_absence_and_a_mask_taken_back_are_changes(small_clip, given, options):
    segment_video(small_clip.frames, given, **options)
    (given / "absent.json").write_text('{"6": [1]}')
    assert segment_video(small_clip.frames, given, **options, redo=True).segmented == 2
    assert not (masks_of(options["out"])[NAMES[6]] == 1).any()
    (given / "absent.json").unlink()
    (given / f"{NAMES[5]}.png").unlink()
    assert segment_video(small_clip.frames, given, **options, redo=True).segmented == 3


def test_masks_may_come_in_another_way_the_second_time(small_clip, options, tmp_path):
    segment_video(small_clip.frames, small_clip.first, **options)
    masks = {0: read_mask(small_clip.first), 5: read_mask(small_clip.masks / "00005.png")}
    assert segment_video(small_clip.frames, masks, **options, redo=True).segmented == 3


@pytest.mark.parametrize("direction", ["forward", "both"])
@pytest.mark.parametrize("restore", [False, True])
def test_a_stopped_redo_is_finished_by_another(small_clip, options, given, direction, restore, tmp_path):
    choices = {**options, "direction": direction}
    segment_video(small_clip.frames, given, **choices)
    correct(given, small_clip, 6)
    shutil.copytree(options["out"], tmp_path / "at once")
    segment_video(small_clip.frames, given, **{**choices, "out": tmp_path / "at once"}, redo=True)
    with pytest.raises(StopError):
        segment_video(small_clip.frames, given, **choices, redo=True, progress=stop_after(1))
    with pytest.raises(ConfigError, match=r"redo in .* was not finished"):
        segment_video(small_clip.frames, given, **choices, resume=True)
    if restore:
        (given / f"{NAMES[6]}.png").unlink()
    assert segment_video(small_clip.frames, given, **choices, redo=True).segmented > 0
    if not restore:
        assert contents(options["out"]) == contents(tmp_path / "at once")
    assert segment_video(small_clip.frames, given, **choices, redo=True).segmented == 0
    assert hidden(options["out"]) == []


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_stopped_run_is_finished_by_a_redo_with_its_corrections(small_clip, options, given, direction):
    choices = {**options, "direction": direction}
    with pytest.raises(StopError):
        segment_video(small_clip.frames, given, **choices, progress=stop_after(5))
    kept = contents(options["out"])
    correct(given, small_clip, 6)
    came = []
    segment_video(small_clip.frames, given, **choices, redo=True, on_frame=lambda result: came.append(result.name))
    assert len(contents(options["out"])) == FRAMES
    assert {f"{name}.png" for name in came} >= set(contents(options["out"])) - set(kept)
    after = masks_of(options["out"])
    np.testing.assert_array_equal(after[NAMES[6]], read_mask(given / f"{NAMES[6]}.png"))
    assert segment_video(small_clip.frames, given, **choices, redo=True).segmented == 0
    assert segment_video(small_clip.frames, given, **choices, resume=True).segmented == 0


def test_what_cannot_be_redone_is_named(small_clip, given, options):
    with pytest.raises(ConfigError, match=r"holds no run\.json"):
        segment_video(small_clip.frames, given, **options, redo=True)
    segment_video(small_clip.frames, given, **options)
    with pytest.raises(ConfigError, match="size 32, now 48"):
        segment_video(small_clip.frames, given, **{**options, "size": 48}, redo=True)
    with pytest.raises(ConfigError, match="Both resume and redo"):
        segment_video(small_clip.frames, given, **options, redo=True, resume=True)
    with pytest.raises(OutputExistsError, match="is not empty"):
        segment_video(small_clip.frames, given, **options)


def test_the_command_does_the_same(small_clip, given, options, tiny_model, capsys):
    words = ["segment", str(small_clip.frames), str(given), "--out", str(options["out"]), "--model", str(tiny_model)]
    words += ["--device", "cpu", "--size", "32", "--direction", "both"]
    assert main(words) == 0
    before = contents(options["out"])
    assert main([*words, "--redo", "--absent", "6:1", "--absent", "7:1,7"]) == 0
    assert "2 frames in" in capsys.readouterr().out
    made = masks_of(options["out"])
    assert not (made[NAMES[6]] == 1).any()
    assert not made[NAMES[7]].any()
    assert {name for name, content in contents(options["out"]).items() if content != before[name]} <= {
        "00006.png",
        "00007.png",
    }
    for wrong in ("6", "6:", "6:x", ":1"):
        with pytest.raises(SystemExit):
            main([*words, "--redo", "--absent", wrong])
        assert "--absent" in capsys.readouterr().err


def test_a_run_to_redo_keeps_its_frames_apart(tmp_path, small_clip, given, options):
    """Two corrections far apart are two windows; the frames between them stay."""
    segment_video(small_clip.frames, given, **options)
    times = {path.name: path.stat().st_mtime_ns for path in options["out"].glob("*.png")}
    correct(given, small_clip, 4)
    correct(given, small_clip, 7)
    segment_video(small_clip.frames, given, **options, redo=True)
    touched = [
        path.stem for path in sorted(options["out"].glob("*.png")) if path.stat().st_mtime_ns != times[path.name]
    ]
    assert touched == [NAMES[4], NAMES[7]]
    assert Path(options["out"] / "run.json").is_file()


# Killed

#: Before and after files appear: the table, the first note, then for every step what it makes and its note.
POINTS = [4, 11, 25, 34]


@pytest.fixture
def one_thread():
    """As in the killed processes: sums in another order may change a pixel of an untrained network."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def words_of(clip, given, out, model, *more):
    words = ["segment", str(clip.frames), str(given), "--out", str(out), "--model", str(model)]
    return [*words, "--device", "cpu", "--size", "32", *more]


@pytest.mark.slow
@pytest.mark.skipif(not CAN_KILL, reason="processes are killed as POSIX does it")
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("direction", ["backward", "both"])
def test_a_killed_run_loses_nothing_and_goes_on(small_clip, options, given, direction, tiny_model, tmp_path):
    points = [point for point in POINTS if direction == "both" or point < 30]
    words = {
        point: words_of(small_clip, given, tmp_path / str(point), tiny_model, "--direction", direction)
        for point in points
    }
    segment_video(small_clip.frames, given, **{**options, "model": tiny_model}, device="cpu", direction=direction)
    whole = contents(options["out"])
    run_killed(words, tiny_model)
    finished = []
    for point in points:
        left = contents(tmp_path / str(point))
        assert left.items() <= whole.items()  # masks are whole, and those of a run that nothing disturbed
        finished.append(json.loads((tmp_path / str(point) / "run.json").read_text())["finished"])
        assert main([*words[point], "--resume"]) == 0
        after = contents(tmp_path / str(point))
        assert sorted(after) == sorted(whole)
        assert hidden(tmp_path / str(point)) == []
        # A run that was stopped between two frames goes on in the same way.
        stopped = tmp_path / f"stopped {point}"
        if finished[-1]:
            again = {**options, "out": stopped, "model": tiny_model, "device": "cpu", "direction": direction}
            with pytest.raises(StopError):
                segment_video(small_clip.frames, given, **again, progress=stop_after(finished[-1]))
            segment_video(small_clip.frames, given, **again, resume=True)
        assert after == (contents(stopped) if finished[-1] else whole)
    assert finished == sorted(finished)
    assert finished[-1] > FRAMES // 2


@pytest.mark.slow
@pytest.mark.skipif(not CAN_KILL, reason="processes are killed as POSIX does it")
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("direction", ["backward", "both"])
def test_a_killed_redo_is_finished_by_another(small_clip, options, given, direction, tiny_model, tmp_path):
    first = tmp_path / "first"
    assert main(words_of(small_clip, given, first, tiny_model, "--direction", direction)) == 0
    correct(given, small_clip, 1)
    correct(given, small_clip, 6)
    points = [3, 10]
    words = {
        out: words_of(small_clip, given, tmp_path / str(out), tiny_model, "--direction", direction, "--redo")
        for out in (*points, "at once")
    }
    for out in words:
        shutil.copytree(first, tmp_path / str(out))
    assert main(words["at once"]) == 0
    whole, before = contents(tmp_path / "at once"), contents(first)
    run_killed({point: words[point] for point in points}, tiny_model)
    for point in points:
        left = contents(tmp_path / str(point))
        assert all(left[name] in (before[name], whole[name]) for name in whole)
        assert main(words[point]) == 0
        assert contents(tmp_path / str(point)) == whole
        assert hidden(tmp_path / str(point)) == []
