from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from testing.videos import clip
from vos_zoo.errors import ConfigError, ShapeError
from vos_zoo.media.mask_values import davis_palette
from vos_zoo.media.overlay import contact_sheet, draw_heatmap, draw_overlay, write_image

SIZE = (24, 32)
FRAME = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def two_boxes(first=1, second=2):
    mask = np.zeros(SIZE, np.int64)
    mask[4:12, 4:16], mask[8:20, 16:28] = first, second
    return mask


@given(
    hnp.arrays(st.sampled_from([np.uint8, np.int32, np.int64]), SIZE, elements=st.integers(0, 255)),
    st.floats(0, 1, allow_subnormal=False),
)
def test_fill_is_a_weighted_mean(mask, alpha):
    drawn = draw_overlay(FRAME, mask, alpha=alpha, contours=False)
    expected = np.where((mask == 0)[..., None], FRAME, FRAME * (1 - alpha) + davis_palette()[mask] * alpha)
    assert np.abs(drawn - expected).max() <= 0.51  # rounding to whole levels


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int32])
def test_any_type_of_ids(dtype):
    mask = two_boxes(1, 1)
    np.testing.assert_array_equal(draw_overlay(FRAME, mask.astype(dtype)), draw_overlay(FRAME, mask))


def test_large_ids_begin_again_at_one():
    for large, small in ((256, 1), (257, 2), (510, 255), (511, 1), (65535, 255)):
        np.testing.assert_array_equal(
            draw_overlay(FRAME, two_boxes(large, 3)), draw_overlay(FRAME, two_boxes(small, 3))
        )


def test_inputs_stay_as_they_are():
    frame, mask = FRAME.copy(), two_boxes()
    draw_overlay(frame, mask)
    np.testing.assert_array_equal(frame, FRAME)
    np.testing.assert_array_equal(mask, two_boxes())


def test_views_are_drawn_like_copies():
    expected = draw_overlay(FRAME[:, ::-1].copy(), two_boxes()[:, ::-1].copy())
    np.testing.assert_array_equal(draw_overlay(FRAME[:, ::-1], two_boxes()[:, ::-1]), expected)


