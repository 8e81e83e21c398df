import math
import warnings

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from testing import official_definition
from vos_zoo.errors import ConfigError, ShapeError
from vos_zoo.metrics.functional import (
    Statistics,
    boundary_accuracy,
    boundary_map,
    boundary_radius,
    disk,
    region_similarity,
    score_objects,
    score_statistics,
)

EXACT = 1e-9  # both sides count pixels; only the order of a few float operations differs

shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))


@st.composite
def mask_pairs(draw):
    """Two masks of one shape: noise, or sparse points, or blocks, so that all paths of the matching are met."""
    shape = draw(shapes)
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def one():
        density = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.95, 1.0]))
        grain = draw(st.sampled_from([1, 1, 4, 9]))
        coarse = generator.random((shape[0] // grain + 1, shape[1] // grain + 1)) < density
        return np.kron(coarse, np.ones((grain, grain), bool))[: shape[0], : shape[1]]

    return one(), one(), draw(st.one_of(st.none(), st.just(generator.random(shape) < 0.2)))


@settings(max_examples=150, deadline=None)
@given(mask_pairs(), st.sampled_from([0, 0.008, 0.05, 0.2, 1, 3, 7]))
def test_scores_equal_the_definition(pair, bound):
    prediction, annotation, void = pair
    as_floats = [None if mask is None else mask.astype(np.float64) for mask in pair]
    expected_f = official_definition.f_measure(*as_floats, bound=bound)
    assert region_similarity(prediction, annotation, void=void) == pytest.approx(
        official_definition.jaccard(*as_floats), abs=EXACT
    )
    assert boundary_accuracy(prediction, annotation, void=void, bound=bound) == pytest.approx(expected_f, abs=EXACT)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, st.shared(shapes, key="shape"), elements=st.sampled_from([0, 1, 2, 3])),
    hnp.arrays(np.uint8, st.shared(shapes, key="shape"), elements=st.sampled_from([0, 1, 2, 255])),
    st.sampled_from([np.uint8, np.int32, np.int64, np.uint16]),
)
def test_many_objects_score_like_each_alone(prediction, annotation, dtype):
    scores = score_objects(prediction.astype(dtype), annotation.astype(dtype), [1, 2, 8], bound=0.1)
    void = annotation == 255
    for index, object_id in enumerate([1, 2, 8]):
        pair = (prediction == object_id, annotation == object_id)
        assert scores.region[index] == region_similarity(*pair, void=void)
        assert scores.boundary[index] == boundary_accuracy(*pair, void=void, bound=0.1)
        assert scores.area[index] == (annotation == object_id).sum()


@pytest.mark.parametrize("offset", [(0, 0), (3, 5), (-9, 4), (40, -60), (200, 300)])
def test_large_frames_equal_the_definition(offset):
    annotation = np.zeros((480, 854), np.uint8)
    cv2.circle(annotation, (300, 200), 90, 1, -1)
    cv2.circle(annotation, (853, 479), 60, 1, -1)
    prediction = np.roll(annotation, offset, axis=(0, 1))
    cv2.ellipse(prediction, (320, 210), (100, 10), 20, 0, 360, 1, -1)
    expected = official_definition.f_measure(prediction.astype(np.float64), annotation.astype(np.float64))
    assert boundary_accuracy(prediction, annotation) == pytest.approx(expected, abs=EXACT)


def test_scattered_points_far_from_a_dense_mask():
    # Many points without a near target leave the look-up of the rim for the whole disk.
    annotation = np.zeros((120, 160), np.uint8)
    annotation[::2, ::2] = 1
    annotation[:, 60:] = 0
    prediction = np.zeros_like(annotation)
    prediction[60, 64] = 1
    expected = official_definition.f_measure(prediction.astype(np.float64), annotation.astype(np.float64), bound=0.04)
    assert 0 < expected < 1
    assert boundary_accuracy(prediction, annotation, bound=0.04) == pytest.approx(expected, abs=EXACT)


def test_a_mask_moved_within_the_tolerance_is_accurate_and_beyond_it_is_not():
    annotation = np.zeros((100, 100), bool)
    annotation[40:60, 40:60] = True
    assert boundary_accuracy(np.roll(annotation, 2, axis=1), annotation, bound=2) == 1.0
    assert boundary_accuracy(np.roll(annotation, 3, axis=1), annotation, bound=2) < 1.0


def test_diagonal_moves_follow_the_disk_and_not_the_square():
    annotation, prediction = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    annotation[5, 5] = prediction[8, 8] = True  # 3 down, 3 right: 4.2 pixels away
    assert boundary_accuracy(prediction, annotation, bound=4) < 1.0
    assert boundary_accuracy(prediction, annotation, bound=5) == 1.0


@pytest.mark.parametrize(
    ("prediction", "annotation", "region", "boundary"),
    [
        pytest.param(0, 0, 1.0, 1.0, id="both-empty"),
        pytest.param(1, 0, 0.0, 0.0, id="nothing-annotated"),
        pytest.param(0, 1, 0.0, 0.0, id="nothing-predicted"),
        pytest.param(1, 1, 1.0, 1.0, id="equal"),
    ],
)
def test_empty_masks(prediction, annotation, region, boundary):
    block = np.zeros((12, 12), np.uint8)
    block[3:8, 3:8] = 1
    masks = (block * prediction, block * annotation)
    assert region_similarity(*masks) == region
    assert boundary_accuracy(*masks) == boundary


def test_masks_without_boundary_agree_though_their_regions_do_not():
    # A mask that fills the frame has no boundary, nor has an empty one: F = 1 and J = 0, as the definition has it.
    full, empty = np.ones((6, 6), bool), np.zeros((6, 6), bool)
    assert boundary_accuracy(full, empty) == 1.0
    assert region_similarity(full, empty) == 0.0


