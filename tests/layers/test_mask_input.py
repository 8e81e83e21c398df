"""The mask channels of value encoders."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.layers import object_channels


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 3), objects=st.integers(1, 6), seed=st.integers(0, 99))
def test_own_mask_and_sum_of_the_others(batch, objects, seed):
    probabilities = torch.rand(batch, objects, 2, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    channels = object_channels(probabilities)
    assert channels.shape == (batch * objects, 2, 2, 3)
    for clip in range(batch):
        for index in range(objects):
            others = [probabilities[clip, other] for other in range(objects) if other != index]
            own, rest = channels[clip * objects + index]
            assert torch.equal(own, probabilities[clip, index])
            torch.testing.assert_close(rest, sum(others, torch.zeros(2, 3, dtype=torch.float64)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_object_has_no_others(dtype):
    channels = object_channels(torch.rand(2, 1, 4, 4).to(dtype))
    assert not channels[:, 1].any()


def test_the_sum_is_not_clamped():
    assert object_channels(torch.ones(1, 4, 1, 1))[:, 1].flatten().tolist() == [3.0] * 4
