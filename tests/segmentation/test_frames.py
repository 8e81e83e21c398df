"""segment_frames gives what a session gives, whatever holds frames and masks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from testing.clips import FRAMES, LATE_FRAME
from vos_zoo import segment_frames, segment_video
from vos_zoo.errors import MaskError, MissingFileError, UsageError, VideoError
from vos_zoo.inference.session import VideoSession
from vos_zoo.media.masks import read_mask
from vos_zoo.media.reader import open_video, read_frames
from vos_zoo.models.load import load_model


@pytest.fixture(scope="module")
def model(tiny_model):
    return load_model(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def clip(small_clip):
    frames = np.stack(list(read_frames(small_clip.frames)))
    masks = {number: read_mask(small_clip.given / f"{number:05d}.png") for number in (0, LATE_FRAME)}
    return frames, masks


@pytest.fixture(scope="module")
def expected(clip, model):
    frames, masks = clip
    session = VideoSession(model, size=32)
    return [session.step(frame, masks.get(number)) for number, frame in enumerate(frames)]


def assert_same(results, expected):
    results = list(results)
    assert len(results) == len(expected)
    for number, (ours, theirs) in enumerate(zip(results, expected, strict=True)):
        assert (ours.index, ours.name) == (number, f"{number:05d}")
        assert ours.object_ids == theirs.object_ids
        assert ours.mask.dtype == theirs.mask.dtype
        assert (ours.mask == theirs.mask).all()
        assert torch.equal(ours.probabilities, theirs.probabilities)


VIDEOS = {
    "array": lambda frames: frames,
    "tensor": torch.from_numpy,
    "channels first": lambda frames: torch.from_numpy(frames).permute(0, 3, 1, 2),
    "fractions": lambda frames: frames / 255,
    "list": list,
    "images": lambda frames: [Image.fromarray(frame) for frame in frames],
    "generator": iter,
}
MASKS = {
    "ids": lambda ids: ids,
    "wide ids": lambda ids: torch.from_numpy(ids.astype(np.int64)),
    "image": Image.fromarray,
}


@settings(max_examples=25)
@given(video=st.sampled_from(sorted(VIDEOS)), mask=st.sampled_from(sorted(MASKS)), by_name=st.booleans())
def test_the_masks_are_the_same_whatever_holds_frames_and_masks(clip, model, expected, video, mask, by_name):
    frames, masks = clip
    given_masks = {(f"{key:05d}" if by_name else key): MASKS[mask](ids) for key, ids in masks.items()}
    assert_same(segment_frames(VIDEOS[video](frames), given_masks, model=model, size=32), expected)


def test_paths_and_readers_give_the_same(small_clip, model, expected):
    assert_same(segment_frames(small_clip.frames, small_clip.given, model=model, size=32), expected)
    assert_same(segment_frames(open_video(small_clip.frames), str(small_clip.given), model=model, size=32), expected)


@pytest.mark.parametrize("kind", ["bool", "stack", "list", "tensor"])
def test_a_single_object_may_be_boolean(clip, model, kind):
    frames, masks = clip
    is_object = masks[0] == 1
    mask = {
        "bool": is_object,
        "stack": is_object[None],
        "list": [is_object],
        "tensor": torch.from_numpy(is_object),
    }[kind]
    for ours, theirs in zip(
        segment_frames(frames, mask, model=model, size=32),
        segment_frames(frames, masks[0], model=model, size=32),
        strict=True,
    ):
        assert (ours.mask == theirs.mask).all()


@pytest.mark.parametrize("video", sorted(VIDEOS))
def test_segment_video_takes_the_same(clip, model, expected, tmp_path, video):
    frames, masks = clip
    calls = []
    report = segment_video(
        VIDEOS[video](frames),
        masks,
        out=tmp_path / "out",
        model=model,
        size=32,
        overlay=True,
        progress=lambda *counts: calls.append(counts),
    )
    assert report.frames == FRAMES
    assert calls[-1] == (FRAMES, FRAMES)
    for result in expected:
        assert (read_mask(tmp_path / "out" / f"{result.index:05d}.png", void=0) == result.mask).all()


def test_a_run_in_memory_is_resumed(clip, model, tmp_path):
    frames, masks = clip

    def breaking():
        yield from frames[:4]
        raise VideoError("broken")

    options = {"out": tmp_path / "out", "model": model, "size": 32}
    with pytest.raises(VideoError, match="broken"):
        segment_video(breaking(), masks, **options)
    report = segment_video(iter(frames), masks, **options, resume=True)
    assert (report.frames, report.segmented) == (FRAMES, FRAMES - 4)


def test_nothing_is_read_ahead_and_no_file_is_written(clip, model, tmp_path, monkeypatch):
    frames, masks = clip
    monkeypatch.chdir(tmp_path)
    given = []

    def watched():
        for number, frame in enumerate(frames):
            given.append(number)
            yield frame

    results = segment_frames(watched(), masks, model=model, size=32)
    next(results)
    next(results)
    assert given == [0, 1]
    assert not list(tmp_path.iterdir())


def test_frames_are_selected(clip, model):
    frames, masks = clip
    results = segment_frames(frames, {LATE_FRAME: masks[LATE_FRAME]}, model=model, size=32, start=1, every=2)
    found = [(result.index, result.name, result.object_ids) for result in itertools.islice(results, 3)]
    assert found == [(1, "00001", ()), (3, "00003", (1, 7)), (5, "00005", (1, 7))]


def test_colours_may_come_in_opencvs_order(clip, model, expected):
    frames, masks = clip
    assert_same(segment_frames(frames[..., ::-1], masks, model=model, size=32, color="bgr"), expected)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"frames": None}, UsageError),
        ({"frames": "missing.mp4"}, MissingFileError),
        ({"masks": {}}, MaskError),
        ({"masks": np.zeros((48, 64), np.uint8)}, MaskError),
        ({"masks": np.ones((4, 4), np.uint8)}, MaskError),
        ({"model": 3}, UsageError),
    ],
    ids=str,
)
def test_mistakes_are_found_before_the_first_frame_is_asked_for(clip, model, change, error):
    frames, masks = clip
    with pytest.raises(error):
        segment_frames(**{"frames": frames, "masks": masks, "model": model, **change})
