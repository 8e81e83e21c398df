"""The blocks of README.md run in order, in one process and one folder, as a newcomer runs them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

import vos_zoo
from testing.videos import write_video
from vos_zoo.cli import demo, lightning
from vos_zoo.cli.main import main
from vos_zoo.demo import DemoClip, demo_clip
from vos_zoo.media.masks import read_mask, write_mask
from vos_zoo.media.reader import read_frames

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(
    r"^```(bash|python)\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
)
#: Commands that work on the installation itself; `.ci/run` runs them.
OTHERS = ("python -m pip install", "python -m sphinx")


@pytest.fixture
def short_clip(tmp_path, monkeypatch):
    """Five small frames of the demo clip in its place, so that the real weights need seconds."""
    clip = demo_clip()
    frames = [frame[::5, ::5] for frame in read_frames(clip.video, end=5)]
    folder = tmp_path / "package"
    folder.mkdir()
    short = DemoClip("bird", folder / "bird.mp4", folder / "first.png", clip.credit)
    write_video(short.video, [np.ascontiguousarray(frame[:96, :168]) for frame in frames])
    write_mask(short.first_mask, read_mask(clip.first_mask)[::5, ::5][:96, :168])
    monkeypatch.setattr(demo, "demo_clip", lambda: short)
    return short


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *words = shlex.split(line, comments=True)
    if program == "vos-zoo":
        assert main(words) == 0, line
        return
    assert program == "lightning", f"{README} shows the command `{program}`, which this test cannot run."
    words += ["--data.crop_size=64", "--data.batch_size=1", "--data.num_workers=0", "--trainer.limit_val_batches=0"]
    words += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    monkeypatch.setattr(sys, "argv", ["lightning", *words])
    assert lightning.main() == 0, line


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # Lightning asks torch in the old way
@pytest.mark.filterwarnings("ignore:The '\\w+' does not have many workers")
@pytest.mark.filterwarnings("ignore:The number of training batches")
def test_the_readme_runs_from_top_to_bottom(short_clip, tmp_path, monkeypatch, capsys):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    # Lightning still instantiates in a way that jsonargparse will drop in version 5.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    names: dict = {}
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, str(README), "exec"), names)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if not line.startswith(OTHERS):
                run(line, monkeypatch)
    assert names["report"].frames == 5
    assert isinstance(names["result"], vos_zoo.inference.session.FrameResult)
    assert {path.name for path in place.iterdir()} == {"masks", "runs", "stcn-masks", "vos-zoo-demo"}
    assert "J&F" in capsys.readouterr().out


def test_the_readme_has_blocks():
    assert [language for language, _ in BLOCKS].count("python") == 2
    assert sum(language == "bash" for language, _ in BLOCKS) >= 4
