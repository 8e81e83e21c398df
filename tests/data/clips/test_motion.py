from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.data.clips import motion
from vos_zoo.data.clips.motion import MotionRange
from vos_zoo.errors import ConfigError


def picture(height: int = 24, width: int = 24) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_identity_gives_the_picture_back():
    np.testing.assert_array_equal(motion.warp(picture(), np.eye(3), 24), picture())


def test_zero_displacement_equals_none():
    forward = motion.about_centre(motion.sample_motion(np.random.default_rng(3), 2, motion.PAPER_STATIC), 24)[1]
    plain = motion.warp(picture(), forward, 24).astype(int)
    warped = motion.warp(picture(), forward, 24, np.zeros((17, 17, 2))).astype(int)
    # The two OpenCV routines round sub-pixel positions to 1/32 pixel on their own.
    assert np.abs(plain - warped).max() <= 12


def test_translation_moves_pixels():
    moved = motion.warp(picture(), motion.translation(3, 5), 24, border=motion.BORDER_ZERO)
    np.testing.assert_array_equal(moved[5:, 3:], picture()[:-5, :-3])
    assert not moved[:5].any()


def test_displacement_is_looked_up_in_shares_of_the_side():
    displacement = np.zeros((17, 17, 2))
    displacement[..., 0] = 4 / 24
    moved = motion.warp(picture(), np.eye(3), 24, displacement)
    np.testing.assert_array_equal(moved[:, :-4], picture()[:, 4:])


def test_flip_about_the_right_edge():
    forward = motion.translation(23, 0) @ motion.scaling(-1, 1)
    np.testing.assert_array_equal(motion.warp(picture(), forward, 24), picture()[:, ::-1])


def test_oblong_output_shows_what_a_square_one_shows():
    displacement = np.full((17, 17, 2), 2 / 24)
    for shift in (None, displacement * [1, 2]):  # shares of a height that is half as large
        oblong = motion.warp(picture(), np.eye(3), (12, 24), shift)
        square = motion.warp(picture(), np.eye(3), 24, None if shift is None else displacement)
        assert oblong.shape == (12, 24, 3)
        np.testing.assert_array_equal(oblong, square[:12])


