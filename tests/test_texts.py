from __future__ import annotations

import argparse
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.texts import byte_count, frame_size, levels, truth, void_value


@pytest.mark.parametrize("text", ["", "maybe", "2", "tru"])
def test_other_words_are_no_truths(text):
    with pytest.raises(argparse.ArgumentTypeError, match="write true or false"):
        truth(text)


@given(st.text(max_size=12))
def test_words_are_read_or_refused_and_nothing_else(text):
    for read in (byte_count, frame_size, levels, truth, void_value):
        with contextlib.suppress(argparse.ArgumentTypeError):
            read(text)
