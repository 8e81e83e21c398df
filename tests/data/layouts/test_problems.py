"""What makes a data root unusable is said at once; the rest is left out, and the log says so."""

from __future__ import annotations

import logging

import pytest

from vos_zoo.data.layouts.problems import Problem, refuse_fatal
from vos_zoo.errors import DataError


def fatal(count):
    return [Problem(f"Annotations/{index:02d}.png", "is empty.", is_fatal=True) for index in range(count)]


def test_a_problem_reads_in_one_line():
    assert str(Problem("a/b.png", "has no frame.")) == "a/b.png: has no frame."
    assert str(Problem("", "there is no video.")) == "there is no video."


def test_a_root_without_problems_is_silent(tmp_path, caplog):
    refuse_fatal(tmp_path, [], "davis")
    assert caplog.records == []


def test_fatal_problems_are_raised_together_without_the_others(tmp_path, caplog):
    with pytest.raises(DataError) as caught:
        refuse_fatal(tmp_path, [*fatal(2), Problem("c.png", "has no mask.")], "davis")
    assert str(caught.value) == (
        f"Data root {str(tmp_path)!r} cannot be used:\n- Annotations/00.png: is empty.\n- Annotations/01.png: is empty."
    )
    assert caplog.records == []


def test_ten_are_shown_and_the_check_lists_all(tmp_path):
    with pytest.raises(DataError) as caught:
        refuse_fatal(tmp_path, fatal(12), "youtube-vos")
    message = str(caught.value)
    assert "Annotations/09.png" in message
    assert "Annotations/10.png" not in message
    assert message.endswith(f"… and 2 more (`vos-zoo data check {tmp_path} --format youtube-vos` lists all)")


def test_ten_need_no_word_about_more(tmp_path):
    with pytest.raises(DataError) as caught:
        refuse_fatal(tmp_path, fatal(10), "davis")
    assert str(caught.value).endswith("Annotations/09.png: is empty.")


def test_what_is_left_out_is_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        refuse_fatal(tmp_path, [Problem("a.png", "has no frame."), Problem("b.png", "has no frame.")], "folder")
    (record,) = caplog.records
    assert record.getMessage().startswith(f"2 problems in data root {str(tmp_path)!r}; what they concern is left out.")
    assert "a.png: has no frame." in record.getMessage()
    assert "--format folder" in record.getMessage()
