"""DMN-AOA's matching layer against DMM-Net's definition."""

import numpy as np
import pytest
import torch

from vos_zoo.models.dmn_aoa.assignment import (
    greedy_assignment,
    keep_assignments,
    mask_overlap,
    pad_columns,
    relaxed_assignment,
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
