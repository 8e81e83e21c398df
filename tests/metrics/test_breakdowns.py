import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.generated_folders import square, write_sequence
from testing.object_scores import make_score
from vos_zoo.metrics import evaluate, length_breakdown, occlusion_breakdown
from vos_zoo.metrics.breakdowns import length_histogram, occlusion_histogram


def test_early_and_late_frames_of_long_sequences():
    # t = 1..25; J = t, so that the means say which frames were taken.
    long = make_score([float(t) for t in range(1, 26)])
    short = make_score([100.0] * 19, name="short")  # 20 annotated frames are not more than 20
    early, late = length_breakdown([long, short])
    assert (early.group, early.region, early.objects, early.frames) == ("t < 10", 5.0, 1, 9)
    assert (late.group, late.region, late.objects, late.frames) == ("t > 20", 23.0, 1, 5)
    assert early.boundary == 2.5
    assert early.j_and_f == 3.75


def test_an_unscored_last_frame_lengthens_the_sequence_but_is_not_scored():
    _, late = length_breakdown([make_score([float(t) for t in range(1, 22)], annotated=23)])
    assert (late.region, late.frames) == (21.0, 1)


def test_objects_without_a_late_frame_are_left_out_of_that_group():
    early, late = length_breakdown([make_score([1.0] * 20)])
    assert (early.objects, late.objects) == (1, 0)
    assert math.isnan(late.region)


def test_groups_are_averaged_per_object_first():
    one, two = make_score([1.0] * 24), make_score([0.0] * 30)
    _, late = length_breakdown([one, two])
    assert late.region == 0.5
    assert late.frames == 4 + 10


@pytest.mark.parametrize(
    ("areas", "expected"),
    [
        pytest.param([9, 9, 9, 9], [], id="never-occluded"),
        pytest.param([9, 0, 9, 9], [2, 3], id="after-the-first-return"),
        pytest.param([9, 0, 0, 9, 0, 9], [3, 4, 5], id="later-occlusions-included"),
        pytest.param([9, 9, 0, 0], [], id="never-returns"),
        pytest.param([0, 0, 9, 9], [2, 3], id="given-empty"),
        pytest.param([0, 9, 9], [], id="only-the-given-frame-is-empty"),
    ],
)
def test_frames_after_the_first_occlusion(areas, expected):
    region = [float(t) for t in range(1, len(areas))]
    row = occlusion_breakdown([make_score(region, areas)], thresholds=[0])[1]
    assert row.frames == len(expected)
    assert row.objects == (1 if expected else 0)
    if expected:
        assert row.region == np.mean(expected)


def test_occlusion_thresholds_include_their_value():
    areas = [500, 100, 500, 50, 500, 0, 500]
    scores = [make_score([float(t) for t in range(1, 7)], areas)]
    rows = occlusion_breakdown(scores)
    assert [row.group for row in rows] == ["all", "area <= 0", "area <= 50", "area <= 100"]
    assert [row.frames for row in rows] == [6, 1, 3, 5]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(0, 2))
def test_occlusions_equal_a_plain_search(areas, threshold):
    """Occluded runs, found by looking at every pair of ends."""
    hidden = [area <= threshold for area in areas]
    runs = [
        (start, end)
        for start in range(1, len(areas))
        for end in range(start + 1, len(areas))
        if all(hidden[start:end]) and not hidden[end] and (start == 1 or not hidden[start - 1])
    ]
    score = make_score([0.0] * (len(areas) - 1), areas)
    lengths = [end - start for start, end in runs]
    assert occlusion_histogram([score], threshold) == {n: lengths.count(n) for n in sorted(set(lengths))}
    row = occlusion_breakdown([score], thresholds=[threshold])[1]
    assert row.frames == (len(areas) - runs[0][1] if runs else 0)


def test_length_histogram():
    assert length_histogram([make_score([1.0] * 4), make_score([1.0] * 4), make_score([])]) == {1: 1, 5: 2}


def test_breakdowns_in_an_evaluation(tmp_path):
    annotations = [square(5, 5, 12) if t not in (8, 9) else square(0, 0, 0) for t in range(26)]
    results = [square(5, 5, 12) if t < 10 else square(5, 5, 6) for t in range(26)]
    write_sequence(tmp_path / "annotations" / "a", annotations)
    write_sequence(tmp_path / "results" / "a", results)
    report = evaluate(tmp_path / "results", tmp_path / "annotations", breakdown=("length", "occlusion"))
    rows = {row.group: row for row in report.breakdowns}
    assert rows["t < 10"].region == pytest.approx(7 / 9)
    assert rows["t > 20"].frames == 4  # t = 21 to 24; the last frame does not count
    assert rows["t > 20"].region == rows["area <= 0"].region == 0.25
    assert rows["area <= 0"].frames == 15
    assert rows["all"].frames == 24
    assert "t > 20" in report.table()
