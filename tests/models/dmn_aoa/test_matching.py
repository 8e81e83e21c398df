"""DMN-AOA's matching layer, alignment, boxes and proposals against their definitions."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vos_zoo.errors import DataError, MissingFileError, ShapeError
from vos_zoo.inference.geometry import FrameGeometry
from vos_zoo.models.dmn_aoa.alignment import ObjectAlignment
from vos_zoo.models.dmn_aoa.assignment import (
    greedy_assignment,
    keep_assignments,
    mask_overlap,
    pad_columns,
    relaxed_assignment,
)
from vos_zoo.models.dmn_aoa.config import DMNAOAConfig
from vos_zoo.models.dmn_aoa.features import fit_boxes, label_masks, temporal_embedding, tight_boxes
from vos_zoo.models.dmn_aoa.proposal_files import (
    FolderProposals,
    StoredProposals,
    place_proposals,
    read_proposals,
    write_index,
    write_proposals,
)
from vos_zoo.models.dmn_aoa.proposals import (
    JoinedProposals,
    PropagatedProposals,
    ProposalRequest,
    Proposals,
    TrueProposals,
    paste_masks,
    tidy_proposals,
)


def solve(cost, *, max_iter, proj_iter, average="pre", early_stop=False, lr=0.1):
    """The layer as DMM-Net describes it, in NumPy, one projection after the other."""
    rows, columns = cost.shape
    x = np.zeros_like(cost)
    kept = np.full_like(cost, cost.max())
    for column in range(columns):
        winner = cost[:, column].argmin()
        kept[winner, column] = cost[winner, column]
    for row in range(rows):
        x[row, kept[row].argmin()] = 1
    recorded, p1, p2, p3, last = [x.copy()], 0.0, 0.0, 0.0, 0.0
    for _ in range(max_iter):
        x = x - lr * cost
        before = x.copy()
        r = np.sqrt(((x * cost) ** 2).sum())
        for _ in range(proj_iter):
            start = x.copy()
            y = np.maximum(x + p1, 0)
            p1 = x + p1 - y
            z = y + p2
            y = z.copy()
            for column in range(columns):
                if z[:, column].sum() > 1:
                    y[:, column] -= (z[:, column].sum() - 1) / rows
            p2 = z - y
            z = y + p3
            y = z - (z.sum(axis=1, keepdims=True) - 1) / columns
            p3 = z - y
            x = y
            if early_stop and np.sqrt(((x - start) ** 2).sum()) == 0:
                break
        recorded.append(before if average == "pre" else x.copy())
        if early_stop and r == last:
            break
        last = r
    return np.mean(recorded, axis=0)


@pytest.mark.parametrize("size", [(1, 2), (1, 30), (3, 4), (5, 30), (8, 9)])
@pytest.mark.parametrize("options", [{}, {"average": "post"}, {"early_stop": True}], ids=str)
def test_the_matching_layer_is_dmm_nets(size, options):
    cost = -np.random.default_rng(sum(size)).random(size)
    for max_iter, proj_iter in ((10, 5), (40, 5), (0, 5), (3, 1)):
        found = relaxed_assignment(torch.from_numpy(cost), max_iter=max_iter, proj_iter=proj_iter, **options)
        expected = solve(cost, max_iter=max_iter, proj_iter=proj_iter, **options)
        assert np.abs(found.numpy() - expected).max() < 1e-10


def test_rows_of_projected_iterates_sum_to_one():
    cost = -torch.rand(4, 12, generator=torch.Generator().manual_seed(0))
    total = relaxed_assignment(cost, average="post").sum(dim=1)
    torch.testing.assert_close(total, torch.ones(4), atol=1e-5, rtol=0)


def test_every_row_of_a_clear_cost_gets_its_own_column():
    similarity = 0.2 + 0.6 * torch.eye(3, 7)[:, torch.tensor([3, 0, 5, 1, 6, 2, 4])]
    found = relaxed_assignment(-similarity)
    assert torch.equal(found.argmax(dim=1), similarity.argmax(dim=1))
    assert found.amax(dim=1).min() > 0.9


def test_a_row_that_wins_nothing_gets_column_zero():
    cost = torch.tensor([[-0.9, -0.8, -0.7], [-0.1, -0.2, -0.3]])
    assert greedy_assignment(cost).tolist() == [[1, 0, 0], [1, 0, 0]]


def test_gradients_are_those_of_differences():
    cost = -torch.rand(2, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    weights = torch.rand(2, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    cost.requires_grad_()
    (relaxed_assignment(cost, max_iter=10) * weights).sum().backward()
    for index in np.ndindex(2, 5):
        shift = torch.zeros(2, 5, dtype=torch.float64)
        shift[index] = 1e-6
        with torch.no_grad():
            high, low = ((relaxed_assignment(cost + sign * shift, max_iter=10) * weights).sum() for sign in (1, -1))
        assert cost.grad[index].item() == pytest.approx((high - low).item() / 2e-6, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "null_columns", "columns"), [((1, 1), 0, 2), ((3, 2), 0, 4), ((3, 9), 0, 9), ((3, 9), 2, 11)]
)
def test_columns_without_proposal(size, null_columns, columns):
    padded = pad_columns(torch.ones(size), null_columns=null_columns)
    assert padded.shape == (size[0], columns)
    assert (padded[:, size[1] :] == 0).all()


def test_selection_of_assignments():
    assignment = torch.tensor([[1.05, 0.005, 0.3]])
    assert keep_assignments(assignment, least=0.01, selection="sum").tolist() == [pytest.approx([1.05, 0, 0.3])]
    assert keep_assignments(assignment, least=0.01, selection="top1").tolist() == [pytest.approx([1.05, 0, 0])]


def test_overlap_is_intersection_over_union():
    masks = torch.zeros(3, 4, 5)
    masks[0, :2] = 0.9
    masks[1, 1:3] = 0.6
    found = mask_overlap(masks, masks[:2])
    torch.testing.assert_close(found, torch.tensor([[1.0, 1 / 3], [1 / 3, 1.0], [0, 0]]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("align", [True, False])
def test_alignment_is_the_formula(align):
    config = DMNAOAConfig(widths=(4, 4, 8), groups=4, align_dim=8, roi_size=3, align=align, alpha=20.0)
    torch.manual_seed(0)
    module = ObjectAlignment(config).double()
    templates, proposals = torch.randn(2, 16, 3, 3).double(), torch.randn(3, 16, 3, 3).double()
    projected = module.template_projector(templates).flatten(2), module.proposal_projector(proposals).flatten(2)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for row, template in enumerate(projected[0]):
        for column, proposal in enumerate(projected[1]):
            cosine = F.normalize(template, dim=0).T @ F.normalize(proposal, dim=0)
            moved = proposal @ torch.softmax(20 * cosine, dim=1).T if align else proposal
            expected[row, column] = F.cosine_similarity(template, moved, dim=0).mean()
    torch.testing.assert_close(module(templates, proposals), expected)


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


def request(previous, boxes=None, index=1):
    boxes = torch.zeros(len(previous), 4) if boxes is None else torch.tensor(boxes, dtype=torch.float32)
    return ProposalRequest(index, 0, torch.zeros(3, *previous.shape[1:]), previous, boxes)


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


def stored(count=2, size=(60, 90)):
    grids = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    boxes = np.array([[10, 10, 40, 40], [50, 20, 80, 50]], np.float32)[:count]
    scores = np.array([0.3, 0.8], np.float32)[:count]
    return StoredProposals(size, boxes, scores, np.zeros(count, np.int64), grids)


def test_files_give_back_what_was_written(tmp_path):
    original = stored()
    write_proposals(tmp_path / "video" / "00000.npz", original)
    write_index(tmp_path, generator="test", frames=1, settings={"top_k": 30})
    found = read_proposals(tmp_path / "video" / "00000.npz")
    assert found.size == (60, 90)
    assert found.scores.tolist() == pytest.approx([0.8, 0.3])
    assert (found.grids[::-1] == original.grids).all()
    assert json.loads((tmp_path / "proposals.json").read_text())["frames"] == 1
    assert [path.name for path in (tmp_path / "video").iterdir()] == ["00000.npz"]


def test_files_are_placed_in_the_working_frame(tmp_path):
    full = StoredProposals(
        (60, 90),
        np.array([[30, 15, 60, 45]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, np.int64),
        np.full((1, 28, 28), 255, np.uint8),
    )
    write_proposals(tmp_path / "00000.npz", full)
    write_proposals(tmp_path / "00001.npz", stored(0))
    source = FolderProposals(tmp_path, size=30)
    working = torch.zeros(1, 32, 48)  # 30x45 pixels, padded
    found = source(request(working, index=0))
    geometry = FrameGeometry.fit((60, 90), 30, 16)
    left, _, top, _ = geometry.padding
    x1, y1, x2, y2 = found.boxes[0].tolist()
    assert [x1 - left, y1 - top, x2 - left, y2 - top] == pytest.approx([15, 7.5, 30, 22.5], abs=1)
    assert len(source(request(working, index=1))) == 0
    with pytest.raises(MissingFileError, match="frame 2"):
        source(request(working, index=2))
    assert len(FolderProposals(tmp_path, size=30, missing="empty")(request(working, index=2))) == 0
    with pytest.raises(DataError, match="90x60"):
        source(request(torch.zeros(1, 64, 64), index=0))


@pytest.mark.parametrize("box", [[40, 10, 40, 30], [40, 10, 10, 30], [np.nan, 0, 10, 10]])
def test_degenerate_boxes_are_left_out(box):
    proposals = stored(1)
    proposals.boxes[0] = box
    geometry = FrameGeometry.fit((60, 90), None, 16)
    assert len(place_proposals(proposals, geometry, torch.zeros(1))) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no readable"),
        (b"not an archive", "no readable"),
        ({"version": np.int32(1)}, "lacks boxes"),
        (
            {"version": np.int32(2)} | dict.fromkeys(("size", "boxes", "scores", "labels", "masks"), np.zeros(2)),
            "version",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, message):
    path = tmp_path / "00000.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(DataError, match=message):
        read_proposals(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    wrong = stored()
    with pytest.raises(DataError, match="masks"):
        write_proposals(
            tmp_path / "a.npz", StoredProposals(wrong.size, wrong.boxes, wrong.scores, wrong.labels, wrong.grids[:1])
        )
