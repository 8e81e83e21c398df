from __future__ import annotations

import argparse

import pytest

from vos_zoo.cli.output import byte_count, format_bytes, frame_size


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("512", 512), ("1k", 1024), ("1.5 MB", 1572864), ("800M", 838860800), ("2GiB", 2**31), ("1t", 2**40)],
)
def test_byte_counts_are_read(text, count):
    assert byte_count(text) == count


@pytest.mark.parametrize("text", ["", "GiB", "-1G", "1X", "1e9", "nan", "1 G B"])
def test_other_words_are_no_byte_counts(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no number of bytes"):
        byte_count(text)


@pytest.mark.parametrize(
    ("text", "size"), [("480", 480), ("256x448", (256, 448)), (" 256 X 448 ", (256, 448)), ("native", "native")]
)
def test_sizes_are_read(text, size):
    assert frame_size(text) == size


@pytest.mark.parametrize("text", ["", "480p", "-480", "256x", "x448", "256x448x3", "4.5"])
def test_other_words_are_no_sizes(text):
    with pytest.raises(argparse.ArgumentTypeError, match="no size; write it like 480 or 256x448"):
        frame_size(text)


@pytest.mark.parametrize(("count", "text"), [(0, "0.0 MiB"), (2**20, "1.0 MiB"), (3 * 2**29, "1.5 GiB")])
def test_byte_counts_are_printed(count, text):
    assert format_bytes(count) == text
