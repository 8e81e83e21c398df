"""Sizes, padding and the way back."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.inference import geometry as geometry_module
from vos_zoo.inference.geometry import FrameGeometry

CPU = torch.device("cpu")
SIDES = st.integers(1, 70)
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("frame", "size", "working", "padding"),
    [
        ((480, 854), 480, (480, 854), (5, 5, 0, 0)),
        ((480, 853), 480, (480, 853), (5, 6, 0, 0)),
        ((1080, 1920), 480, (480, 853), (5, 6, 0, 0)),
        ((1920, 1080), 480, (853, 480), (0, 0, 5, 6)),
        ((240, 320), 480, (320, 427), (2, 3, 0, 0)),
        ((360, 640), 480, (360, 640), (0, 0, 4, 4)),
        ((180, 320), 240, (240, 427), (2, 3, 0, 0)),
        ((100, 101), None, (100, 101), (5, 6, 6, 6)),
        ((1, 1), None, (1, 1), (7, 8, 7, 8)),
        ((64, 4096), 480, (120, 7680), (0, 0, 4, 4)),
        ((32768, 1080), 480, (5288, 174), (1, 1, 4, 4)),
        ((64, 4096), None, (64, 4096), (0, 0, 0, 0)),
    ],
)
def test_sizes(frame, size, working, padding):
    geometry = FrameGeometry.fit(frame, size, 16)
    assert (geometry.working_size, geometry.padding) == (working, padding)


@given(SIDES, SIDES, st.none() | st.integers(1, 100), st.sampled_from([1, 8, 16, 32]))
def test_padding_is_the_least_and_even(height, width, size, stride):
    geometry = FrameGeometry.fit((height, width), size, stride)
    if size is None:
        assert geometry.working_size == (height, width)
    elif max(height, width) <= 4 * min(height, width):
        assert min(geometry.working_size) == size
    else:
        assert min(geometry.working_size) <= size
        assert min(geometry.working_size) == 1 or np.prod([side - 0.5 for side in geometry.working_size]) <= 4 * size**2
    left, right, top, bottom = geometry.padding
    assert 0 <= right - left <= 1
    assert 0 <= bottom - top <= 1
    for padded, working in zip(geometry.padded_size, geometry.working_size, strict=True):
        assert padded % stride == 0
        assert 0 <= padded - working < stride


@given(SIDES, SIDES, st.integers(0, 2**32 - 1))
def test_padding_goes_and_comes_back(height, width, seed):
    geometry = FrameGeometry.fit((height, width), None, 16)
    mask = np.random.default_rng(seed).choice([0, 7, 300], (height, width))
    planes = geometry.to_planes(mask, [7, 300], CPU)
    assert planes.shape == (1, 2, *geometry.padded_size)
    assert planes.sum() == (mask != 0).sum()  # nothing but zeros around
    back = geometry.crop(planes)[0]
    assert (back.numpy() == np.stack([mask == 7, mask == 300])).all()
    assert torch.equal(geometry.to_frame(back[0]), back[0])
    assert torch.equal(geometry.blank_padding(planes), planes)


def test_the_padding_alone_is_blanked():
    geometry = FrameGeometry.fit((3, 18), None, 16)
    blanked = geometry.blank_padding(torch.ones(1, 2, 16, 32))
    assert blanked.shape == (1, 2, 16, 32)
    assert (blanked[:, :, 6:9, 7:25] == 1).all()
    assert blanked.sum() == 2 * 3 * 18


@pytest.mark.parametrize("pad_first", [False, True])
@pytest.mark.parametrize("size", [(33, 47), (16, 32), (1, 70)])
def test_images_are_normalised_and_padded(size, pad_first):
    geometry = FrameGeometry.fit(size, None, 16)
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = geometry.to_image(frame, CPU, pad_first=pad_first)
    assert image.shape == (1, 3, *geometry.padded_size)
    assert image.dtype == torch.float32
    left, _, top, _ = geometry.padding
    border = -MEAN / STD if pad_first else np.zeros(3)
    expected = np.broadcast_to(border, (*geometry.padded_size, 3)).copy()
    expected[top : top + size[0], left : left + size[1]] = (frame / 255 - MEAN) / STD
    np.testing.assert_allclose(image[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_mask_scaled_by_whole_numbers_keeps_its_shape(factor):
    mask = np.random.default_rng(0).integers(0, 3, (16, 32))
    geometry = FrameGeometry.fit(mask.shape, 16 * factor, 16)
    planes = geometry.to_planes(mask, [1, 2], CPU)[0]
    enlarged = np.kron(mask, np.ones((factor, factor), int))
    assert (planes.numpy() == np.stack([enlarged == 1, enlarged == 2])).all()


@given(SIDES, SIDES, st.integers(1, 70))
def test_probabilities_stay_in_range_on_the_way_to_the_frame(height, width, size):
    geometry = FrameGeometry.fit((height, width), size, 16)
    if max(geometry.working_size) > 500:  # a thin frame
        return
    plane = torch.rand(geometry.working_size, generator=torch.Generator().manual_seed(0))
    resized = geometry.to_frame(plane)
    assert resized.shape == (height, width)
    assert plane.min() - 1e-6 <= resized.min()
    assert resized.max() <= plane.max() + 1e-6
    torch.testing.assert_close(geometry.to_frame(torch.full_like(plane, 0.25)), torch.full((height, width), 0.25))


def test_a_plane_is_enlarged_bilinearly_without_aligned_corners():
    geometry = FrameGeometry.fit((1, 4), 2, 1)
    geometry = FrameGeometry((1, 4), (1, 2), geometry.padding)
    # Centres of the four pixels lie at -0.25, 0.25, 0.75 and 1.25 of the two.
    assert geometry.to_frame(torch.tensor([[0.0, 1.0]])).tolist() == [[0.0, 0.25, 0.75, 1.0]]


@pytest.mark.parametrize("size", [16, 64])
def test_frames_are_resized_to_the_working_size(size):
    frame = np.full((32, 48, 3), 128, np.uint8)
    geometry = FrameGeometry.fit((32, 48), size, 16)
    image = geometry.crop(geometry.to_image(frame, CPU))
    assert tuple(image.shape[2:]) == geometry.working_size == (size, size * 3 // 2)
    np.testing.assert_allclose(image[0].mean(dim=(1, 2)).numpy(), (128 / 255 - MEAN) / STD, atol=1e-6)


def test_an_empty_list_of_ids_is_no_plane_of_a_mask_of_others():
    geometry = FrameGeometry.fit((16, 16), None, 16)
    planes = geometry.to_planes(np.full((16, 16), 9), [1], CPU)
    assert planes.sum() == 0


@pytest.mark.parametrize(
    ("frame", "size", "pixels", "message"),
    [
        ((2160, 3840), 480, 16, r"16 pixels large, about 0\.9x0\.9 of the 853x480 .*no size would keep it; cut"),
        ((2160, 3840), 480, 256, r"about 3\.6x3\.6 of the .*size=1088 \(`--size 1088`\) would keep it"),
        ((2160, 3840), 1088, 256, None),
        ((2160, 3840), (256, 448), 256, "about 1.9x1.9"),
        ((480, 854), 480, 64, None),
        ((480, 854), 480, 63, "no size would keep it"),
    ],
)
def test_objects_that_will_be_lost(frame, size, pixels, message):
    found = FrameGeometry.fit(frame, size, 16).describe_loss(pixels)
    assert found is None if message is None else re.search(message, found)


@pytest.mark.parametrize(
    ("frame", "size", "is_said"),
    [
        ((64, 4096), 480, True),
        ((1080, 32768), 480, True),
        ((64, 4096), None, False),
        ((64, 4096), (128, 1024), False),
        ((480, 1920), 480, False),
        ((480, 854), 480, False),
        ((1, 1), 480, False),
    ],
)
def test_strips_are_said(frame, size, is_said):
    found = FrameGeometry.fit(frame, size, 16).describe_bound(size)
    assert (found is not None) == is_said
    if is_said:
        assert f"{frame[1]}x{frame[0]} (width x height) are long strips" in found


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_default_type_of_the_first_call_does_not_stay(dtype):
    geometry_module._statistics.cache_clear()
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    geometry = FrameGeometry.fit((32, 48), None, 16)
    torch.set_default_dtype(dtype)
    try:
        first = geometry.to_image(frame, torch.device("cpu"))
    finally:
        torch.set_default_dtype(torch.float32)
    image = geometry.to_image(frame, torch.device("cpu"))
    assert first.dtype == image.dtype == torch.float32
    expected = (frame / 255 - MEAN) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(image[0].permute(1, 2, 0).numpy(), expected, atol=1e-5)
