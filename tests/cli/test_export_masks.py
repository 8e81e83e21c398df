from __future__ import annotations

import json

import numpy as np
import pytest

from testing.results import moving_masks, write_results
from testing.videos import clip, write_frames
from vos_zoo.cli.main import main
from vos_zoo.interchange.export_formats import EXPORT_FORMATS


@pytest.fixture
def results(tmp_path):
    return write_results(tmp_path / "masks", moving_masks(3), write_frames(tmp_path / "frames", clip(3)))


def test_export(results, tmp_path, capsys):
    words = ["export-masks", str(results), "--to", "npz", "--out", str(tmp_path / "a.npz")]
    assert main([*words, "--objects", "2", "--label", "2=bird"]) == 0
    assert capsys.readouterr().out == f"3 frames with 1 object in {tmp_path / 'a.npz'}\n"
    with np.load(tmp_path / "a.npz") as found:
        assert found["labels"].tolist() == ["bird"]
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert "3 frames with 2 objects" in capsys.readouterr().out


def test_progress_for_programs(results, tmp_path, capsys):
    words = ["export-masks", str(results), "--to", "cutouts", "--out", str(tmp_path / "cut"), "--progress", "json"]
    assert main(words) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = [event for event in events if event["event"] == "progress"]
    assert steps[-1]["done"] == steps[-1]["total"] == 6


def test_the_help_lists_all_formats(capsys):
    with pytest.raises(SystemExit):
        main(["export-masks", "--help"])
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in EXPORT_FORMATS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--objects", "1,x"], "'1,x' are not ids of objects; write them like 1,3"),
        (["--objects", "0"], "'0' are not ids"),
        (["--label", "bird"], "'bird' names no object; write it like 1=bird"),
        (["--label", "1="], "names no object"),
        (["--to", "gif"], "invalid choice: 'gif'"),
    ],
)
def test_mistyped_options(results, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        main(["export-masks", str(results), "--to", "npz", "--out", str(tmp_path / "a.npz"), *words])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
