"""What people hand over as frames and masks: each wrong kind is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vos_zoo import VideoSession, segment_video
from vos_zoo.errors import MaskError, UsageError, VideoError
from vos_zoo.models.rde import RDEModule

FRAME = np.full((40, 56, 3), 40, np.uint8)
MASK = np.zeros((40, 56), np.uint8)
MASK[10:30, 10:30] = 1


@pytest.fixture(scope="module")
def module():
    return RDEModule("tiny").eval()


FRAMES = {
    "None": (None, "is None", "end of a video"),
    "path": ("frame.png", "a str", "read_image"),
    "Path": (Path("frame.png"), "Path", "read_image"),
    "picture": (Image.fromarray(FRAME), "PIL.Image.Image", r'np\.asarray\(image\.convert\("RGB"\)\)'),
    "tensor": (torch.from_numpy(FRAME), "a torch.Tensor", r"\.cpu\(\)\.numpy\(\)"),
    "list": (FRAME.tolist(), "a list", r"np\.array\("),
    "number": (3, "a int", "expected|Expected"),
    "float": (FRAME / 255, "float64", r"scale the values to 0-255"),
    "grey": (FRAME[..., 0], r"\(40, 56\)", "repeat"),
    "one channel": (FRAME[..., :1], r"\(40, 56, 1\)", "repeat"),
    "alpha": (np.dstack([FRAME, FRAME[..., :1]]), r"\(40, 56, 4\)", r"frame\[\.\.\., :3\]"),
    "channels first": (FRAME.transpose(2, 0, 1), r"\(3, 40, 56\)", r"transpose\(1, 2, 0\)"),
    "video": (FRAME[None], r"\(1, 40, 56, 3\)", "one at a time"),
}


@pytest.mark.parametrize("case", FRAMES)
def test_what_is_no_frame_is_named(module, case):
    frame, found, advice = FRAMES[case]
    with pytest.raises(VideoError, match=rf"(?s)Frame 0 .*{found}.*Expected RGB.*{advice}"):
        VideoSession(module).step(frame, MASK)


MASKS = {
    "path": ("first.png", "a str", "read_mask"),
    "picture": (Image.fromarray(MASK), "PIL.Image.Image", r"np\.asarray\(image\)"),
    "tensor": (torch.from_numpy(MASK), "a torch.Tensor", r"mask\.cpu\(\)\.numpy\(\)"),
    "list": (MASK.tolist(), "a list", r"np\.array\("),
    "scores": (MASK.astype(float), "float64", "threshold"),
    "one channel": (MASK[..., None], r"\(40, 56, 1\)", r"mask\[\.\.\., 0\]"),
    "stack": (np.stack([MASK, 1 - MASK]).astype(bool), r"\(2, 40, 56\)", r"\(i \+ 1\) \* masks\[i\]"),
    "colours": (FRAME, r"\(40, 56, 3\)", "read_mask"),
}


@pytest.mark.parametrize("case", MASKS)
def test_what_is_no_mask_is_named(module, case):
    mask, found, advice = MASKS[case]
    with pytest.raises(MaskError, match=rf"(?s)The mask of frame 0 .*{found}.*Expected one integer.*{advice}"):
        VideoSession(module).step(FRAME, mask)


def test_booleans_mark_one_object(module):
    named, marked = (VideoSession(module, size=None) for _ in range(2))
    assert marked.step(FRAME, MASK == 1).object_ids == (1,)
    assert (marked.step(FRAME).mask == (named.step(FRAME, MASK), named.step(FRAME))[1].mask).all()


@pytest.mark.parametrize("size", [None, 32])
def test_a_frame_that_cannot_be_written_to_is_no_matter(module, size, recwarn):
    frame = np.asarray(Image.fromarray(FRAME))
    assert not frame.flags.writeable
    session = VideoSession(module, size=size)
    session.step(frame, np.asarray(Image.fromarray(MASK)))
    session.step(frame)
    assert not recwarn.list


@pytest.mark.parametrize("video", [[FRAME, FRAME], (frame for frame in [FRAME]), FRAME[None], None, 0.5])
def test_a_video_in_memory_is_sent_to_a_session(video, small_clip, tmp_path):
    with pytest.raises(UsageError, match=r"video is a .*takes a path.*VideoSession"):
        segment_video(video, small_clip.first, out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"masks is a ndarray"):
        segment_video(small_clip.frames, MASK, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
