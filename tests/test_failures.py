"""Failures beside results: noted by several processes, read in spite of damage, forgotten when mended."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.failures import FAILURES_FILE, Failure, forget_failure, note_failure, read_failures


def test_the_last_failure_of_a_video_counts(tmp_path):
    note_failure(tmp_path, Failure("ash", "VideoError", "cut short", row=3))
    note_failure(tmp_path, Failure("birch", "MaskError", "no ids"))
    note_failure(tmp_path, Failure("ash", "MaskError", "of another video", row=3))
    assert list(read_failures(tmp_path)) == ["birch", "ash"]
    assert read_failures(tmp_path)["ash"] == Failure("ash", "MaskError", "of another video", row=3)


def test_what_was_mended_is_forgotten_and_an_empty_file_goes(tmp_path):
    for name in ("ash", "birch"):
        note_failure(tmp_path, Failure(name, "VideoError", "cut short"))
    forget_failure(tmp_path, "cedar")
    forget_failure(tmp_path, "ash")
    assert list(read_failures(tmp_path)) == ["birch"]
    forget_failure(tmp_path, "birch")
    assert list(tmp_path.iterdir()) == []


def test_lines_of_many_writers_stay_whole(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: note_failure(tmp_path, Failure(f"v{n}", "VideoError", "x" * 9000)), range(40)))
    assert len(read_failures(tmp_path)) == 40


@given(st.binary(max_size=60))
def test_damaged_lines_are_left_out(tmp_path_factory, noise):
    folder = tmp_path_factory.mktemp("noise")
    note_failure(folder, Failure("ash", "VideoError", "cut short"))
    with (folder / FAILURES_FILE).open("ab") as file:
        file.write(noise.replace(b"ash", b"") + b"\n")
    assert read_failures(folder)["ash"].message == "cut short"


@pytest.mark.parametrize("name", ["a\nb", 'quo"te', "ümlaut", "\x1b[2J"])
def test_names_survive(tmp_path, name):
    note_failure(tmp_path, Failure(name, "VideoError", name))
    assert list(read_failures(tmp_path)) == [name]
