from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from vos_zoo.cli.main import main
from vos_zoo.prompts import Polygon, prompts_to_json
from vos_zoo.prompts.polygon_fill import fill_polygon

TRIANGLE = [(10, 10), (40, 10), (40, 40)]
SPELLED = "10,10,40,10,40,40"


def segment(clip, model, out, *words):
    return main(["segment", str(clip.frames), *words, "--out", str(out), "--model", str(model)])


def mask_of(out, name):
    return np.array(Image.open(out / f"{name}.png"))


def test_a_prompt_needs_no_mask_file(small_clip, tiny_model, tmp_path):
    out, picture = tmp_path / "out", tmp_path / "prompt.png"
    assert segment(small_clip, tiny_model, out, "--polygon", f"4:{SPELLED}", "--save-prompt", str(picture)) == 0
    np.testing.assert_array_equal(mask_of(out, "00000") == 4, fill_polygon(TRIANGLE, (48, 64)))
    assert len(list(out.glob("0*.png"))) == 8
    with Image.open(picture) as shown:
        assert shown.size == (64, 48)


def test_prompts_name_their_frames(small_clip, tiny_model, tmp_path):
    out, picture = tmp_path / "out", tmp_path / "seen.png"
    words = ["--polygon", f"1:{SPELLED}", f"2@5:{SPELLED}", "--frame", "3", "--save-prompt", str(picture)]
    assert segment(small_clip, tiny_model, out, *words) == 0
    assert not mask_of(out, "00002").any()
    assert (mask_of(out, "00003") == 1).sum() == fill_polygon(TRIANGLE, (48, 64)).sum()
    assert (mask_of(out, "00005") == 2).any()
    assert not picture.exists()
    assert {path.name for path in tmp_path.glob("seen*")} == {"seen-3.png", "seen-5.png"}


def test_a_file_of_prompts_is_read(small_clip, tiny_model, tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(prompts_to_json({2: [Polygon(6, TRIANGLE)]})))
    assert segment(small_clip, tiny_model, tmp_path / "out", "--prompts", str(path)) == 0
    assert (mask_of(tmp_path / "out", "00002") == 6).any()


def test_prompts_correct_a_given_mask(small_clip, tiny_model, tmp_path):
    words = [str(small_clip.first), "--polygon", f"9:{SPELLED}"]
    assert segment(small_clip, tiny_model, tmp_path / "out", *words) == 0
    assert {1, 2, 9} >= set(np.unique(mask_of(tmp_path / "out", "00000"))) - {0} > {9}


def test_masks_may_stand_behind_options(small_clip, tiny_model, tmp_path):
    words = ["--every", "4", str(small_clip.first)]
    assert segment(small_clip, tiny_model, tmp_path / "out", *words) == 0
    assert len(list((tmp_path / "out").glob("0*.png"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "neither masks nor prompts"),
        (["--box", "1:5,5,9"], "--box '1:5,5,9'"),
        (["--box", "1:5,5,900,20"], "outside of the frame, which is 64×48"),
        (["--point", "1:-5,5"], "negative prompts alone"),
        (["--box", "1:5,5,20,20", "1:5,5,20,21"], "two different boxes"),
        (["--box", "1:5,5,20,20", "--frame", "-1"], "--frame is -1"),
        (["--box", "1:5,5,20,20", "--frame", "99"], "which the video does not have"),
        (["--box", "1:5,5,20,20", "--start", "2"], "not segmented: 00000"),
        (["--box", "1:5,5,20,20", "--save-prompt", "picture.xyz"], "must end in one of"),
        (["--prompts", "none.json"], "no file of prompts"),
        (["--prompts", "empty.json"], "`empty.json` holds no prompts"),
    ],
)
def test_bad_prompts_write_nothing(capsys, small_clip, tiny_model, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text('{"version": 1, "frames": {}}')
    assert segment(small_clip, tiny_model, tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.png"))


def test_a_picture_replaces_no_file(capsys, small_clip, tiny_model, tmp_path):
    picture = tmp_path / "mine.png"
    picture.write_bytes(b"mine")
    words = ["--polygon", f"1:{SPELLED}", "--save-prompt", str(picture)]
    assert segment(small_clip, tiny_model, tmp_path / "out", *words) == 2
    assert "mine.png exists" in capsys.readouterr().err
    frame = next(small_clip.frames.glob("*.png"))
    before = frame.read_bytes()
    assert segment(small_clip, tiny_model, tmp_path / "out", *words[:-1], str(frame), "--overwrite") == 2
    assert frame.read_bytes() == before
    assert picture.read_bytes() == b"mine"


def test_pictures_are_for_prompts(capsys, small_clip, tiny_model, tmp_path):
    words = [str(small_clip.first), "--save-prompt", str(tmp_path / "picture.png")]
    assert segment(small_clip, tiny_model, tmp_path / "out", *words) == 2
    assert "without prompts" in capsys.readouterr().err
