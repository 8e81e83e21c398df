from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from testing.annotations import masks_in, opened
from vos_zoo.errors import MaskError
from vos_zoo.media.mask_values import davis_palette

SIZE = (8, 10)
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def picture(*colours, ground=(0, 0, 0)) -> Image.Image:
    """A block of 3x3 pixels for every colour."""
    pixels = np.full((*SIZE, len(ground)), ground, np.uint8)
    for place, colour in enumerate(colours):
        pixels[1:4, 3 * place : 3 * place + 3] = colour
    return Image.fromarray(pixels)


def blocks(mask) -> list[int]:
    return [int(mask[2, 3 * place + 1]) for place in range(3)]


def test_colours_become_ids_that_are_the_same_in_all_frames(tmp_path, caplog):
    caplog.set_level("INFO")
    picture(GREEN, RED).save(tmp_path / "00000.png")
    picture(RED, WHITE, GREEN).save(tmp_path / "00001.png")
    found = masks_in(tmp_path, size=SIZE)
    assert blocks(found["00000"]) == [1, 2, 0]
    assert blocks(found["00001"]) == [2, 3, 1]
    assert caplog.text.count("1 is colour #00ff00, 2 is colour #ff0000, 3 is colour #ffffff") == 1


def test_one_image_belongs_to_the_first_frame_whatever_its_name(tmp_path):
    picture(RED).save(tmp_path / "mask 7.png")
    assert list(masks_in(tmp_path / "mask 7.png", size=SIZE)) == ["00000"]


def test_transparent_pixels_are_background(tmp_path):
    picture((*RED, 255), (0, 0, 200, 40), (*WHITE, 200), ground=(9, 9, 9, 0)).save(tmp_path / "m.png")
    assert blocks(masks_in(tmp_path / "m.png", size=SIZE)["00000"]) == [1, 0, 2]


def test_colours_of_the_davis_palette_are_their_ids(tmp_path):
    palette = davis_palette()
    picture(*(tuple(palette[number]) for number in (3, 1, 200))).save(tmp_path / "m.png")
    assert blocks(masks_in(tmp_path / "m.png", size=SIZE)["00000"]) == [3, 1, 200]


def test_grey_levels_in_three_channels_are_ids(tmp_path):
    picture((1, 1, 1), (2, 2, 2), (7, 7, 7)).save(tmp_path / "m.png")
    assert blocks(masks_in(tmp_path / "m.png", size=SIZE)["00000"]) == [1, 2, 7]


def test_black_and_white_in_three_channels_is_one_object(tmp_path):
    picture(WHITE).save(tmp_path / "m.png")
    assert blocks(masks_in(tmp_path / "m.png", size=SIZE)["00000"]) == [1, 0, 0]


def test_a_background_that_is_not_black_is_asked_for(tmp_path):
    picture(RED, GREEN, ground=WHITE).save(tmp_path / "m.png")
    with pytest.raises(MaskError, match=r"two ways: the colour #ffffff.*--background ffffff.*--background none"):
        opened(tmp_path / "m.png", size=SIZE)
    assert blocks(masks_in(tmp_path / "m.png", size=SIZE, background="ffffff")["00000"]) == [2, 1, 0]
    every = masks_in(tmp_path / "m.png", size=SIZE, background="none")["00000"]
    assert sorted(set(every.ravel())) == [1, 2, 3]


def test_pictures_and_smooth_edges_are_refused(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    with pytest.raises(MaskError, match="looks like an image"):
        opened(tmp_path / "photo.png")
    disc = Image.new("RGB", (60, 60))
    disc.paste(RED, (20, 20, 40, 40))
    disc.filter(ImageFilter.GaussianBlur(1.5)).save(tmp_path / "smooth.png")
    with pytest.raises(MaskError, match="anti-aliased"):
        opened(tmp_path / "smooth.png", size=(60, 60))


def test_jpeg_is_refused(tmp_path):
    picture(RED).save(tmp_path / "m.jpg")
    with pytest.raises(MaskError, match="JPEG"):
        opened(tmp_path / "m.jpg", size=SIZE)


def test_a_damaged_image_is_named(tmp_path):
    picture(RED).save(tmp_path / "m.png")
    (tmp_path / "m.png").write_bytes((tmp_path / "m.png").read_bytes()[:60])
    with pytest.raises(MaskError, match=r"m\.png"):
        opened(tmp_path / "m.png", size=SIZE)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(colours=st.lists(st.tuples(*[st.integers(0, 255)] * 3).filter(any), min_size=1, max_size=3, unique=True))
def test_every_colour_is_an_object_of_its_own(tmp_path, colours):
    picture(*colours).save(tmp_path / "m.png")
    found = blocks(masks_in(tmp_path / "m.png", size=SIZE)["00000"])
    assert 0 not in found[: len(colours)]
    assert len(set(found[: len(colours)])) == len(colours)
