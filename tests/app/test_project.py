"""A visitor's project: pointing out, undoing, tracking, stopping, correcting; all without a page."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from testing.videos import clip, write_video
from vos_zoo.app.limits import AppLimits
from vos_zoo.app.pictures import FramePictures
from vos_zoo.app.project import AppProject
from vos_zoo.app.turns import Turns
from vos_zoo.errors import LimitError, OutputInUseError, PromptError
from vos_zoo.inference.session import VideoSession
from vos_zoo.prompts import Box, Brush, Points
from vos_zoo.segmentation.project import ProjectSettings
from vos_zoo.segmentation.replay import replay_project


@pytest.fixture
def both(tiny_model):
    return ProjectSettings(model=str(tiny_model))


@pytest.fixture
def forward(tiny_model):
    return ProjectSettings(model=str(tiny_model), direction="forward")


@pytest.fixture
def make(tmp_path):
    made = []

    def make_project(frames=6, limits=None, **options):
        video = write_video(tmp_path / "clip.mp4", clip(frames))
        folder = tmp_path / f"project{len(made)}"
        limits = limits or AppLimits()
        pictures = FramePictures(video, folder / "pictures", limits)
        assert list(pictures.write()) == list(range(1, frames + 1))
        made.append(AppProject(pictures, folder, limits, **options))
        return made[-1]

    yield make_project
    for project in made:
        project.close()
        assert not project.folder.exists()


def test_what_is_pointed_out_is_drawn_and_taken_back(make):
    project = make()
    assert project.mask(0) is None
    assert project.mask_picture(0) is None
    project.edit(0, Brush(1, [(10.5, 10.5)], 4))
    first = project.mask(0)
    project.edit(0, Brush(1, [(30.5, 30.5)], 4))
    assert (project.mask(0) > 0).sum() > (first > 0).sum()
    assert len(project.prompts(0)) == 2
    assert project.undo() == 0
    np.testing.assert_array_equal(project.mask(0), first)
    assert project.undo() == 0
    assert project.mask(0) is None
    assert project.undo() is None


def test_a_box_takes_the_place_of_what_was_before(make):
    project = make()
    project.edit(0, Brush(1, [(10.5, 10.5)], 4))
    project.edit(0, Box(1, 2, 8, 30, 30))
    assert [prompt["kind"] for prompt in project.prompts(0)] == ["box"]
    project.undo()
    assert [prompt["kind"] for prompt in project.prompts(0)] == ["brush"]


def test_what_leads_to_no_mask_changes_nothing(make):
    project = make()
    with pytest.raises(PromptError, match="negative"):
        project.edit(0, Points(1, negative=[(3, 3)]))
    with pytest.raises(PromptError, match="no object 5"):
        project.edit(0, Brush(5, [(3, 3)], 3))
    with pytest.raises(LimitError, match="no frame 6"):
        project.edit(6, Brush(1, [(3, 3)], 3))
    assert project.state()["pending"] == 0


def test_a_project_can_be_replayed_after_stops_and_corrections(make, tmp_path, both, monkeypatch):
    project = make(8)
    project.add_object()
    project.edit(2, Brush(1, [(20.5, 16.5)], 6))
    submit, steps = VideoSession.submit, itertools.count(1)

    def waiting(session, *arguments, **options):  # so that the run is not over before the visitor can stop it
        if next(steps) > 3:
            assert project._stop.wait(60)
        return submit(session, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(VideoSession, "submit", waiting)
        for preview in project.track(both):
            if preview.done >= 1:
                project.stop()
    assert preview.message == "Stopped."
    assert project.project().runs[0].steps is not None
    assert 0 < len(project.state()["finished"]) < 8

    project.edit(1, Brush(2, [(50.5, 40.5)], 5))
    *_, last = project.track(both)
    assert last.message == ""
    assert project.state()["finished"] == list(range(8))
    project.edit(5, Brush(2, [(32.5, 24.5)], 100, erase=True))  # object 2 is not there any more
    *_, last = project.track(both)
    assert not (project.mask(5) == 2).any()

    again = tmp_path / "again"
    replay_project(project.project(), project.video, out=again)
    for path in sorted(project.masks.glob("*.png")):
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def test_every_object_has_a_row_of_the_timeline(make, forward):
    project = make()
    project.edit(0, Brush(1, [(20.5, 16.5)], 6))
    list(project.track(forward))
    rows = project.state()["rows"]
    assert [row[0] for row in rows] == list(range(6))
    assert rows[0][2] == (project.mask(0) == 1).sum()


def test_a_generator_that_is_closed_stops_tracking(make, forward):
    project = make(8)
    project.edit(0, Brush(1, [(20.5, 16.5)], 6))
    previews = project.track(forward)
    next(previews)
    with pytest.raises(OutputInUseError, match="Stop first"):
        project.undo()
    previews.close()
    wait_until(lambda: not project.is_running)
    assert len(project.state()["finished"]) < 8


def test_who_waits_is_told_and_can_stop_or_leave(make, forward):
    turns = Turns(waiting=1)
    busy, may_end = threading.Event(), threading.Event()
    turns.take(lambda: (busy.set(), may_end.wait(60)))
    assert busy.wait(60)
    project = make(turns=turns)
    project.edit(0, Brush(1, [(20.5, 16.5)], 6))
    previews = project.track(forward)
    assert next(previews).ahead == 1
    assert project.is_running
    with pytest.raises(LimitError, match="places in the line"):
        next(make(turns=turns).track(forward))
    project.stop()
    *_, last = previews
    assert (last.is_last, last.message) == (True, "Stopped.")
    assert not project.is_running
    left = project.track(forward)
    next(left)
    left.close()
    assert not project.is_running
    may_end.set()
    *_, last = project.track(forward)
    assert last.message == ""
    assert project.state()["runs"] == 1


def wait_until(is_so):
    for _ in range(6000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")


def test_nothing_pointed_out_is_said(make, forward):
    *_, last = make().track(forward)
    assert last.is_last
    assert "No object has been pointed out" in last.message


def test_out_of_memory_leaves_the_project_alive(make, forward, monkeypatch):
    project = make()
    project.edit(0, Brush(1, [(20.5, 16.5)], 6))

    def refuse(*arguments, **options):
        raise MemoryError("the device has too little memory")

    with monkeypatch.context() as patched:
        patched.setattr("vos_zoo.segmentation.replay.segment_video", refuse)
        *_, last = project.track(forward)
        assert "too little memory" in last.message
    assert project.state()["pending"] == 1  # what was pointed out is still there
    *_, last = project.track(forward)
    assert last.message == ""


def test_running_time_is_limited(make, forward):
    project = make(limits=AppLimits(running_seconds=0.0))
    project.edit(0, Brush(1, [(20.5, 16.5)], 6))
    *_, last = project.track(forward)
    assert "time" in last.message
    assert len(project.state()["finished"]) == 1


def test_objects_are_limited_and_renamed(make):
    project = make(limits=AppLimits(objects=2))
    assert project.add_object() == 2
    with pytest.raises(LimitError, match="2 objects"):
        project.add_object()
    project.rename(1, "  a   bird ")
    project.rename(2, "")
    assert [entry["name"] for entry in project.state()["objects"]] == ["a bird", "object 2"]