def test_contours_lie_inside_the_objects():
    mask = two_boxes()
    plain = draw_overlay(FRAME, mask, contours=False)
    drawn = draw_overlay(FRAME, mask)
    changed = (plain != drawn).any(2)
    padded = np.pad(mask, 1, mode="edge")
    neighbours = [
        padded[1 + row : 25 + row, 1 + column : 33 + column] for row, column in ((0, 1), (0, -1), (1, 0), (-1, 0))
    ]
    expected = (mask != 0) & np.any([mask != neighbour for neighbour in neighbours], axis=0)
    assert not changed[~expected].any()
    np.testing.assert_array_equal(drawn[expected], davis_palette()[mask[expected]] // 2 + 128)


def test_contours_grow_with_the_frame():
    mask = np.zeros((960, 960), np.uint8)
    mask[:, 480:] = 1
    drawn = draw_overlay(np.zeros((960, 960, 3), np.uint8), mask, alpha=0)
    assert np.flatnonzero(drawn[5].any(1)).tolist() == [480, 481]


def test_empty_masks_leave_the_frame():
    np.testing.assert_array_equal(draw_overlay(FRAME, np.zeros(SIZE, np.uint8)), FRAME)


@pytest.mark.parametrize(
    ("image", "mask", "options", "error"),
    [
        (FRAME, np.zeros((5, 5), np.uint8), {}, ShapeError),
        (FRAME, np.zeros(SIZE), {}, ShapeError),
        (FRAME[..., 0], np.zeros(SIZE, np.uint8), {}, ShapeError),
        (FRAME / 255, np.zeros(SIZE, np.uint8), {}, ShapeError),
        (FRAME, np.zeros(SIZE, np.uint8), {"palette": np.zeros((1, 3), np.uint8)}, ShapeError),
        (FRAME, np.zeros(SIZE, np.uint8), {"alpha": 1.5}, ConfigError),
    ],
)
def test_overlay_refuses(image, mask, options, error):
    with pytest.raises(error):
        draw_overlay(image, mask, **options)


# Heat maps


def test_heatmap_goes_from_violet_to_yellow():
    values = np.linspace(0, 1, SIZE[1])[None].repeat(SIZE[0], 0)
    drawn = draw_heatmap(np.zeros((*SIZE, 3), np.uint8), values, alpha=1)
    # Ends of the viridis colour map as its authors publish them: #440154 and #fde725.
    assert np.abs(drawn[0, 0].astype(int) - (0x44, 0x01, 0x54)).max() <= 2
    assert np.abs(drawn[0, -1].astype(int) - (0xFD, 0xE7, 0x25)).max() <= 2


def test_heatmap_limits_and_gaps():
    values = np.array([[0.0, np.nan], [np.inf, 0.5]], np.float32)
    drawn = draw_heatmap(FRAME, values, alpha=1, limits=(0, 0.5))
    np.testing.assert_array_equal(drawn[:12, 16:], FRAME[:12, 16:])
    np.testing.assert_array_equal(drawn[12:, :16], FRAME[12:, :16])
    np.testing.assert_array_equal(draw_heatmap(FRAME, np.full((3, 3), np.nan)), FRAME)
    np.testing.assert_array_equal(draw_heatmap(FRAME, np.full((3, 3), 7.0), alpha=0), FRAME)
    clipped = draw_heatmap(FRAME, np.array([[-3.0, 9.0]]), limits=(0, 1))
    np.testing.assert_array_equal(clipped, draw_heatmap(FRAME, np.array([[0.0, 1.0]])))


@pytest.mark.parametrize(
    ("values", "options", "error"),
    [
        (np.zeros((2, 2, 1)), {}, ShapeError),
        (np.zeros((0, 2)), {}, ShapeError),
        (np.zeros((2, 2)), {"alpha": -1}, ConfigError),
    ],
)
def test_heatmap_refuses(values, options, error):
    with pytest.raises(error):
        draw_heatmap(FRAME, values, **options)


# Contact sheets


@pytest.mark.parametrize(
    ("count", "columns", "grid"), [(1, 4, (1, 1)), (4, 4, (1, 4)), (5, 4, (2, 4)), (7, 3, (3, 3)), (2, 1, (2, 1))]
)
def test_contact_sheet_lays_tiles_in_rows(count, columns, grid):
    one = contact_sheet([("a", FRAME)], tile_width=64)
    gap = 6
    sheet = contact_sheet(((str(number), FRAME) for number in range(count)), columns, tile_width=64)
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] - gap == grid[0] * (one.shape[0] - gap)
    assert sheet.shape[1] - gap == grid[1] * (one.shape[1] - gap)


def test_contact_sheet_shows_pictures_and_labels():
    red, tall = np.full((*SIZE, 3), (255, 0, 0), np.uint8), np.full((90, 30, 3), (0, 255, 0), np.uint8)
    sheet = contact_sheet([("first", red), ("", tall)], tile_width=64)
    assert (sheet[6 : 6 + 48, 6 : 6 + 64] == (255, 0, 0)).all()
    second = sheet[6 : 6 + 48, 76 : 76 + 64]
    assert (second == (0, 255, 0)).all(2).sum() == 48 * 16  # fitted in height, keeping its shape
    label_strip = sheet[6 + 48 :]
    assert label_strip[:, :70].max() > 200
    assert label_strip[:, 76:].max() < 30


def test_contact_sheet_refuses():
    with pytest.raises(ShapeError, match="no images"):
        contact_sheet([])
    with pytest.raises(ShapeError, match="Expected RGB"):
        contact_sheet([("a", FRAME[..., 0])])
    for options in ({"columns": 0}, {"tile_width": 3}):
        with pytest.raises(ConfigError, match="expected at least"):
            contact_sheet([("a", FRAME)], **options)


# Files


@pytest.mark.parametrize(("name", "kind"), [("a.png", "PNG"), ("b/a.JPG", "JPEG"), ("a.webp", "WEBP")])
def test_write_image(tmp_path, name, kind):
    picture = clip(1)[0][:, ::-1]
    write_image(tmp_path / name, picture)
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
        assert np.asarray(image).shape == picture.shape
        if kind == "PNG":
            np.testing.assert_array_equal(np.asarray(image), picture)


def test_write_image_refuses(tmp_path):
    with pytest.raises(ConfigError, match="must end in"):
        write_image(tmp_path / "a.gif", FRAME)
    with pytest.raises(ShapeError, match="Expected RGB"):
        write_image(tmp_path / "a.png", FRAME[..., 0])
    assert not list(tmp_path.iterdir())
