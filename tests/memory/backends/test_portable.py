"""The memory read for export against the formula."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.memory import MemoryTokens
from vos_zoo.memory.backends.portable import UNUSED, read_portable
from vos_zoo.memory.backends.reference import read_reference


def tokens(count, bias):
    generator = torch.Generator().manual_seed(count)
    keys, values = (torch.randn(2, count, width, generator=generator) for width in (8, 6))
    return MemoryTokens(keys, torch.randn(2, count, generator=generator) if bias else None, values, 0.5)


@pytest.mark.parametrize("top_k", [None, 1, 5, 40])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_the_formula(top_k, bias):
    memory = tokens(12, bias)
    query = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(0))
    values, keys = read_portable(query, memory, top_k, read_keys=True)
    expected = read_reference(query, memory, top_k)
    torch.testing.assert_close((values, keys), tuple(expected))
    assert read_portable(query, memory, top_k)[1] is None


def test_unused_tokens_weigh_nothing_even_among_the_best():
    memory = tokens(6, bias=True)
    bias = memory.bias.clone()
    bias[:, 2:] = UNUSED
    query = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    shown = MemoryTokens(memory.keys, bias, torch.eye(6).expand(2, -1, -1), 0.5)  # values that are the weights
    weights, _ = read_portable(query, shown, 4)
    assert (weights[:, :, 2:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
