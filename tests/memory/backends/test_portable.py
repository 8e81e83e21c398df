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
    values, weights = read_portable(query, memory, top_k)
    expected, keys = read_reference(query, memory, top_k)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(weights @ memory.keys, keys)


def test_unused_tokens_weigh_nothing_even_among_the_best():
    memory = tokens(6, bias=True)
    bias = memory.bias.clone()
    bias[:, 2:] = UNUSED
    query = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    _, weights = read_portable(query, MemoryTokens(memory.keys, bias, memory.values, 0.5), 4)
    assert (weights[:, :, 2:] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3))
