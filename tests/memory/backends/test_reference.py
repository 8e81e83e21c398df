from __future__ import annotations

import pytest
import torch

from testing.memory_reads import random_read, read_by_loops
from vos_zoo.memory import MemoryTokens
from vos_zoo.memory.backends.reference import read_reference


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("kind", ["l2", "dot"])
@pytest.mark.parametrize("top_k", [None, 1, 5, 30, 31])
def test_reference_equals_the_loops(top_k: int | None, kind: str, has_ties: bool) -> None:
    query, memory = random_read(queries=12, tokens=30, batch=2, dtype=torch.float64, kind=kind, has_ties=has_ties)
    for read, expected in zip(read_reference(query, memory, top_k), read_by_loops(query, memory, top_k), strict=True):
        torch.testing.assert_close(read, expected, rtol=1e-12, atol=1e-12)


def test_ties_go_to_the_lower_index() -> None:
    values = torch.eye(6).unsqueeze(0)
    memory = MemoryTokens(torch.zeros(1, 6, 2), torch.tensor([[0.0, 1.0, 0.0, 1.0, 1.0, 0.0]]), values, 1.0)
    read, _ = read_reference(torch.zeros(1, 1, 2), memory, 2)
    assert read.squeeze().tolist() == [0, 0.5, 0, 0.5, 0, 0]


def test_reference_is_differentiable_with_top_k() -> None:
    query, memory = random_read(queries=4, tokens=9, dtype=torch.float64, width=3, columns=2)

    def read(query: torch.Tensor, keys: torch.Tensor, bias: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return read_reference(query, MemoryTokens(keys, bias, values, memory.scale), 4)[0]

    leaves = [part.requires_grad_() for part in (query, memory.keys, memory.bias, memory.values) if part is not None]
    assert torch.autograd.gradcheck(read, leaves)
