"""The largest numbers of each row equal those of sorting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from vos_zoo.memory import largest as largest_module
from vos_zoo.memory.largest import largest, places_of_largest

FLOATS = st.floats(width=32, allow_nan=False)


def check(numbers: Tensor, k: int) -> None:
    given = numbers.clone()
    expected = numbers.sort(1).values[:, -k:]
    values, places = largest(numbers, k)
    assert torch.equal(values.sort(1).values, expected)
    assert torch.equal(values[:, 0], expected[:, 0])
    assert torch.equal(numbers.gather(1, places), values)
    some = places_of_largest(numbers, k)
    assert torch.equal(numbers.gather(1, some).sort(1).values, expected)
    for chosen in (places, some):
        assert all(len(set(row)) == k for row in chosen.tolist())
    assert torch.equal(numbers, given)


@given(
    arrays.arrays("float32", st.tuples(st.integers(1, 5), st.integers(1, 40)), elements=FLOATS),
    st.integers(1, 40),
)
def test_any_floats(numbers: object, k: int) -> None:
    rows = torch.as_tensor(numbers)
    check(rows, min(k, rows.shape[1]))


@pytest.mark.parametrize("threads", [1, largest_module._MOST_THREADS + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_either_selection(dtype: torch.dtype, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    check(torch.randn(300, 168, dtype=dtype), 21)


def test_columns_of_a_larger_array() -> None:
    check(torch.randn(60, 50).T, 7)


def test_masked_numbers_come_last() -> None:
    numbers = torch.randn(4, 30)
    numbers[:, 3:] = -torch.inf
    check(numbers, 21)
