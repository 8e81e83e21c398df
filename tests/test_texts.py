from __future__ import annotations

import argparse
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.texts import byte_count, frame_size, levels, object_ids, object_label, truth, void_value


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("512", 512), ("1k", 1024), ("1.5 MB", 1572864), ("800M", 838860800), ("2GiB", 2**31), ("1t", 2**40)],
)
def test_byte_counts_are_read(text, count):
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1G", "1X", "1e9", "nan", "1 G B"])
def test_other_words_are_no_byte_counts(text):
    with pytest.raises(argparse.ArgumentTypeError, match="not a number of bytes"):
        byte_count(text)


@pytest.mark.parametrize(
    ("text", "size"), [("480", 480), ("256x448", (256, 448)), (" 256 X 448 ", (256, 448)), ("native", "native")]
)
def test_sizes_are_read(text, size):
    assert frame_size(text) == size


@pytest.mark.parametrize("text", ["", "480p", "-480", "256x", "x448", "256x448x3", "4.5"])
def test_other_words_are_no_sizes(text):
    with pytest.raises(argparse.ArgumentTypeError, match="not a size; write it like 480 or 256x448"):
        frame_size(text)


@pytest.mark.parametrize("text", ["", "maybe", "2", "tru"])
def test_other_words_are_no_truths(text):
    with pytest.raises(argparse.ArgumentTypeError, match="write true or false"):
        truth(text)


@given(st.text(max_size=12))
def test_words_are_read_or_refused_and_nothing_else(text):
    for read in (byte_count, frame_size, levels, object_ids, object_label, truth, void_value):
        with contextlib.suppress(argparse.ArgumentTypeError):
            read(text)
