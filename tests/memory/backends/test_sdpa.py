from __future__ import annotations

import pytest
import torch

from testing.memory_reads import random_read, read_by_loops
from vos_zoo.memory import MemoryTokens
from vos_zoo.memory.backends.sdpa import read_sdpa, supports


@pytest.mark.parametrize("kind", ["l2", "dot"])
@pytest.mark.parametrize(("width", "columns"), [(8, 6), (64, 100), (63, 64), (128, 300)])
@pytest.mark.parametrize("read_keys", [False, True])
def test_equals_the_loops(kind: str, width: int, columns: int, read_keys: bool) -> None:
    query, memory = random_read(
        queries=20, tokens=50, batch=2, width=width, columns=columns, kind=kind, dtype=torch.float64
    )
    values, keys = read_sdpa(query, memory, read_keys)
    expected, expected_keys = read_by_loops(query, memory)
    torch.testing.assert_close(values, expected)
    assert (keys is not None) == read_keys
    if keys is not None:
        torch.testing.assert_close(keys, expected_keys)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bias_keeps_its_precision_in_half_types(dtype: torch.dtype) -> None:
    """Biases near 1000 rounded to 8 or 11 bits would be off by whole units and turn the choice around."""
    query, keys = torch.zeros(1, 3, 4, dtype=dtype), torch.zeros(1, 2, 4, dtype=dtype)
    bias = torch.tensor([[1000.0, 1000.5]])
    values, _ = read_sdpa(query, MemoryTokens(keys, bias, torch.eye(2, dtype=dtype).unsqueeze(0), 1.0), False)
    expected = bias.softmax(1).expand(3, 2)
    torch.testing.assert_close(values[0].float(), expected, rtol=0, atol=1e-2)


def test_gradients() -> None:
    query, memory = random_read(queries=4, tokens=6, width=3, columns=4, dtype=torch.float64)

    def read(query: torch.Tensor, keys: torch.Tensor, bias: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return read_sdpa(query, MemoryTokens(keys, bias, values, memory.scale), False)[0]

    leaves = [part.requires_grad_() for part in (query, memory.keys, memory.bias, memory.values) if part is not None]
    assert torch.autograd.gradcheck(read, leaves)


def test_width_limit_counts_the_bias() -> None:
    assert supports(256, torch.bfloat16, has_bias=False)
    assert not supports(254, torch.bfloat16, has_bias=True)
    assert supports(255, torch.float32, has_bias=True)
