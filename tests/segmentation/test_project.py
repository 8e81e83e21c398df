"""Project files: strict, and about one video."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.demo import demo_clip
from vos_zoo.errors import ConfigError, MissingFileError, PromptError, VideoError, VosZooError
from vos_zoo.prompts import Box, prompts_to_json
from vos_zoo.segmentation.project import (
    Project,
    ProjectRun,
    ProjectSettings,
    ProjectVideo,
    find_project_video,
    read_project,
    write_project,
)

RUN = ProjectRun(ProjectSettings(size=240), prompts_to_json({3: [Box(1, 2, 3, 20, 30)]}), steps=7)
PROJECT = Project(ProjectVideo("clip.mp4", "0" * 64, 9, 48, 64), {"1": "bird"}, (RUN, RUN))


def test_a_project_survives_its_file(tmp_path):
    write_project(tmp_path / "project.json", PROJECT)
    found = read_project(tmp_path / "project.json")
    assert found == PROJECT
    assert found.labels == {1: "bird"}
    assert found.runs[0].by_frame == {3: [Box(1, 2, 3, 20, 30)]}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"version": 2}, ConfigError, "Update vos_zoo"),
        ({"version": None}, ConfigError, "version None"),
        ({"colour": 1}, ConfigError, "unknown key 'colour'"),
        ({"objects": {"bird": "1"}}, ConfigError, "names the object 'bird'"),
        ({"runs": [{"settings": {}, "prompts": {}}]}, PromptError, "frames"),
        ({"runs": [{"settings": {"direction": "up"}, "prompts": {}}]}, ConfigError, "'up'"),
        ({"runs": [{"settings": {}, "prompts": RUN.prompts, "steps": 0}]}, ConfigError, "steps=0"),
        ({"video": {**vars(PROJECT.video), "name": "../clip.mp4"}}, ConfigError, "without folders"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, error, message):
    path = tmp_path / "project.json"
    write_project(path, PROJECT)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(error, match=message):
        read_project(path)


@given(content=st.binary(max_size=60) | st.sampled_from([b"[]", b"{", b'{"version": 1}', b"[" * 100_000]))
def test_any_file_is_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("project") / "project.json"
    path.write_bytes(content)
    with pytest.raises(VosZooError):
        read_project(path)


def test_the_video_is_found_beside_the_project_and_checked(tmp_path):
    video, project_file = tmp_path / "clip.mp4", tmp_path / "project.json"
    with pytest.raises(MissingFileError, match="name it as VIDEO"):
        find_project_video(PROJECT, project_file)
    video.write_bytes(b"one")
    project = Project(ProjectVideo.of(video, 9, (48, 64)))
    assert find_project_video(project, project_file) == video
    assert find_project_video(project, tmp_path / "elsewhere" / "project.json", video) == video
    video.write_bytes(b"another")
    with pytest.raises(VideoError, match="another video"):
        find_project_video(project, project_file)


def test_the_bundled_clip_is_found(tmp_path):
    clip = demo_clip().video
    assert find_project_video(Project(ProjectVideo.of(clip, 106, (480, 854))), tmp_path / "project.json") == clip
