"""Unrolling of training clips."""

from typing import NamedTuple

import torch

from vos_zoo.layers import soft_aggregate
from vos_zoo.training.unroll import aggregate_objects, object_planes, split_frames


class Features(NamedTuple):
    key: torch.Tensor
    skip: torch.Tensor


def test_a_batch_of_frames_is_split_by_time():
    key = torch.arange(6.0).view(6, 1, 1, 1)  # two clips of three frames
    frames = split_frames(Features(key, 10 * key.expand(-1, 2, -1, -1)), 3)
    assert [type(frame) for frame in frames] == [Features] * 3
    assert [frame.key.flatten().tolist() for frame in frames] == [[0, 3], [1, 4], [2, 5]]
    assert frames[1].skip.shape == (2, 2, 1, 1)
    assert frames[1].skip[:, 0].flatten().tolist() == [10, 40]


def test_planes_leave_out_the_background():
    masks = torch.tensor([[[0, 1], [2, 2]], [[1, 1], [0, 0]]], dtype=torch.uint8)
    planes = object_planes(masks, torch.ones(2, 2, dtype=torch.bool))
    assert planes.dtype == torch.float32
    assert planes.tolist() == [
        [[[0, 1], [0, 0]], [[0, 0], [1, 1]]],
        [[[1, 1], [0, 0]], [[0, 0], [0, 0]]],
    ]


def test_a_plane_without_an_object_counts_as_empty():
    logits = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    aggregated = aggregate_objects(logits, torch.tensor([[True, True], [True, False]]))
    both = soft_aggregate(torch.sigmoid(logits))
    torch.testing.assert_close(aggregated[0], both[0])
    alone = soft_aggregate(torch.sigmoid(logits[1:, :1]))
    torch.testing.assert_close(aggregated[1, :2], alone[0])
    assert (aggregated[1, 2] < -16).all()