def test_void_pixels_count_for_neither_mask():
    annotation, prediction, void = (np.zeros((10, 10), bool) for _ in range(3))
    annotation[2:5, 2:5] = True
    prediction[2:5, 2:8] = True
    void[:, 5:] = True
    assert region_similarity(prediction, annotation) == 0.5
    assert region_similarity(prediction, annotation, void=void) == 1.0
    assert boundary_accuracy(prediction, annotation, void=void) == 1.0


def test_tensors_and_arrays_score_alike():
    generator = np.random.default_rng(0)
    prediction, annotation = generator.random((2, 30, 40)) < 0.3
    tensors = [torch.from_numpy(mask).requires_grad_(False) for mask in (prediction, annotation)]
    assert region_similarity(*tensors) == region_similarity(prediction, annotation)
    assert boundary_accuracy(*tensors) == boundary_accuracy(prediction, annotation)
    probabilities = torch.from_numpy(prediction.astype(np.float32)).requires_grad_()
    assert region_similarity(probabilities, annotation) == region_similarity(prediction, annotation)


def test_scores_are_plain_floats():
    mask = np.ones((4, 4), bool)
    assert type(region_similarity(mask, mask)) is float
    assert type(boundary_accuracy(mask, mask)) is float


@pytest.mark.parametrize("score", [region_similarity, boundary_accuracy])
@pytest.mark.parametrize(
    ("shape", "other"),
    [((4, 4), (4, 5)), ((2, 4, 4), (2, 4, 4)), ((4,), (4,)), ((0, 4), (0, 4))],
    ids=["sizes-differ", "several-frames", "flat", "no-pixels"],
)
def test_wrong_shapes_are_refused(score, shape, other):
    with pytest.raises(ShapeError, match=r"Expected .*\(H, W\)"):
        score(np.zeros(shape), np.zeros(other))


def test_score_objects_refuses_maps_of_different_sizes():
    with pytest.raises(ShapeError, match=r"\(3, 3\).*\(3, 4\)"):
        score_objects(np.zeros((3, 3), np.uint8), np.zeros((3, 4), np.uint8), [1])


def test_score_objects_leaves_out_what_is_not_wanted():
    ids = np.ones((3, 3), np.uint8)
    assert np.isnan(score_objects(ids, ids, [1], boundary=False).boundary).all()
    assert np.isnan(score_objects(ids, ids, [1], region=False).region).all()


def test_score_objects_leaves_its_input_alone():
    prediction, annotation = np.ones((5, 5), np.uint8), np.full((5, 5), 255, np.uint8)
    score_objects(prediction, annotation, [1])
    assert (prediction == 1).all()
    assert (annotation == 255).all()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(bool, shapes))
def test_boundary_map_equals_the_definition(mask):
    expected = official_definition.boundary(mask.astype(np.float64))
    np.testing.assert_array_equal(boundary_map(mask), expected.astype(bool))
    np.testing.assert_array_equal(official_definition.boundary_by_shifts(mask.astype(np.float64)), expected)


@pytest.mark.parametrize(
    ("shape", "bound", "radius"),
    [((480, 854), 0.008, 8), ((300, 400), 0.008, 4), ((1080, 1920), 0.008, 18), ((10, 10), 3, 3), ((10, 10), 0, 0)],
)
def test_boundary_radius(shape, bound, radius):
    assert boundary_radius(shape, bound) == radius == official_definition.radius(shape, bound)


@pytest.mark.parametrize("bound", [-0.1, 1.5, math.nan, math.inf])
def test_meaningless_tolerances_are_refused(bound):
    with pytest.raises(ConfigError, match="boundary tolerance"):
        boundary_radius((10, 10), bound)


@pytest.mark.parametrize("radius", range(12))
def test_disk_holds_the_pixels_within_the_radius(radius):
    size = 2 * radius + 1
    expected = [[math.hypot(y - radius, x - radius) <= radius for x in range(size)] for y in range(size)]
    np.testing.assert_array_equal(disk(radius), expected)


@pytest.mark.parametrize("count", [*range(1, 40), 68, 255, 256])
def test_statistics_equal_the_definition(count):
    scores = np.random.default_rng(count).random(count)
    found = score_statistics(scores)
    np.testing.assert_allclose(
        (found.mean, found.recall, found.decay), official_definition.statistics(scores), atol=EXACT
    )


@pytest.mark.parametrize(
    ("count", "first", "last"),
    # Written out by hand: 1-based positions round(linspace(1, N, 5)), halves up.
    [(1, [0], [0]), (2, [0], [1]), (3, [0, 1], [2]), (4, [0, 1], [2, 3]), (5, [0, 1], [3, 4]), (7, [0, 1, 2], [5, 6])],
)
def test_decay_compares_these_frames(count, first, last):
    for index in range(count):
        scores = np.zeros(count)
        scores[index] = 1.0
        expected = (index in first) / len(first) - (index in last) / len(last)
        assert score_statistics(scores).decay == pytest.approx(expected, abs=EXACT)


def test_decay_does_not_wrap_round_in_long_sequences():
    scores = np.linspace(1.0, 0.0, 1001)
    assert score_statistics(scores).decay == pytest.approx(0.75, abs=1e-3)


def test_recall_counts_scores_above_one_half_only():
    assert score_statistics([0.5, 0.5, 0.50001, 1.0]).recall == 0.5


def test_statistics_of_nothing_are_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = score_statistics([])
    assert all(math.isnan(value) for value in (found.mean, found.recall, found.decay))
    assert isinstance(found, Statistics)
