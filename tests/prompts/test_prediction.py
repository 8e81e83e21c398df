from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from vos_zoo.prompts import Box, Points, prompt_mask
from vos_zoo.prompts.check import check_prompts
from vos_zoo.prompts.network import PromptConfig, PromptNetwork
from vos_zoo.prompts.prediction import segment_by_network


class Recorder(nn.Module):
    """Stands in for the network: finds what is bright, and keeps what it was given."""

    stride = 32

    def __init__(self):
        super().__init__()
        self.config = PromptConfig.tiny()
        self.seen = []

    def forward(self, image, maps):
        self.seen.append((image, maps))
        return 20 * image.mean(dim=1, keepdim=True)


def scene(left, top, right, bottom, size=(300, 500)):
    frame = np.zeros((*size, 3), np.uint8)
    frame[top:bottom, left:right] = 255
    return frame, frame[..., 0] > 0


def iou(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.parametrize(
    ("place", "prompts", "looks"),
    [
        ((240, 140, 280, 180), [Box(1, 235, 138, 282, 181)], 1),
        ((240, 140, 280, 180), [Points(1, [(260, 160)])], 2),  # far, close
        ((20, 120, 480, 180), [Points(1, [(250, 150)])], 3),  # beyond the square: far, whole, close
        ((0, 0, 500, 300), [Points(1, [(250, 150)])], 3),
    ],
    ids=["box", "click", "click on something wide", "click on everything"],
)
def test_the_window_follows_the_object(place, prompts, looks):
    frame, truth = scene(*place)
    network = Recorder()
    mask = prompt_mask(frame, prompts, method=network) == 1
    assert len(network.seen) == looks
    assert iou(mask, truth) > 0.85
    image, maps = network.seen[-1]
    assert image.shape[0] == maps.shape[0] == 2
    torch.testing.assert_close(image[0], image[1].flip(-1))
    torch.testing.assert_close(maps[0], maps[1].flip(-1))


def test_nothing_far_from_the_box_is_found():
    frame, _ = scene(100, 100, 400, 200)
    mask = prompt_mask(frame, [Box(1, 240, 140, 280, 180)], method=Recorder()) == 1
    rows, columns = np.nonzero(mask)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx((232, 287, 132, 187), abs=3)
    # A point outside says that the object goes on.
    mask = prompt_mask(frame, [Box(1, 240, 140, 280, 180), Points(1, [(350, 150)])], method=Recorder()) == 1
    assert mask[150, 340]
    assert not mask[150, 200]


def test_the_last_look_knows_what_was_found_before():
    frame, _ = scene(240, 140, 280, 180)
    network = Recorder()
    prompt_mask(frame, [Points(1, [(260, 160)])], method=network)
    (_, first), (image, second) = network.seen
    assert not first[:, 3].any()
    assert ((second[0, 3] > 0) == (image[0, 0] > 0)).float().mean() > 0.9


def test_a_mask_to_be_corrected_is_shown():
    frame, truth = scene(240, 140, 280, 180)
    network = Recorder()
    previous = np.zeros(truth.shape, np.uint8)
    previous[140:180, 240:260] = 4
    mask = prompt_mask(frame, [Points(4, [(270, 160)])], method=network, previous=previous) == 4
    assert iou(mask, truth) > 0.85
    (_, maps) = network.seen[0]
    assert maps[0, 3].sum() > 0
    assert maps[0, 1].sum() > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (64, 64)])
def test_any_size_of_frame_has_an_answer(size):
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    (prompts,) = check_prompts([Points(1, [(0, 0)])], size)
    window, sureness = segment_by_network(PromptNetwork(PromptConfig.tiny()).eval(), frame, prompts, None)
    assert sureness.shape == (window.height, window.width)
    assert sureness.dtype == np.uint8
