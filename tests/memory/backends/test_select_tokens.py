"""What holds for every search for the most similar tokens on a CPU: by PyTorch operations and by machine code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from testing.memory_reads import random_read
from testing.native import needs_compiler
from vos_zoo.memory import MemoryTokens
from vos_zoo.memory.backends import cpu, native

Select = Callable[[Tensor, MemoryTokens, int, int], tuple[Tensor, Tensor]]


@pytest.fixture(params=["cpu", pytest.param("native", marks=needs_compiler)])
def select(request: pytest.FixtureRequest) -> Select:
    return cpu.select_tokens if request.param == "cpu" else native.select_tokens


@pytest.mark.parametrize("tokens", [600, 9000])
@pytest.mark.parametrize("top_k", [1, 20, 70])
def test_equal_tokens_everywhere_choose_the_first_ones(select: Select, tokens: int, top_k: int) -> None:
    memory = MemoryTokens(torch.zeros(1, tokens, 4), None, torch.zeros(1, tokens, 1), 1.0)
    chosen, weights = select(torch.randn(40, 4), memory, 0, top_k)
    assert torch.equal(chosen.sort(1).values, torch.arange(top_k).expand(40, top_k))
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / top_k))


def test_frames_stored_twice_choose_the_first_copy(select: Select) -> None:
    """A constant memory that holds its first frame twice makes every place of the ranking a tie."""
    query, memory = random_read(queries=60, tokens=700)
    assert memory.bias is not None
    twice = MemoryTokens(memory.keys.repeat(1, 2, 1), memory.bias.repeat(1, 2), torch.randn(1, 1400, 6), memory.scale)
    chosen, _ = select(query[0], twice, 0, 21)
    similarity = (memory.scale * query[0].double() @ memory.keys[0].double().T + memory.bias[0].double()).argsort(1)
    best = similarity.flip(1)[:, :11]
    expected = torch.cat([best, best[:, :10] + 700], 1)
    assert torch.equal(chosen.sort(1).values, expected.sort(1).values)


@pytest.mark.parametrize("tokens", [100, 9001])
def test_masked_tokens_have_no_weight(select: Select, tokens: int) -> None:
    query, memory = random_read(queries=30, tokens=tokens)
    assert memory.bias is not None
    memory.bias[:, 9:] = -torch.inf
    chosen, weights = select(query[0], memory, 0, 20)
    assert chosen.max() < tokens
    assert torch.equal((weights > 0).sum(1), torch.full((30,), 9))
    assert (chosen[weights > 0] < 9).all()


def test_selection_equals_sorting_at_full_size(select: Select) -> None:
    query, memory = random_read(queries=200, tokens=30000, width=16, columns=1)
    chosen, weights = select(query[0], memory, 0, 20)
    assert memory.bias is not None
    similarity = memory.scale * query[0].double() @ memory.keys[0].double().T + memory.bias[0].double()
    best = similarity.topk(21)
    clear = best.values[:, 19] - best.values[:, 20] > 1e-5
    assert clear.float().mean() > 0.95
    assert torch.equal(chosen.sort(1).values[clear], best.indices[clear, :20].sort(1).values)
    torch.testing.assert_close(weights.sum(1), torch.ones(200))


@pytest.mark.parametrize("order", ["rising", "falling"])
def test_similarity_along_memory_does_not_matter(select: Select, order: str) -> None:
    query, memory = random_read(queries=70, tokens=20000, width=4, columns=1)
    bias = torch.arange(20000.0).sub(9000).unsqueeze(0)
    memory = MemoryTokens(memory.keys, bias if order == "rising" else bias.flip(1), memory.values, 1e-3)
    chosen, _ = select(query[0], memory, 0, 40)
    best = torch.arange(19960, 20000) if order == "rising" else torch.arange(40)
    assert torch.equal(chosen.sort(1).values, best.expand(70, 40))
