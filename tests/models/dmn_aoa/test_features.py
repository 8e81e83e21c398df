"""Boxes, labels and the temporal embedding of DMN-AOA."""

import numpy as np
import pytest
import torch

from vos_zoo.models.dmn_aoa.features import fit_boxes, label_masks, temporal_embedding, tight_boxes


def test_the_temporal_embedding_is_sinusoidal():
    found = temporal_embedding(7, 512, torch.zeros((), dtype=torch.float64)).flatten()
    for channel in (0, 1, 100, 511):
        angle = 7 / 10_000 ** ((channel - channel % 2) / 512)
        assert found[channel].item() == pytest.approx(np.cos(angle) if channel % 2 else np.sin(angle), abs=1e-5)


def test_labels_and_boxes():
    probabilities = torch.zeros(1, 2, 20, 30)
    probabilities[0, 0, 2:5, 3:9] = 0.9
    probabilities[0, 1, 2:5, 3:6] = 0.05
    seen = label_masks(probabilities)
    boxes, valid = tight_boxes(seen)
    assert boxes[0].tolist() == [[3, 2, 9, 5], [0, 0, 0, 0]]
    assert valid.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([10, 10, 40, 50], [10, 10, 40, 50]),
        ([10, 20, 12, 22], [3, 13, 19, 29]),  # grown to 16 pixels
        ([0, 0, 2, 2], [0, 0, 9, 9]),  # and clipped
        ([90, 50, 130, 80], [90, 50, 100, 60]),
    ],
)
def test_boxes_fit_the_frame(box, expected):
    assert fit_boxes(torch.tensor([box], dtype=torch.float32), (60, 100)).tolist() == [expected]
