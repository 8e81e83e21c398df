from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.annotations import named_errors
from vos_zoo.errors import MaskError
from vos_zoo.media.frame_matching import find_frames, frame_stem

FRAMES = [f"{number:05d}" for number in range(12)]
FROM_ONE = [f"img_{number:04d}" for number in range(1, 13)]


@pytest.mark.parametrize(
    ("stems", "frames", "expected"),
    [
        (["00003", "7"], FRAMES, ["00003", "00007"]),
        (["frame_000000", "frame_000005"], FRAMES, ["00000", "00005"]),
        (["frame_1", "frame_12"], FRAMES, ["00000", "00011"]),
        ([f"mask{n}" for n in range(12)], FRAMES, FRAMES),
        ([f"mask{n}" for n in range(1, 13)], FRAMES, FRAMES),
        ([f"{n:05d}" for n in range(1, 13)], FROM_ONE, FROM_ONE),
        (["clip3_00000", "clip3_00001"], FROM_ONE, ["img_0001", "img_0002"]),
        (["x_120", "x_122"], ["f120", "f121", "f122"], ["f120", "f122"]),
    ],
)
def test_frames_are_found_where_there_is_one_way(stems, frames, expected):
    assert find_frames(stems, frames, what="masks") == expected


def test_two_ways_are_named_with_what_decides():
    with pytest.raises(MaskError) as caught:
        find_frames(["frame_000005"], FRAMES, what="masks in `here`")
    message = str(caught.value)
    assert "`frame_000005` belongs to frame 00005" in message
    assert "they count frames from 1, so that it belongs to frame 00004" in message
    assert "--first-frame-number 0" in message
    assert find_frames(["frame_000005"], FRAMES, first_number=0, what="masks") == ["00005"]
    assert find_frames(["frame_000005"], FRAMES, first_number=1, what="masks") == ["00004"]


def test_the_said_number_overrules_names():
    assert find_frames(["00001", "00002"], FRAMES, first_number=1, what="masks") == ["00000", "00001"]


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (["00001", "00099"], "1 of the masks match no frame: 00099"),
        (["00001", "00012"], "--first-frame-number 1"),
        (["dog", "cat"], "match no frame: dog, cat"),
        (["frame_99"], "match no frame: frame_99"),
        (["frame_0", "frame_12"], "match no frame"),
    ],
)
def test_what_matches_nothing_is_named(stems, message):
    with pytest.raises(MaskError, match=message):
        find_frames(stems, FRAMES, what="masks")


def test_a_number_outside_of_the_video_is_named():
    with pytest.raises(MaskError, match="frames have the numbers 1 to 12"):
        find_frames(["m_0"], FRAMES, first_number=1, what="masks")
    with pytest.raises(MaskError, match="`dog` among the masks"):
        find_frames(["dog"], FRAMES, first_number=1, what="masks")


@given(st.lists(st.integers(0, 11), min_size=1, unique=True), st.sampled_from([0, 1]))
def test_a_guess_is_never_wrong(numbers, first):
    """Whatever frames are named, counted from 0 or 1: the right ones are found, or the caller is asked."""
    stems = [f"frame_{number + first}" for number in numbers]
    with named_errors("two ways"):
        found = find_frames(stems, FRAMES, what="masks")
        assert found == [FRAMES[number] for number in numbers]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("00012.jpg", "00012"),
        (r"C:\clips\dog.v2\frame 3.PNG", "frame 3"),
        ("a/b/00012", "00012"),
        ("v1.25", "v1.25"),
        (".png", ".png"),
        ("", ""),
    ],
)
def test_names_lose_folders_and_endings(name, stem):
    assert frame_stem(name) == stem
