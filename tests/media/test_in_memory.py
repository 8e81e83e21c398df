"""Videos in memory are read like files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from testing.videos import clip
from vos_zoo.errors import ConfigError, MissingFileError, UsageError, VideoError
from vos_zoo.media.in_memory import open_frames
from vos_zoo.media.reader import open_video

PICTURES = clip(6)

KINDS = {
    "array": lambda: np.stack(PICTURES),
    "tensor": lambda: torch.from_numpy(np.stack(PICTURES)),
    "tensor, channels first": lambda: torch.from_numpy(np.stack(PICTURES)).permute(0, 3, 1, 2),
    "fractions": lambda: torch.from_numpy(np.stack(PICTURES)) / 255,
    "list": lambda: list(PICTURES),
    "images": lambda: [Image.fromarray(picture) for picture in PICTURES],
    "tuple of tensors": lambda: tuple(map(torch.from_numpy, PICTURES)),
    "generator": lambda: (picture for picture in PICTURES),
    "iterator of images": lambda: map(Image.fromarray, PICTURES),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("selection", [{}, {"start": 1, "end": 6, "every": 2}, {"end": 2}, {"start": 5}], ids=str)
def test_every_kind_gives_the_same_frames(kind, selection):
    reader = open_frames(KINDS[kind](), **selection)
    frames = list(reader)
    chosen = range(6)[selection.get("start", 0) : selection.get("end") : selection.get("every", 1)]
    assert [frame.index for frame in frames] == list(chosen)
    assert [frame.name for frame in frames] == [f"{index:05d}" for index in chosen]
    assert all((frame.image == PICTURES[frame.index]).all() for frame in frames)
    assert reader.size == (48, 64)
    if reader.has_known_length:
        assert list(reader.names) == [frame.name for frame in frames]
        assert len(list(reader)) == len(reader)


def test_a_generator_is_read_once_and_as_it_goes():
    given = []

    def frames():
        for number, picture in enumerate(PICTURES):
            given.append(number)
            yield picture

    reader = open_frames(frames())
    assert not reader.has_known_length
    assert given == [0]
    iterator = iter(reader)
    next(iterator)
    next(iterator)
    assert given == [0, 1]
    with pytest.raises(VideoError, match=r"generator.*read already.*list of frames"):
        next(iter(reader))


def test_paths_and_readers_are_opened(tmp_path):
    for number, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    assert len(open_frames(tmp_path, every=2)) == 3
    reader = open_video(tmp_path)
    assert open_frames(reader) is reader
    with pytest.raises(ConfigError, match="its own selection"):
        open_frames(reader, start=1)
    with pytest.raises(MissingFileError):
        open_frames(tmp_path / "missing.mp4")


@pytest.mark.parametrize(
    ("video", "error", "message"),
    [
        (None, UsageError, "The video is None"),
        (0.5, UsageError, "a float"),
        (b"clip.mp4", UsageError, "a bytes"),
        (PICTURES[0], UsageError, r"one frame: give \[frame\]"),
        (torch.from_numpy(PICTURES[0]), UsageError, "one frame"),
        (Image.fromarray(PICTURES[0]), UsageError, "one frame"),
        ({0: PICTURES[0]}, UsageError, "a dict"),
        (np.zeros((1, 2, 3, 4, 3), np.uint8), VideoError, r"shape \(1, 2, 3, 4, 3\)"),
        ([], VideoError, "no frames"),
        (np.zeros((0, 4, 4, 3), np.uint8), VideoError, "no frames"),
        (iter(()), VideoError, "no frames"),
        ([None], VideoError, "Frame 0 is None"),
        (["frame.png"], VideoError, "Frame 0 is a str"),
    ],
)
def test_what_is_no_video_is_named(video, error, message):
    with pytest.raises(error, match=message):
        open_frames(video)


def test_a_frame_of_another_size_is_named():
    reader = open_frames([PICTURES[0], PICTURES[1][1:]])
    with pytest.raises(VideoError, match="Frame 1 is 64x47"):
        list(reader)


def test_levels_are_for_files():
    with pytest.raises(ConfigError, match="levels is for files"):
        open_frames(PICTURES, levels="type")


def test_a_selection_beyond_the_end_is_named():
    with pytest.raises(VideoError, match="has 6 frames, so it cannot start at frame 6"):
        open_frames(PICTURES, start=6)


def test_an_endless_iterable_ends_where_it_is_told():
    reader = open_frames((PICTURES[0] for _ in iter(int, 1)), end=4)
    assert len(list(reader)) == 4


@pytest.mark.parametrize("color", ["RGB", "grey", None])
def test_an_order_of_colours_that_does_not_exist_is_refused(color):
    with pytest.raises(ConfigError, match="order of colours is"):
        open_frames(list(PICTURES), color=color)
