"""Results are ordinary tensors, and masks are as small as their ids allow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vos_zoo import VideoSession
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.inference.result import id_type
from vos_zoo.models.rde import RDEModule
from vos_zoo.models.stcn import STCNModule

VIDEO = moving_shapes(4, 45, 61, num_objects=2, rng=3)


@pytest.fixture(params=[RDEModule, STCNModule], scope="module")
def module(request):
    torch.manual_seed(0)
    return request.param("tiny").eval()


def run(module, change=None, **options):
    session = VideoSession(module, **options)
    results = []
    for frame, mask in zip(VIDEO.frames, [VIDEO.masks[0], None, None, None], strict=True):
        results.append(session.step(frame, mask))
        if change is not None:
            change(results[-1])
    return results


def test_results_take_part_in_autograd(module):
    for result in run(module):
        assert not result.probabilities.is_inference()
        probabilities = result.probabilities.requires_grad_()
        (probabilities[1:] ** 2).sum().backward()
        assert torch.equal(probabilities.grad[1:], 2 * probabilities.detach()[1:])


@pytest.mark.parametrize("size", [None, 32])
def test_changing_a_result_changes_nothing_that_comes(module, size):
    def spoil(result):
        result.probabilities.zero_()
        result.mask[:] = 0

    expected = run(module, size=size)
    session, spoilt = VideoSession(module, size=size), []
    for frame, mask in zip(VIDEO.frames, [VIDEO.masks[0], None, None, None], strict=True):
        result = session.step(frame, mask)
        spoilt.append((result.mask.copy(), result.probabilities.clone()))
        spoil(result)
    for result, (mask, probabilities) in zip(expected, spoilt, strict=True):
        assert (result.mask == mask).all()
        assert torch.equal(result.probabilities, probabilities)


def test_a_session_inside_of_inference_mode_gives_ordinary_tensors(module):
    with torch.inference_mode():
        results = run(module)
    assert not any(result.probabilities.is_inference() for result in results)


def test_frames_before_the_first_mask_have_ordinary_results_too(module):
    result = VideoSession(module, size=32).step(VIDEO.frames[0])
    assert not result.probabilities.requires_grad_().is_inference()
    assert result.mask.dtype == np.uint8
    assert result.probabilities_at_frame_size().shape == (1, 45, 61)


@pytest.mark.parametrize("size", [None, 32])
def test_probabilities_at_frame_size_are_those_of_the_mask(module, size):
    for result in run(module, size=size)[1:]:
        enlarged = result.probabilities_at_frame_size()
        assert enlarged.dtype == torch.float32
        naive = F.interpolate(result.probabilities.double()[None], (45, 61), mode="bilinear")[0]
        torch.testing.assert_close(enlarged.double(), naive, atol=1e-6, rtol=0)
        torch.testing.assert_close(enlarged.sum(0), torch.ones(45, 61), atol=1e-5, rtol=0)
        labels = np.array([0, *result.object_ids])[enlarged.argmax(0).numpy()]
        assert (labels == result.mask).mean() > 0.999  # ties go either way
        enlarged.zero_()
    assert result.probabilities.sum() > 0


@pytest.mark.parametrize("model", [RDEModule])
def test_index_and_name_say_which_frame_it_is(model):
    results = run(model("tiny").eval())
    assert [(result.index, result.name) for result in results] == [(index, "") for index in range(4)]


def test_the_type_of_ids_is_the_smallest():
    assert [id_type([top]) for top in (1, 255, 256, 65535, 65536)] == [
        np.dtype(kind) for kind in (np.uint8, np.uint8, np.uint16, np.uint16, np.int32)
    ]
