"""Soft aggregation in NumPy against PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.layers import soft_aggregate
from vos_zoo.runtime.aggregation import aggregate, sigmoid


@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=5))
def test_it_is_the_softmax_of_the_aggregated_logits(planes):
    probabilities = np.array(planes, np.float32).reshape(len(planes), 2, 2)
    expected = soft_aggregate(torch.from_numpy(probabilities)[None]).softmax(1)[0].numpy()
    np.testing.assert_allclose(aggregate(probabilities), expected, atol=2e-6)


def test_a_sigmoid_of_any_logit():
    logits = np.array([-1e9, -50, -3, 0, 3, 50, 1e9], np.float32)
    expected = torch.from_numpy(logits).sigmoid().numpy()
    np.testing.assert_allclose(sigmoid(logits), expected, atol=1e-7)
