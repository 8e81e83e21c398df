"""Clips of one object of YouTube-VOS, as HS2S is trained on."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import PIL.Image
import pytest

from vos_zoo.data.clips.dataset import ClipDataset, ClipSettings, collate_clips
from vos_zoo.data.clips.from_objects import ObjectClips
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.data.modules.objects import ObjectsDataModule
from vos_zoo.errors import DataError, MissingFileError
from vos_zoo.media.masks import write_mask

# Frames that meta.json lists for each object; the videos have 8 and 5 frames.
OBJECTS = {"long": {1: range(8), 4: range(2, 5)}, "short": {2: range(5), 3: range(4, 5)}}


@pytest.fixture
def root(tmp_path):
    """Two videos, one of them square, whose objects are wide bars that hardly move."""
    split = tmp_path / "youtube-vos" / "train"
    meta = {}
    for name, (frames, size) in {"long": (8, (60, 80)), "short": (5, (48, 48))}.items():
        for index in range(frames):
            mask = np.zeros(size, np.uint8)
            for place, label in enumerate(OBJECTS[name]):
                mask[5 + 20 * place : 20 + 20 * place, 10 + index : 40 + index] = label
            frame = np.stack([mask * 20, mask * 30, np.full(size, 10 * index, np.uint8)], axis=2)
            for folder in ("JPEGImages", "Annotations"):
                (split / folder / name).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(frame).save(split / "JPEGImages" / name / f"{5 * index:05d}.jpg", quality=100)
            write_mask(split / "Annotations" / name / f"{5 * index:05d}.png", mask)
        objects = {
            str(label): {"category": "bar", "frames": [f"{5 * index:05d}" for index in listed]}
            for label, listed in OBJECTS[name].items()
        }
        meta[name] = {"objects": objects}
    (split / "meta.json").write_text(json.dumps({"videos": meta}))
    return tmp_path


@pytest.fixture
def clips(root):
    return ObjectClips(YouTubeVosVideos(root / "youtube-vos", min_frames=2))


def sample(clips, seed, num_frames=4, crop_size=(32, 64)):
    return clips.sample(
        np.random.default_rng(seed), num_frames=num_frames, crop_size=crop_size, max_gap=5, max_objects=1
    )


def test_every_object_is_equally_likely_however_many_its_video_has(clips):
    assert [(entry.video, entry.label, len(entry.frames)) for entry in clips.objects] == [
        (0, 1, 8),
        (0, 4, 3),
        (1, 2, 5),
    ]
    names = Counter(sample(clips, seed).name for seed in range(120))
    assert names["long"] == pytest.approx(80, abs=16)


def test_frames_are_consecutive_and_listed_for_the_object(clips):
    lengths = set()
    for seed in range(30):
        clip = sample(clips, seed, crop_size=(60, 80))
        # The third channel counts frames; turned frames have black corners.
        numbers = [round(np.median(image[..., 2][clip.labels[0] == 1]) / 10) for image in clip.images]
        assert np.diff(numbers).tolist() == [1] * (len(numbers) - 1)
        lengths.add(len(numbers))
        if len(numbers) == 3:  # object 4 is listed in no more
            assert numbers == [2, 3, 4]
    assert lengths == {3, 4}


def test_whole_frames_of_any_shape_are_resized(root):
    still = ObjectClips(YouTubeVosVideos(root / "youtube-vos", min_frames=2), rotation=0, scale=0.0)
    for seed in range(20):
        clip = sample(still, seed)
        assert clip.images.shape[1:] == (32, 64, 3)
        assert clip.labels.shape[1:] == (32, 64)
        assert set(np.unique(clip.labels)) == {0, 1}
        # Both sides are scaled on their own: the bar keeps its share of the height and of the width.
        height, width = (48, 48) if clip.name == "short" else (60, 80)
        rows, columns = np.nonzero(clip.labels[0])
        assert np.ptp(rows) + 1 == pytest.approx(15 * 32 / height, abs=2)
        assert np.ptp(columns) + 1 == pytest.approx(30 * 64 / width, abs=3)


def test_colours_stay(clips):
    found = [clip for clip in (sample(clips, seed) for seed in range(20)) if clip.name == "short"]
    assert found
    for clip in found:
        assert np.median(clip.images[..., 0][clip.labels == 1]) == pytest.approx(40, abs=2)
        assert np.median(clip.images[..., 1][clip.labels == 1]) == pytest.approx(60, abs=2)


def test_a_batch_is_as_long_as_its_shortest_clip(clips):
    dataset = ClipDataset([clips], ClipSettings(6, (32, 64), 1, min_object_area=0.0), length=30)
    items = [dataset[index] for index in range(30)]
    assert {len(item["images"]) for item in items} == {3, 5, 6}
    batch = collate_clips(items)
    assert batch["images"].shape == (30, 3, 3, 32, 64)
    assert batch["masks"].shape == (30, 3, 32, 64)


def test_an_epoch_has_as_many_clips_as_there_are_objects(root):
    options = {"batch_size": 1, "num_workers": 0, "crop_size": (32, 64), "max_objects": 1}
    data = ObjectsDataModule(str(root), **options)
    data.setup("fit")
    assert len(data.train_dataloader()) == 3
    (root / "held_out.txt").write_text("long\n")
    one = ObjectsDataModule(str(root), without="held_out.txt", samples_per_epoch=7, **options)
    one.setup("fit")
    assert len(one.train_dataloader()) == 7
    assert {name for batch in one.train_dataloader() for name in batch["name"]} == {"short"}


def test_a_split_without_sequences_is_refused(root):
    path = root / "youtube-vos" / "train" / "meta.json"
    meta = json.loads(path.read_text())
    for video in meta["videos"].values():
        for entry in video["objects"].values():
            entry["frames"] = entry["frames"][:1]
    path.write_text(json.dumps(meta))
    with pytest.raises(DataError, match="None of 2 videos has an object"):
        ObjectsDataModule(str(root)).setup("fit")
    with pytest.raises(MissingFileError, match=r"no file 'list\.txt'"):
        ObjectsDataModule(str(root), without="list.txt").setup("fit")
    with pytest.raises(MissingFileError):
        ObjectsDataModule(str(root / "nowhere")).setup("fit")
