from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from testing.annotations import named_errors
from vos_zoo.interchange.rle import (
    counts_from_text,
    counts_to_mask,
    mask_to_counts,
    pack_brush,
    text_from_counts,
    unpack_brush,
)

MASKS = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(lambda shape: arrays(np.bool_, shape))


@given(MASKS)
def test_counts_and_text_are_those_of_pycocotools(mask):
    coco = pytest.importorskip("pycocotools.mask")
    official = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    counts = mask_to_counts(mask.T)
    assert text_from_counts(counts) == official
    assert counts_from_text(official).tolist() == counts.tolist()


@given(MASKS)
def test_a_mask_survives_its_counts(mask):
    np.testing.assert_array_equal(counts_to_mask(mask_to_counts(mask), mask.shape), mask)


@given(MASKS)
def test_a_mask_survives_its_brush_stroke(mask):
    np.testing.assert_array_equal(unpack_brush(pack_brush(mask), mask.shape), mask)


def test_long_runs_of_a_brush_stroke_are_split():
    mask = np.zeros((300, 400), np.bool_)
    mask[100:290] = True
    np.testing.assert_array_equal(unpack_brush(pack_brush(mask), mask.shape), mask)


def test_the_stroke_of_the_format_description_is_read():
    """Written down bit by bit: 4 pixels RGBA, lengths of 3, 4, 8 and 16 bits, a run and a list."""
    bits = (
        f"{16:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}"
        f"1{0:02b}{7:03b}{0:08b}"  # eight times 0: two pixels
        f"0{1:02b}{7:04b}" + "".join(f"{value:08b}" for value in (9, 9, 9, 255, 9, 9, 9, 100))
    )
    bits += "0" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert unpack_brush(data, (1, 4)).tolist() == [[False, False, True, False]]


@pytest.mark.parametrize(
    ("counts", "message"),
    [([3, 2], "add up to 5 pixels instead of 6"), ([3, -1, 4], "negative"), ([2**62, 2**62], "add up to")],
)
def test_counts_of_the_wrong_length_are_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        counts_to_mask(np.array(counts), (2, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [("~~", "'~', a character"), ("Q", "cut off"), ("QQQQQQQ0", "35 bits"), ("ä", "not ASCII"), ("0 1", "' '")],
)
def test_text_that_is_no_counts_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        counts_from_text(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-2], "ends after"),
        (lambda data: b"\x00\x00\x00\x09" + data[4:], "9 values instead of 4 for each of 60 pixels"),
        (lambda data: data[:3], "ends after 3 bytes"),
    ],
)
def test_a_damaged_stroke_is_refused(change, message):
    mask = np.eye(6, 10, dtype=np.bool_)
    with pytest.raises(ValueError, match=message):
        unpack_brush(change(pack_brush(mask)), mask.shape)


@given(st.binary(max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_any_bytes_are_a_stroke_or_an_error(data, height, width):
    data = (4 * height * width).to_bytes(4, "big") + data
    with named_errors("", ValueError):
        assert unpack_brush(data, (height, width)).shape == (height, width)


@given(st.text(max_size=20))
def test_any_text_is_counts_or_an_error(text):
    with named_errors("", ValueError):
        counts_to_mask(counts_from_text(text), (3, 3))