def test_rotation_of_an_oblong_frame_keeps_angles():
    ranges = MotionRange(rotation=40, is_chained=False)
    for matrix in motion.about_centre(motion.sample_motion(np.random.default_rng(0), 3, ranges), (48, 96)):
        np.testing.assert_allclose(matrix[:2, :2] @ matrix[:2, :2].T, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(matrix @ [47.5, 23.5, 1], [47.5, 23.5, 1], atol=1e-9)


def test_motion_about_the_centre_keeps_the_centre():
    for matrix in motion.about_centre(motion.sample_motion(np.random.default_rng(0), 5, MotionRange(20, 0.2, 10)), 64):
        np.testing.assert_allclose(matrix @ [31.5, 31.5, 1], [31.5, 31.5, 1], atol=1e-9)


def test_chained_motion_starts_at_rest():
    matrices = motion.sample_motion(np.random.default_rng(0), 4, motion.CHAINED_STATIC)
    np.testing.assert_allclose(matrices[0], np.eye(3), atol=1e-12)
    assert not np.allclose(matrices[1], np.eye(3))


@given(seed=st.integers(0, 10_000))
def test_independent_motion_stays_in_range(seed):
    ranges = MotionRange(rotation=20, scale=0.1, shear=10, translation=0.05, is_chained=False)
    for matrix in motion.sample_motion(np.random.default_rng(seed), 3, ranges):
        angle = np.arctan2(matrix[1, 0], matrix[0, 0])
        scale = np.hypot(matrix[0, 0], matrix[1, 0])
        assert abs(np.rad2deg(angle)) <= 20 + 1e-9
        assert np.exp(-0.1) - 1e-9 <= scale <= np.exp(0.1) + 1e-9
        rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # What is left without rotation and scale is a shear along x.
        shear = rotation.T @ matrix[:2, :2] / scale
        np.testing.assert_allclose(shear[:, 0], [1, 0], atol=1e-9)
        np.testing.assert_allclose(shear[1, 1], 1, atol=1e-9)
        assert abs(np.rad2deg(np.arctan(shear[0, 1]))) <= 10 + 1e-6
        assert np.abs(matrix[:2, 2]).max() <= 0.05


@given(seed=st.integers(0, 10_000))
def test_chained_steps_are_bounded(seed):
    # Velocity starts within 1 and becomes 0.7 v + 0.3 u with |u| <= 1.5, so it never passes 1.5 widths per frame.
    ranges = MotionRange(translation=0.1)
    path = motion.sample_motion(np.random.default_rng(seed), 6, ranges)[:, :2, 2]
    assert np.abs(np.diff(path, axis=0)).max() <= 0.15 + 1e-9


def test_thin_plate_passes_through_its_control_points():
    knots = np.array([[0, 0], [4, 2], [8, 12], [16, 16], [2, 14], [13, 3]]) / 16
    moved = np.random.default_rng(0).normal(0, 0.02, knots.shape)
    grid = motion.thin_plate_grid(knots, moved)
    columns, rows = (knots * 16).astype(int).T
    # The kernel's diagonal is loosened by 1e-6.
    np.testing.assert_allclose(grid[rows, columns], moved, atol=1e-4)


def test_thin_plate_reproduces_affine_displacements():
    points = np.random.default_rng(1).random((12, 2))
    linear = np.array([[0.02, -0.01], [0.03, 0.05]])
    grid = motion.thin_plate_grid(points, points @ linear.T + 0.01, size=5)
    knots = np.linspace(0, 1, 5)
    expected = np.stack(np.meshgrid(knots, knots), axis=-1) @ linear.T + 0.01
    np.testing.assert_allclose(grid, expected, atol=1e-8)


@given(seed=st.integers(0, 10_000))
def test_displacements_are_bounded_even_for_coinciding_points(seed):
    rng = np.random.default_rng(seed)
    points = np.repeat(rng.random((6, 2)), 2, axis=0) + rng.normal(0, 1e-9, (12, 2))
    assert np.abs(motion.thin_plate_grid(points, rng.normal(0, 0.02, (12, 2)))).max() <= 0.2


@pytest.mark.parametrize("is_chained", [True, False])
def test_warp_probability_one_warps_every_later_frame(is_chained):
    ranges = MotionRange(warp_probability=1, is_chained=is_chained)
    warps = motion.sample_warps(np.random.default_rng(0), 4, ranges)
    assert (warps[0] is None) == is_chained
    assert all(warp is not None for warp in warps[1:])


def test_without_warps_nothing_is_displaced():
    assert motion.sample_warps(np.random.default_rng(0), 3, MotionRange()) == [None] * 3


def test_four_channels_are_one_warp():
    planes = np.dstack([picture(), picture()[..., :1]])
    forward = motion.translation(0.5, 0.25)
    together = motion.warp(planes, forward, 24)
    np.testing.assert_array_equal(together[..., 3], motion.warp(planes[..., 3].copy(), forward, 24))
    assert cv2.split(together)[0].shape == (24, 24)


def test_shared_motion_moves_all_frames_alike():
    ranges = MotionRange(rotation=20, scale=0.25, warp_probability=0.5, is_chained=False, is_shared=True)
    drawn = [np.random.default_rng(seed) for seed in range(20)]
    matrices = [motion.sample_motion(rng, 4, ranges) for rng in drawn]
    for clip in matrices:
        np.testing.assert_array_equal(clip, np.repeat(clip[:1], 4, axis=0))
    assert len({clip[0, 0, 0] for clip in matrices}) == 20
    warps = [motion.sample_warps(rng, 4, ranges) for rng in drawn]
    assert all(warp is clip[0] for clip in warps for warp in clip)
    assert 0 < sum(clip[0] is not None for clip in warps) < 20


def test_motion_is_not_chained_and_shared():
    with pytest.raises(ConfigError, match="chained and shared"):
        MotionRange(is_shared=True)


@given(seed=st.integers(0, 10_000))
def test_zoom_is_steady_and_bounded(seed):
    matrices = motion.sample_motion(np.random.default_rng(seed), 5, MotionRange(zoom=3))
    sizes = np.log(matrices[:, 0, 0])
    np.testing.assert_allclose(matrices[:, 0, 0], matrices[:, 1, 1])
    np.testing.assert_allclose(matrices[:, [0, 1], [1, 0]], 0)
    np.testing.assert_allclose(np.diff(sizes), sizes[1], atol=1e-9)
    assert abs(sizes[-1]) <= np.log(3) + 1e-9


def test_zoom_grows_as_often_as_it_shrinks():
    last = [motion.sample_motion(np.random.default_rng(seed), 3, MotionRange(zoom=3))[-1, 0, 0] for seed in range(400)]
    assert min(last) < 0.4
    assert max(last) > 2.5
    # Binomial(400, 0.5): standard deviation 10, five of them.
    assert abs(np.sum(np.array(last) > 1) - 200) < 50


@given(seed=st.integers(0, 10_000))
def test_stretch_keeps_the_area(seed):
    matrices = motion.sample_motion(np.random.default_rng(seed), 4, MotionRange(stretch=1.5))
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    aspect = np.log(matrices[:, 0, 0] / matrices[:, 1, 1])
    np.testing.assert_allclose(np.diff(aspect), aspect[1], atol=1e-9)
    assert abs(aspect[-1]) <= np.log(1.5) + 1e-9


def test_zoom_and_stretch_come_on_top_of_the_other_motion():
    ranges = {"rotation": 12, "scale": 0.08, "shear": 5, "translation": 0.06}
    plain = motion.sample_motion(np.random.default_rng(3), 4, MotionRange(**ranges))
    both = motion.sample_motion(np.random.default_rng(3), 4, MotionRange(**ranges, zoom=2, stretch=1.5))
    change = np.linalg.inv(plain) @ both
    np.testing.assert_allclose(change[:, [0, 1], [1, 0]], 0, atol=1e-12)  # only the lengths of the axes differ
    np.testing.assert_allclose(change[0], np.eye(3), atol=1e-12)
    assert abs(np.log(change[-1, 0, 0])) <= np.log(2) + np.log(1.5) / 2


@pytest.mark.parametrize("factors", [{"zoom": 0.5}, {"stretch": 0}])
def test_factors_below_one(factors):
    with pytest.raises(ConfigError, match="at least 1"):
        MotionRange(**factors)
