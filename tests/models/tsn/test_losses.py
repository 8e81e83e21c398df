"""The mask IoU loss against its definition."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.models.tsn.losses import mask_iou_loss


def test_mask_iou_against_the_definition():
    torch.manual_seed(0)
    probabilities = torch.rand(2, 2, 5, 6, dtype=torch.float64)
    masks = torch.randint(0, 3, (2, 5, 6))
    valid = torch.tensor([[True, True], [True, False]])
    losses = []
    for clip, count in ((0, 2), (1, 1)):
        of_clip = []
        for plane in range(count):
            pairs = list(zip(probabilities[clip, plane].flatten(), masks[clip].flatten() == plane + 1, strict=True))
            smaller, larger = (sum(pick(p.item(), float(t)) for p, t in pairs) for pick in (min, max))
            of_clip.append(1 - smaller / larger)
        losses.append(sum(of_clip) / count)
    assert mask_iou_loss(probabilities, masks, valid).item() == pytest.approx(sum(losses) / 2, abs=1e-6)


def test_an_absent_object_that_is_not_predicted_costs_nothing():
    nothing = torch.zeros(1, 2, 4, 4)
    assert mask_iou_loss(nothing, torch.zeros(1, 4, 4), torch.tensor([[True, False]])).item() == 0
