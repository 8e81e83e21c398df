"""``vos-zoo segment-many``: the table of exit codes, one line for all, and what it says of failures."""

from __future__ import annotations

import argparse
import json

import pytest

from testing.stub_worker import COMMAND
from testing.videos import write_video
from vos_zoo.cli import segment_many
from vos_zoo.cli.main import main
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.media.masks import write_mask
from vos_zoo.scale import local, many


@pytest.fixture
def stub(monkeypatch):
    """Workers without a network."""
    monkeypatch.setattr(
        many, "LocalEngine", lambda run, **options: local.LocalEngine(run, **{**options, "command": COMMAND})
    )


def table(folder, *names):
    path = folder / "list.csv"
    path.write_text("video,masks\n" + "".join(f"{name}.mp4,{name}.png\n" for name in names))
    return str(path)


def test_all_went_well(stub, tmp_path, capsys):
    words = ["segment-many", table(tmp_path, "one", "two"), "--out", str(tmp_path / "out"), "--workers", "2"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert f"2 of 2 videos are finished in {tmp_path / 'out'}\n4 frames in " in printed.out
    assert printed.err.splitlines()[-1].startswith("2 of 2 videos, ")
    assert main(words) == 0
    assert "2 of them by earlier runs" in capsys.readouterr().out


def test_failures_are_named_and_counted(stub, tmp_path, capsys):
    words = ["segment-many", table(tmp_path, "one", "fail"), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*words, "--progress", "json"]) == 1
    printed = capsys.readouterr()
    events = [json.loads(line) for line in printed.out.splitlines()]
    assert events[-1] == {"event": "end", "exit_code": 1}
    last = [event for event in events if event["event"] == "progress"][-1]
    assert (last["unit"], last["done"], last["total"], last["failed"]) == ("videos", 2, 2, 1)
    assert "1 failed" in printed.err
    assert "fail (row 2)" in printed.err


def test_a_bad_table_is_bad_input(stub, tmp_path, capsys):
    (tmp_path / "list.csv").write_text("video,masks\na.mp4,a.png\nb/a.mp4,b.png\n")
    assert main(["segment-many", str(tmp_path / "list.csv"), "--out", str(tmp_path / "out")]) == 2
    assert "row 2 would write where row 1 does" in capsys.readouterr().err


def test_a_full_disk_is_one_message(stub, tmp_path, capsys):
    assert main(["segment-many", table(tmp_path, "full"), "--out", str(tmp_path / "out"), "--workers", "1"]) == 2
    assert "vos-zoo: error: no space is left on the disk" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stopped(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(many, "segment_many", stopped)
    assert main(["segment-many", "list.csv", "--out", "masks"]) == 130
    assert "What is finished is in masks; repeat the command to resume" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["3", "0/4", "5/4", "a/b", "1/0", ""])
def test_parts_that_are_none(text):
    with pytest.raises(argparse.ArgumentTypeError, match="write K/N"):
        segment_many._shard(text)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_of_clips_one_of_them_broken(tmp_path, tiny_model, capsys):
    (tmp_path / "clips").mkdir()
    for number in range(4):
        video = moving_shapes(3, 48, 64, num_objects=1, rng=number)
        write_video(tmp_path / "clips" / f"clip{number}.mp4", list(video.frames))
        write_mask(tmp_path / "clips" / f"clip{number}.png", video.masks[0])
    whole = (tmp_path / "clips" / "clip2.mp4").read_bytes()
    (tmp_path / "clips" / "clip2.mp4").write_bytes(whole[: len(whole) // 2])
    words = [
        "segment-many", str(tmp_path / "clips"), "--out", str(tmp_path / "out"), "--model", str(tiny_model),
        "--workers", "2", "--device", "cpu", "--size", "48",
    ]  # fmt: skip
    assert main(words) == 1
    assert "- clip2 (row 3): Video `" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == [
        ".finished", "clip0", "clip1", "clip3",
    ]  # fmt: skip
    (tmp_path / "clips" / "clip2.mp4").write_bytes(whole)
    assert main(words) == 0
    assert len(list((tmp_path / "out").glob("clip*/*.png"))) == 12
