from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from testing.videos import clip, write_video
from vos_zoo.data.layouts.check import FORMATS, check_root
from vos_zoo.errors import ConfigError, MissingFileError
from vos_zoo.media.mask_values import davis_palette
from vos_zoo.media.masks import write_mask


@pytest.fixture
def davis(data_root, tmp_path) -> Path:
    """A DAVIS root to damage; its masks have the palette of DAVIS."""
    root = Path(shutil.copytree(data_root / "train", tmp_path / "davis"))
    for path in root.rglob("Annotations/480p/*/*.png"):
        write_mask(path, np.array(Image.open(path)))
    return root


def problems(root: Path, data_format: str, **options: str) -> dict[str, str]:
    """Texts of the problems by place; several of one place are joined."""
    found: dict[str, str] = {}
    for problem in check_root(root, data_format, **options).problems:
        found[problem.place] = f"{found.get(problem.place, '')} {problem.text}".strip()
    return found


def test_good_roots(davis, youtube_vos_root):
    report = check_root(davis, "davis", image_set="2017/train")
    assert (report.videos, report.frames, report.masks, report.problems) == (3, 24, 24, ())
    assert problems(youtube_vos_root / "train", "youtube-vos") == {}
    calls = []
    report = check_root(youtube_vos_root, "youtube-vos", progress=lambda *progress: calls.append(progress))
    assert report.problems == ()
    # Two videos of two splits, with their frames and with all frames.
    assert (report.videos, report.frames, report.masks) == (8, 2 * 2 * (6 + 30), 12 + 3)
    assert calls[-1] == (8, 8)


def test_every_problem_of_a_davis_root_is_named(davis):
    frames, masks = davis / "JPEGImages/480p", davis / "Annotations/480p"
    (davis / "ImageSets/2017/train.txt").write_text("ant\nelk\n")
    (masks / "ant/00002.png").unlink()
    (frames / "ant/00006.jpg").write_bytes(b"\xff\xd8 cut")
    (masks / "ant/00008.png").write_bytes((masks / "ant/00008.png").read_bytes()[:60])
    Image.open(masks / "ant/00010.png").convert("RGB").save(masks / "ant/00010.png")
    Image.new("RGB", (50, 40)).save(frames / "bee/00004.jpg")
    write_mask(masks / "bee/00006.png", np.ones((9, 9), np.uint8))
    mask = np.array(Image.open(masks / "cow/00000.png"))
    write_mask(masks / "cow/00000.png", mask, davis_palette()[::-1].copy())
    write_mask(masks / "cow/00002.png", mask, np.concatenate([np.zeros((1, 3), np.uint8), davis_palette()[2:9]]))
    Image.fromarray(np.arange(72 * 96, dtype=np.uint32).reshape(72, 96).astype(np.uint8)).save(masks / "cow/00004.png")
    found = problems(davis, "davis", image_set="2017/val")
    expected = {
        "ImageSets/2017/val.txt": "is missing. Expected text files with the names of its videos. Lists found: 2017/tr",
        "ImageSets/2017/train.txt": "names 1 videos without annotated frames: elk",
        "JPEGImages/480p/ant/00002.jpg": "has no mask",
        "JPEGImages/480p/ant/00006.jpg": "cannot be read",
        "Annotations/480p/ant/00008.png": "cannot be read",
        "Annotations/480p/ant/00010.png": "pixel format RGB",
        "JPEGImages/480p/bee/00004.jpg": "has 50×40 pixels, the first frame of its video 96×72",
        "Annotations/480p/bee/00006.png": "has 9×9 pixels, its video 96×72",
        "Annotations/480p/cow/00000.png": "paints the background",
        "Annotations/480p/cow/00002.png": "another palette than DAVIS: id 1 is (0, 128, 0) instead of (128, 0, 0)",
        "Annotations/480p/cow/00004.png": "grey levels",
    }
    assert found.keys() == expected.keys()
    for place, text in expected.items():
        assert text in found[place], place


def test_two_ids_of_one_colour(davis):
    path = davis / "Annotations/480p/bee/00000.png"
    mask = np.array(Image.open(path))
    assert mask.max() == 2
    write_mask(path, mask, np.array([[0, 0, 0], [9, 9, 9], [9, 9, 9]], np.uint8))
    assert "one colour for several" in problems(davis, "davis")["Annotations/480p/bee/00000.png"]


def test_every_problem_of_youtube_vos_is_named(youtube_vos_root, tmp_path):
    root = Path(shutil.copytree(youtube_vos_root, tmp_path / "yv"))
    path = root / "train/Annotations/0a1b/00005.png"
    write_mask(path, np.where(np.arange(56) < 9, 7, np.array(Image.open(path))).astype(np.uint8))
    (root / "train/Annotations/9f8e/00010.png").unlink()
    (root / "valid/meta.json").write_text('{"video": {}}')
    (root / "train_all_frames/JPEGImages/0a1b/00003.jpg").write_bytes(b"")
    found = problems(root, "youtube-vos")
    assert found.keys() == {
        "train/Annotations/0a1b/00005.png",
        "train/Annotations/9f8e/00010.png",
        "valid/meta.json",
        "train_all_frames/JPEGImages/0a1b/00003.jpg",
    }
    assert "holds the ids [7], meta.json lists [1, 2]" in found["train/Annotations/0a1b/00005.png"]
    assert "no key 'videos'" in found["valid/meta.json"]


def test_every_problem_of_own_videos_is_named(tmp_path):
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/good.mp4", clip(4))
    cut = write_video(tmp_path / "videos/cut.mp4", clip(60))
    cut.write_bytes(cut.read_bytes()[:-200])
    (tmp_path / "videos/page.mp4").write_text("<html>")
    for name in ("good", "cut", "page", "stray"):
        write_mask(tmp_path / f"masks/{name}/00000.png", np.ones((48, 64), np.uint8))
    write_mask(tmp_path / "masks/good/00002.png", np.ones((8, 8), np.uint8))
    report = check_root(tmp_path, "folder")
    text = "\n".join(str(problem) for problem in report.problems)
    assert len(report.problems) == 4, text
    for part in ("cut.mp4", "page.mp4", "masks/stray: belongs to no video", "good/00002.png: has 8×8 pixels"):
        assert part in text
    assert (report.videos, report.masks) == (2, 3)


@pytest.mark.parametrize("data_format", FORMATS)
def test_empty_roots(tmp_path, data_format):
    assert any(problem.is_fatal for problem in check_root(tmp_path, data_format).problems)


def test_missing_root_and_unknown_format(tmp_path):
    with pytest.raises(MissingFileError):
        check_root(tmp_path / "nowhere", "davis")
    with pytest.raises(ConfigError, match="Expected one of davis"):
        check_root(tmp_path, "coco")
