"""The moving average of the weights that TSN's Swin-B is trained with."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.models.tsn.averaging import RampedWeightAveraging


@pytest.mark.parametrize(("steps", "decay"), [(0, 0.1), (90, 0.91), (10**7, 0.99995)])
def test_averaging_starts_fast(steps, decay):
    callback = RampedWeightAveraging()
    averaged = callback._average(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(steps))
    assert averaged.item() == pytest.approx(decay)
