"""The differentiable matching layer of DMM-Net."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def relaxed_assignment(
    cost: Tensor,
    *,
    max_iter: int = 40,
    proj_iter: int = 5,
    step_size: float = 0.1,
    average: Literal["pre", "post"] = "pre",
    early_stop: bool = False,
) -> Tensor:
    """Assign rows to columns so that the cost is least, relaxed and differentiable.

    Minimises ``<cost, X>`` over X >= 0 with rows that sum to 1 and columns that sum to at most 1, by projected gradient
    steps; the projection is a few cycles of Dykstra's algorithm, whose corrections persist from step to step. The
    result is the mean of the initial assignment and all iterates, taken before their projection. Its entries are
    therefore no exact
    assignment: a row sums to more than 1, and an entry keeps at least about ``-step_size * cost``.

    Args:
        cost: Shape (K, m); computed in float32, float64 for float64 input.
        max_iter: Gradient steps; 0 returns the initial, greedy assignment.
        proj_iter: Cycles of projections per step.
        step_size: Length of a gradient step.
        average: ``pre`` takes iterates before projection; ``post`` after it, so that rows sum to 1.
        early_stop: Stop when an iterate repeats exactly. Costs a wait for the device at every step.

    Returns:
        Shape (K, m).

    Source: DMM-Net, Zeng et al., ICCV 2019, Section 3.2 and Algorithm 1; details as released.

    Example:
        >>> relaxed_assignment(-torch.eye(2), max_iter=0)
        tensor([[1., 0.],
                [0., 1.]])
    """
    with torch.autocast(cost.device.type, enabled=False):
        cost = cost if cost.dtype == torch.float64 else cost.float()
        rows, columns = cost.shape
        x = greedy_assignment(cost)
        recorded = [x]
        corrections = [torch.zeros_like(cost) for _ in range(3)]
        last_norm: Tensor = torch.zeros((), dtype=cost.dtype, device=cost.device)
        for _ in range(max_iter):
            x = x - step_size * cost
            if average == "pre":
                recorded.append(x)
            norm = (x * cost).norm() if early_stop else last_norm
            for _ in range(proj_iter):
                before = x
                lifted = x + corrections[0]
                x = lifted.clamp(min=0)
                corrections[0] = lifted - x
                lifted = x + corrections[1]
                excess = lifted.sum(dim=0, keepdim=True) - 1
                x = lifted - excess.clamp(min=0) / rows
                corrections[1] = lifted - x
                lifted = x + corrections[2]
                x = lifted - (lifted.sum(dim=1, keepdim=True) - 1) / columns
                corrections[2] = lifted - x
                if early_stop and (x - before).norm().item() == 0:
                    break
            if average == "post":
                recorded.append(x)
            if early_stop and norm.item() == last_norm.item():
                break
            last_norm = norm
        return torch.stack(recorded).mean(dim=0)


@torch.no_grad()
def greedy_assignment(cost: Tensor) -> Tensor:
    """Give every row the cheapest of the columns in which it is the cheapest row, else column 0; shape (K, m)."""
    rows = torch.arange(cost.shape[0], device=cost.device).unsqueeze(1)
    is_winner = rows == cost.argmin(dim=0, keepdim=True)
    kept = torch.where(is_winner, cost, cost.max())
    # A row that won nothing is constant, so that its first entry is the smallest.
    return torch.zeros_like(cost).scatter(1, kept.argmin(dim=1, keepdim=True), 1.0)


def pad_columns(similarity: Tensor, *, null_columns: int = 0) -> Tensor:
    """Append columns of zero similarity that mean "no proposal".

    With no more proposals than objects there are as many as it takes to have one column more than rows, as in DMM-Net.

    Args:
        similarity: Shape (K, n).
        null_columns: Further ones in any case.
    """
    objects, proposals = similarity.shape
    missing = max(0, objects + 1 - proposals) + null_columns
    return torch.nn.functional.pad(similarity, (0, missing))


def keep_assignments(assignment: Tensor, *, least: float, selection: Literal["sum", "top1"]) -> Tensor:
    """Zero what is too small to count: entries up to ``least``, or all but the largest entry of each row."""
    if selection == "top1":
        best = torch.zeros_like(assignment).scatter(1, assignment.argmax(dim=1, keepdim=True), 1.0)
        return assignment * best
    return assignment * (assignment > least)


def mask_overlap(masks: Tensor, proposals: Tensor) -> Tensor:
    """Return the overlap (K, n) of masks (K, H, W) with proposals (n, H, W), both cut at one half, without gradient."""
    ours = (masks.detach() > 0.5).flatten(1).float()
    theirs = (proposals.detach() > 0.5).flatten(1).float()
    intersection = ours @ theirs.T
    union = ours.sum(dim=1, keepdim=True) + theirs.sum(dim=1) - intersection
    return intersection / (union + 1e-6)
