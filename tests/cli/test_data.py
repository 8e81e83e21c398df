from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vos_zoo.cli import data
from vos_zoo.cli.main import main
from vos_zoo.data.layouts.check import FORMATS
from vos_zoo.media.masks import write_mask


@pytest.fixture
def root(tmp_path):
    """A DAVIS root of one video with three frames."""
    for index in range(3):
        path = tmp_path / f"JPEGImages/480p/cat/{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 24)).save(path)
        write_mask(tmp_path / f"Annotations/480p/cat/{index:05d}.png", np.eye(24, 32, dtype=np.uint8))
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets/all.txt").write_text("cat\n")
    return tmp_path


def test_a_good_root(root, capsys):
    assert main(["data", "check", str(root), "--format", "davis", "--list", "all"]) == 0
    assert capsys.readouterr().out == f"{root}: 1 video, 3 frames, 3 masks, no problems\n"


def test_problems_are_listed_and_the_exit_code_is_1(root, capsys):
    (root / "Annotations/480p/cat/00001.png").unlink()
    (root / "JPEGImages/480p/cat/00002.jpg").write_bytes(b"")
    assert main(["data", "check", str(root), "--format", "davis"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "- JPEGImages/480p/cat/00001.jpg: has no mask."
    assert lines[1].startswith("- JPEGImages/480p/cat/00002.jpg: cannot be read")
    assert lines[2].endswith("2 problems")


def test_an_empty_root(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path), "--format", "folder"]) == 1
    assert "videos/: is missing" in capsys.readouterr().out


def test_a_missing_root(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path / "nowhere"), "--format", "davis"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_formats_are_those_of_the_library():
    assert data._FORMATS == FORMATS


def test_a_root_is_packed(root, tmp_path, capsys):
    words = ["data", "pack", str(root), "--list", "all", "--out", str(tmp_path / "shards"), "--shard-size", "1MiB"]
    assert main(words) == 0
    assert "shards: 1 shard, 1 video, 3 annotated frames, 0.0 MiB" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == [
        "run.json", "shard-00000.json", "shard-00000.tar",
    ]  # fmt: skip
    assert main([*words[:-1], "2MiB"]) == 2
    assert "other data or settings: shard_bytes differ" in capsys.readouterr().err
