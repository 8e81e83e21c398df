"""Frames and masks as graphs take them, against the tensors of a session with PyTorch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.runtime.geometry import ArrayGeometry
from vos_zoo.runtime.manifest import read_manifest


@pytest.fixture(scope="module")
def manifest(rde_graphs):
    return read_manifest(rde_graphs)


@pytest.mark.parametrize("pads_first", [False, True])
def test_arrays_are_what_tensors_are(manifest, pads_first):
    size, rng = (70, 111), np.random.default_rng(0)
    frame, mask = rng.integers(0, 256, (*size, 3), dtype=np.uint8), rng.integers(0, 3, size)
    ours, theirs = ArrayGeometry.of(size, None, manifest), FrameGeometry.fit(size, None, 16)
    assert (ours.padded_size, ours.padding) == (theirs.padded_size, theirs.padding)
    cpu = torch.device("cpu")
    image = ours.to_image(frame, replace(manifest, pads_before_normalisation=pads_first))
    np.testing.assert_allclose(image, theirs.to_image(frame, cpu, pad_first=pads_first).numpy(), atol=1e-6)
    planes = ours.to_planes(mask, [1, 2])
    assert (planes == theirs.to_planes(mask, [1, 2], cpu)[0].numpy()).all()
    assert (ours.blank_padding(planes + 1) == theirs.blank_padding(torch.from_numpy(planes + 1)).numpy()).all()


def test_small_frames_are_padded_to_the_least_that_graphs_take(manifest):
    geometry = ArrayGeometry.of((5, 90), None, manifest)
    assert geometry.padded_size == (64, 96)
    assert geometry.crop(np.zeros(geometry.padded_size)).shape == (5, 90)


@pytest.mark.parametrize("size", [(96, 160), (96, 159), (288, 513), (480, 854)])
def test_a_frame_of_the_fixed_size_keeps_every_pixel(manifest, size):
    padded = tuple(-(-side // 16) * 16 for side in size)
    assert ArrayGeometry.of(size, 480, replace(manifest, size=padded)).working_size == size


@pytest.mark.parametrize(
    ("frame", "working"),
    [((480, 854), (480, 854)), ((1080, 1920), (480, 853)), ((640, 480), (480, 360)), ((90, 90), (320, 320))],
)
def test_a_fixed_size_holds_every_shape_of_frame(manifest, frame, working):
    geometry = ArrayGeometry.of(frame, 480, replace(manifest, size=(480, 864)))
    assert geometry.padded_size == (480, 864)
    assert geometry.working_size == working
