"""What people hand over as frames and masks: many kinds are taken, each wrong one is named, with what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from vos_zoo import VideoSession
from vos_zoo.errors import MaskError, VideoError
from vos_zoo.media.arrays import to_frame, to_mask
from vos_zoo.models.rde import RDEModule

FRAME = np.full((40, 56, 3), 40, np.uint8)
MASK = np.zeros((40, 56), np.uint8)
MASK[10:30, 10:30] = 1
SIDES = st.integers(4, 9)

FRAME_KINDS = {
    "array": lambda frame: frame,
    "channels first": lambda frame: np.ascontiguousarray(frame.transpose(2, 0, 1)),
    "read-only": lambda frame: np.asarray(Image.fromarray(frame)),
    "fractions": lambda frame: frame / 255,
    "half": lambda frame: (frame / 255).astype(np.float16),
    "tensor": torch.from_numpy,
    "tensor, channels first": lambda frame: torch.from_numpy(frame).permute(2, 0, 1),
    "tensor of fractions": lambda frame: (torch.from_numpy(frame) / 255).requires_grad_(),
    "image": Image.fromarray,
    "image with alpha": lambda frame: Image.fromarray(frame).convert("RGBA"),
}


@pytest.mark.parametrize("kind", FRAME_KINDS)
@given(frame=arrays.arrays(np.uint8, st.tuples(SIDES, SIDES, st.just(3))))
def test_a_frame_is_the_same_whatever_holds_it(kind, frame):
    converted = to_frame(FRAME_KINDS[kind](frame), "Frame 0")
    assert converted.dtype == np.uint8
    assert (converted == frame).all()


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu), "cpu"])
def test_tensors_come_from_their_device(device):
    assert (to_frame(torch.from_numpy(FRAME).to(device), "Frame 0") == FRAME).all()
    assert (to_mask(torch.from_numpy(MASK).to(device), "The mask") == MASK).all()


def test_a_grey_image_has_equal_colours():
    assert (to_frame(Image.fromarray(FRAME[..., 0]), "Frame 0") == FRAME).all()


def test_colours_of_arrays_are_turned_and_those_of_images_are_not():
    frame = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    assert (to_frame(frame[:, :, ::-1], "Frame 0", color="bgr") == frame).all()
    assert (to_frame(torch.from_numpy(frame).flip(2), "Frame 0", color="bgr") == frame).all()
    assert (to_frame(Image.fromarray(frame), "Frame 0", color="bgr") == frame).all()


def test_bfloat16_is_rounded_to_its_own_precision():
    frame = torch.full((4, 5, 3), 0.5, dtype=torch.bfloat16)
    assert (to_frame(frame, "Frame 0") == 128).all()


MASK_KINDS = {
    "array": lambda masks, ids: ids,
    "wide": lambda masks, ids: ids.astype(np.int64),
    "tensor": lambda masks, ids: torch.from_numpy(ids.astype(np.int64)),
    "image": lambda masks, ids: Image.fromarray(ids),
    "palette image": lambda masks, ids: palette_image(ids),
    "stack": lambda masks, ids: masks,
    "stack of a tensor": lambda masks, ids: torch.from_numpy(masks),
    "list": lambda masks, ids: list(masks),
    "list of tensors": lambda masks, ids: list(torch.from_numpy(masks)),
    "tuple of images": lambda masks, ids: tuple(Image.fromarray(mask) for mask in masks),
}


def palette_image(ids):
    image = Image.fromarray(ids)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    return image


@pytest.mark.parametrize("kind", MASK_KINDS)
@given(ids=arrays.arrays(np.uint8, st.tuples(SIDES, SIDES), elements=st.integers(0, 3)))
def test_a_mask_is_the_same_whatever_holds_it(kind, ids):
    masks = np.stack([ids == object_id for object_id in (1, 2, 3)])
    converted = to_mask(MASK_KINDS[kind](masks, ids), "The mask")
    assert converted.dtype.kind in "ui"
    assert (converted == ids).all()


def test_booleans_and_black_and_white_images_mark_object_1():
    for mask in (MASK == 1, torch.from_numpy(MASK == 1), Image.fromarray(MASK == 1), Image.fromarray(255 * MASK)):
        assert (to_mask(mask, "The mask") == MASK).all()


def test_a_stack_without_objects_is_background():
    assert to_mask(np.zeros((0, 4, 5), bool), "The mask").tolist() == np.zeros((4, 5)).tolist()


def test_300_objects_get_their_numbers():
    masks = np.eye(300, dtype=bool).reshape(300, 1, 300)
    assert to_mask(masks, "The mask")[0].tolist() == list(range(1, 301))


FRAMES = {
    "None": (None, "is None", "end of a video"),
    "path": ("frame.png", "a str", "read_image"),
    "Path": (Path("frame.png"), "Path", "read_image"),
    "list": (FRAME.tolist(), "a list", r"np\.array\("),
    "number": (3, "a int", "check what gives"),
    "wide": (FRAME.astype(np.uint16), "uint16", r"scale the values to 0-255"),
    "float 0-255": (FRAME.astype(float), "float64 and holds values from 40 to 40", r"\.astype\(np\.uint8\)"),
    "NaN": (np.full((4, 4, 3), np.nan), "from nan to nan", "clip"),
    "grey": (FRAME[..., 0], r"\(40, 56\)", "repeat"),
    "one channel": (FRAME[..., :1], r"\(40, 56, 1\)", "repeat"),
    "alpha": (np.dstack([FRAME, FRAME[..., :1]]), r"\(40, 56, 4\)", r"frame\[\.\.\., :3\]"),
    "video": (FRAME[None], r"\(1, 40, 56, 3\)", "one at a time"),
    "16-bit image": (Image.fromarray(FRAME[..., 0].astype(np.uint16)), "more than 8 bits", "scale"),
}


@pytest.fixture(scope="module")
def module():
    return RDEModule("tiny").eval()


@pytest.mark.parametrize("case", FRAMES)
def test_what_is_no_frame_is_named(module, case):
    frame, found, advice = FRAMES[case]
    with pytest.raises(VideoError, match=rf"(?s)Frame 0 .*{found}.*Expected RGB.*{advice}"):
        VideoSession(module).step(frame, MASK)


MASKS = {
    "path": ("first.png", "a str", "read_mask"),
    "nested list": (MASK.tolist(), "a list that holds a list", r"np\.array\("),
    "scores": (MASK.astype(float), "float64", "threshold"),
    "one channel": (MASK[..., None], r"\(40, 56, 1\)", r"mask\[\.\.\., 0\]"),
    "one of several": (MASK[None], r"\(1, 40, 56\)", r"mask\[0\]"),
    "stack of ids": (np.stack([MASK, 1 - MASK]), r"\(2, 40, 56\)", r"one object, give booleans.*frame number: mask"),
    "list of ids": ([MASK, 1 - MASK], r"mask 0 has shape \(40, 56\) and type uint8", r"booleans.*frame number: mask"),
    "colours": (FRAME, r"\(40, 56, 3\)", "read_mask"),
    "by frame": ({0: MASK}, "a dict", "this frame alone"),
    "empty list": ([], "an empty list", ""),
    "different sizes": ([MASK == 1, MASK[1:] == 1], "different shapes", ""),
}


@pytest.mark.parametrize("case", MASKS)
def test_what_is_no_mask_is_named(module, case):
    mask, found, advice = MASKS[case]
    with pytest.raises(MaskError, match=rf"(?s)The mask of frame 0 .*{found}.*Expected one integer.*{advice}"):
        VideoSession(module).step(FRAME, mask)


def test_objects_that_overlap_are_named():
    masks = np.zeros((3, 4, 5), bool)
    masks[0, :2] = masks[2, 1:3] = True
    with pytest.raises(MaskError, match=r"marks 5 pixels as object 1 and as object 3.*several proposals"):
        to_mask(masks, "The mask")


def test_a_coloured_image_is_no_mask():
    with pytest.raises(MaskError, match="The mask of frame 3 has three colour channels"):
        to_mask(Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 9, 3), np.uint8)), "The mask of frame 3")


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


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_a_session_takes_every_kind(module, color):
    frame = np.random.default_rng(0).integers(0, 255, (40, 56, 3), np.uint8)
    expected, session = (VideoSession(module, size=None, color=color) for _ in range(2))
    pixels = frame if color == "rgb" else frame[:, :, ::-1]
    expected.step(pixels, MASK)
    session.step(torch.from_numpy(pixels.copy()).permute(2, 0, 1), [MASK == 1])
    assert torch.equal(session.step(Image.fromarray(frame)).probabilities, expected.step(pixels).probabilities)
