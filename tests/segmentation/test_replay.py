"""Doing again what a project says gives the same masks, through the command line too."""

from __future__ import annotations

import pytest

from testing.videos import clip, write_video
from vos_zoo.cli.main import main
from vos_zoo.errors import PromptError
from vos_zoo.media.masks import read_mask
from vos_zoo.prompts import Brush, prompts_to_json
from vos_zoo.segmentation.project import Project, ProjectRun, ProjectSettings, ProjectVideo, write_project
from vos_zoo.segmentation.replay import ProjectReplay, replay_project

FIRST = {2: [Brush(1, [(20.5, 16.5)], 6)]}
SECOND = {4: [Brush(2, [(50.5, 40.5)], 5)], 2: [Brush(1, [(20.5, 16.5)], 3, erase=True)]}


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4", clip(6))


def project_of(video, *runs):
    return Project(ProjectVideo.of(video, 6, (48, 64)), {"1": "block"}, tuple(runs))


def masks(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_a_stop_and_a_correction_are_replayed(video, tmp_path, tiny_model, direction):
    settings = ProjectSettings(model=str(tiny_model), direction=direction)
    replay, runs = ProjectReplay(video, tmp_path / "masks"), []
    for prompts, last in ((FIRST, 2), (SECOND, None)):
        run = ProjectRun(settings, prompts_to_json(prompts))
        stopped = replay.run(run, should_stop=lambda last=last: replay.steps == last)
        runs.append(ProjectRun(settings, run.prompts, stopped))
    assert [run.steps for run in runs] == [2, None]
    replay_project(project_of(video, *runs), video, out=tmp_path / "again")
    assert masks(tmp_path / "again") == masks(tmp_path / "masks")
    assert len(masks(tmp_path / "masks")) == 6
    corrected = read_mask(tmp_path / "masks" / "00002.png")
    assert corrected[16, 20] != 1  # erased exactly
    assert corrected[16, 15] == 1
    assert (read_mask(tmp_path / "masks" / "00004.png") == 2).any()


def test_other_settings_start_anew(video, tmp_path, tiny_model):
    replay = ProjectReplay(video, tmp_path / "masks")
    replay.run(ProjectRun(ProjectSettings(str(tiny_model), "forward"), prompts_to_json(FIRST)))
    assert not read_mask(tmp_path / "masks" / "00000.png").any()
    came = []
    run = ProjectRun(ProjectSettings(str(tiny_model), "both"), prompts_to_json({}))
    replay.run(run, on_frame=lambda result: came.append(result.index))
    assert sorted(came) == list(range(6))
    assert list(replay.finished()) == list(range(6))
    assert replay.given == [2]


def test_the_command_line_replays(video, tmp_path, tiny_model, capsys):
    run = ProjectRun(ProjectSettings(model=str(tiny_model)), prompts_to_json(FIRST))
    write_project(tmp_path / "project.json", project_of(video, run))
    words = [
        "segment",
        "--project",
        str(tmp_path / "project.json"),
        "--out",
        str(tmp_path / "masks"),
        "--device",
        "cpu",
    ]
    assert main(words) == 0
    assert "6 masks with 1 object" in capsys.readouterr().out
    assert main(words) == 2  # the masks are there
    assert main([*words, "--overwrite"]) == 0
    assert main([*words, "--overwrite", "--model", "stcn"]) == 2
    assert "--model was given beside --project" in capsys.readouterr().err
    assert main(["segment", "--out", str(tmp_path / "none")]) == 2
    assert "No video was given" in capsys.readouterr().err


def test_a_project_without_runs_is_refused(video, tmp_path):
    with pytest.raises(PromptError, match="no run"):
        replay_project(project_of(video), video, out=tmp_path / "masks")


def test_a_prompt_beyond_the_video_is_refused(video, tmp_path, tiny_model):
    run = ProjectRun(ProjectSettings(model=str(tiny_model)), prompts_to_json({6: [Brush(1, [(3, 3)], 3)]}))
    with pytest.raises(PromptError, match="frame 6"):
        ProjectReplay(video, tmp_path / "masks").run(run)
