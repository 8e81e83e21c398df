"""Small training data on disk: pictures with masks and videos, as folders and as zip shards."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.media.masks import write_mask

FRAMES = 8
# Frames that meta.json lists for each object of `objects_root`, whose videos have 8 and 5 frames.
_OBJECTS = {"long": {1: range(8), 4: range(2, 5)}, "short": {2: range(5), 3: range(4, 5)}}
_STEMS = [f"{index:05d}" for index in range(0, 30, 5)]


def _save(image: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def _zip_halves(folder: Path, target: Path) -> None:
    """Pack a folder into two uncompressed shards, as data sets are handed out."""
    target.mkdir(parents=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for shard in range(2):
        with zipfile.ZipFile(target / f"shard-{shard}.zip", "w") as archive:
            for path in files[shard::2]:
                archive.write(path, path.relative_to(folder).as_posix())


def _write_split(root: Path, split: str, *, first_masks_only: bool) -> None:
    """Two videos of 30 filmed frames; object 2 of the second appears in frame 10."""
    meta = {}
    for number, name in enumerate(("0a1b", "9f8e")):
        late = 10 * number
        video = moving_shapes(30, 40, 56, num_objects=2, late_frame=late, rng=number)
        firsts = {1: "00000", 2: f"{late:05d}"}
        for index in range(30):
            stem = f"{index:05d}"
            kept = ["train_all_frames", "train"] if index % 5 == 0 else ["train_all_frames"]
            for folder in kept:
                path = root / folder.replace("train", split) / "JPEGImages" / name / f"{stem}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(video.frames[index]).save(path)
            if index % 5 == 0 and (not first_masks_only or stem in firsts.values()):
                write_mask(root / split / "Annotations" / name / f"{stem}.png", video.masks[index])
        objects = {
            str(label): {"category": "shape", "frames": [stem for stem in _STEMS if stem >= first]}
            for label, first in firsts.items()
        }
        meta[name] = {"objects": objects}
    (root / split / "meta.json").write_text(json.dumps({"videos": meta}))


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """Root with ``pairs/`` (5 pictures) and ``train/`` (3 videos of 8 frames) as plain files."""
    root = tmp_path_factory.mktemp("data")
    for number in range(5):
        video = moving_shapes(1, 60 + 10 * number, 90, num_objects=1 + number % 3, rng=number)
        _save(video.frames[0], root / f"pairs/{'cats' if number % 2 else 'dogs'}/{number:02d}.jpg")
        _save(video.masks[0], root / f"pairs/{'cats' if number % 2 else 'dogs'}/{number:02d}.png")
    for number, name in enumerate(("ant", "bee", "cow")):
        video = moving_shapes(FRAMES, 72, 96, num_objects=1 + number % 2, rng=10 + number)
        for index in range(FRAMES):
            _save(video.frames[index], root / f"train/JPEGImages/480p/{name}/{2 * index:05d}.jpg")
            _save(video.masks[index], root / f"train/Annotations/480p/{name}/{2 * index:05d}.png")
    listed = root / "train/ImageSets/2017/train.txt"
    listed.parent.mkdir(parents=True)
    listed.write_text("bee\nant\n")
    return root


@pytest.fixture(scope="session")
def zipped_root(data_root, tmp_path_factory) -> Path:
    """The same data in zip shards."""
    root = tmp_path_factory.mktemp("zipped")
    for part in ("pairs", "train"):
        _zip_halves(data_root / part, root / part)
    return root


@pytest.fixture(scope="session")
def youtube_vos_root(tmp_path_factory) -> Path:
    """Root with ``train/``, ``valid/`` and both with all frames, in the layout of YouTube-VOS; not to be written to."""
    root = tmp_path_factory.mktemp("youtube-vos")
    _write_split(root, "train", first_masks_only=False)
    _write_split(root, "valid", first_masks_only=True)
    return root


@pytest.fixture
def objects_root(tmp_path) -> Path:
    """Two videos, one of them square, whose objects are wide bars that hardly move."""
    split = tmp_path / "youtube-vos" / "train"
    meta = {}
    for name, (frames, size) in {"long": (8, (60, 80)), "short": (5, (48, 48))}.items():
        for index in range(frames):
            mask = np.zeros(size, np.uint8)
            for place, label in enumerate(_OBJECTS[name]):
                mask[5 + 20 * place : 20 + 20 * place, 10 + index : 40 + index] = label
            frame = np.stack([mask * 20, mask * 30, np.full(size, 10 * index, np.uint8)], axis=2)
            for folder in ("JPEGImages", "Annotations"):
                (split / folder / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(frame).save(split / "JPEGImages" / name / f"{5 * index:05d}.jpg", quality=100)
            write_mask(split / "Annotations" / name / f"{5 * index:05d}.png", mask)
        objects = {
            str(label): {"category": "bar", "frames": [f"{5 * index:05d}" for index in listed]}
            for label, listed in _OBJECTS[name].items()
        }
        meta[name] = {"objects": objects}
    (split / "meta.json").write_text(json.dumps({"videos": meta}))
    return tmp_path


@pytest.fixture(autouse=True)
def _one_thread():
    """Keep OpenCV from spreading tiny pictures over threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)
    yield
    cv2.setNumThreads(before)
