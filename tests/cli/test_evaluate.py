from __future__ import annotations

import shutil

import numpy as np
import pytest

from vos_zoo.cli.main import main
from vos_zoo.media.masks import read_mask, write_mask


def test_two_results_are_compared_object_by_object(capsys, small_clip, tmp_path):
    for path in small_clip.masks.iterdir():
        write_mask(tmp_path / "shifted" / path.name, np.roll(read_mask(path), 3, axis=1))
    arguments = ["evaluate", str(small_clip.masks), str(small_clip.masks), "--compare", str(tmp_path / "shifted")]
    assert main([*arguments, "--processes", "1", "--breakdown", "length", "--breakdown", "occlusion"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("J&F-Mean") == 2
    assert printed.count("area <= 50") == 2
    for measure in ("J&F: +", "J: +", "F: +"):
        assert measure in printed
    assert "95 % interval [+" in printed
    assert "better on 2 and worse on 0 of 2 objects" in printed
    assert "An interval from 2 objects says little" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("masks_")]
    assert {row[0] for row in rows} == {"masks_1", "masks_7"}
    assert all(float(row[1]) == 100 and float(row[3]) > 0 for row in rows)


@pytest.mark.parametrize("option", ["--json", "--meta"])
def test_scores_replace_nothing_that_is_read(capsys, small_clip, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_clip.masks, "results")
    (tmp_path / "meta.json").write_text("{}")
    target = {"--json": "results/00003.png", "--meta": "./meta.json"}[option]
    before = (tmp_path / target).read_bytes()
    words = ["evaluate", "results", str(small_clip.masks), "--json", target, "--meta", "meta.json"]
    assert main([*words[: None if option == "--meta" else -2], "--overwrite", "--processes", "1"]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert (tmp_path / target).read_bytes() == before


def test_tables_may_lie_beside_the_masks(small_clip, tmp_path):
    shutil.copytree(small_clip.masks, tmp_path / "results")
    words = ["evaluate", str(tmp_path / "results"), str(small_clip.masks), "--csv", str(tmp_path / "results")]
    assert main([*words, "--processes", "1"]) == 0
    assert main([*words, "--processes", "1", "--overwrite"]) == 0


def test_names_do_nothing_on_a_terminal(capsys, small_clip, tmp_path):
    name = "\x1b[2Jdog"
    for folder in ("true", "found"):
        shutil.copytree(small_clip.masks, tmp_path / folder / name)
    arguments = ["evaluate", str(tmp_path / "found"), str(tmp_path / "true"), "--processes", "1"]
    assert main([*arguments, "--compare", str(tmp_path / "found")]) == 0
    (tmp_path / "found" / name / "00003.png").write_bytes(b"")
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert "\\x1b[2Jdog_1" in printed.out
    assert "\\x1b[2Jdog" in printed.err
    assert "\x1b" not in printed.out + printed.err
