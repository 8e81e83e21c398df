"""Proposals: pasting, tidying, and the sources that need no detector."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.dmn_aoa import request
from vos_zoo.errors import ShapeError
from vos_zoo.models.dmn_aoa.assignment import mask_overlap
from vos_zoo.models.dmn_aoa.proposals import (
    JoinedProposals,
    PropagatedProposals,
    Proposals,
    TrueProposals,
    paste_masks,
    tidy_proposals,
)


@settings(max_examples=20, deadline=None)
@given(
    corner=st.tuples(st.floats(-20, 30), st.floats(-20, 30)),
    sides=st.tuples(st.floats(0.5, 60), st.floats(0.5, 60)),
)
def test_pasting_is_grid_sampling(corner, sides):
    grid = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = torch.tensor([[corner[0], corner[1], corner[0] + sides[0], corner[1] + sides[1]]], dtype=torch.float64)
    rows = 2 * (torch.arange(24, dtype=torch.float64) + 0.5 - box[0, 1]) / sides[1] - 1
    columns = 2 * (torch.arange(31, dtype=torch.float64) + 0.5 - box[0, 0]) / sides[0] - 1
    points = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)[None]
    expected = F.grid_sample(grid[None], points, padding_mode="zeros", align_corners=False)[0]
    torch.testing.assert_close(paste_masks(grid, box, (24, 31)), expected, atol=1e-9, rtol=0)


def blobs(*boxes, size=(40, 60)):
    masks = torch.zeros(len(boxes), *size)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 0.9
    return masks


def test_tidying_drops_what_is_double_empty_or_no_number():
    masks = blobs((0, 0, 20, 20), (1, 1, 21, 21), (30, 10, 50, 30), (5, 5, 5, 5), (30, 30, 40, 40))
    scores = torch.tensor([0.5, 0.9, 0.2, 1.0, float("nan")])
    found = tidy_proposals(Proposals(torch.zeros(5, 4), scores, masks))
    assert found.scores.tolist() == pytest.approx([0.9, 0.2])
    assert found.boxes.tolist() == [[1, 1, 21, 21], [30, 10, 50, 30]]
    assert len(tidy_proposals(Proposals(torch.zeros(5, 4), scores, masks), top_k=1)) == 1


def test_propagated_proposals_stay_around_the_mask():
    mask = blobs((10, 10, 20, 20))
    mask[0, 30:36, 40:50] = 0.9
    found = PropagatedProposals()(request(mask))
    overlaps = mask_overlap(mask, found.masks)[0]
    assert overlaps.max() > 0.99
    assert {tuple(box) for box in found.boxes.tolist()} >= {(10, 10, 50, 36), (10, 10, 20, 20), (40, 30, 50, 36)}
    assert ((found.masks >= 0) & (found.masks <= 1)).all()
    assert (found.scores.diff() <= 0).all()


def test_a_moved_copy_is_moved_by_its_share_of_the_box():
    found = PropagatedProposals(shift=0.5, zoom=1.5)(request(blobs((20, 10, 30, 18))))
    boxes = {tuple(box) for box in found.boxes.tolist()}
    assert {(25, 10, 35, 18), (15, 10, 25, 18), (20, 14, 30, 22), (20, 6, 30, 14)} <= boxes


def test_an_object_out_of_sight_is_proposed_where_it_was():
    found = PropagatedProposals()(request(torch.zeros(1, 40, 60), [[10, 10, 30, 20]]))
    assert found.boxes.tolist() == [[10, 10, 30, 20]]
    assert len(PropagatedProposals()(request(torch.zeros(1, 40, 60)))) == 0


def test_true_proposals_hold_the_truth():
    truth = blobs((10, 10, 20, 20), (30, 5, 50, 30)).round()[None, None].repeat(1, 2, 1, 1, 1)
    source = TrueProposals(truth)
    found = JoinedProposals((source, PropagatedProposals()))(request(torch.zeros(2, 40, 60)))
    assert mask_overlap(truth[0, 0], found.masks).amax(dim=1).min() > 0.99
    assert torch.equal(found.masks, source(request(torch.zeros(2, 40, 60))).masks)


def test_proposals_have_one_box_per_mask():
    with pytest.raises(ShapeError, match=r"\(2, 4\)"):
        Proposals(torch.zeros(2, 4), torch.zeros(1), torch.zeros(1, 3, 3))
