"""The largest numbers of each row equal those of sorting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from vos_zoo.memory.backends import selection as largest_module
from vos_zoo.memory.backends.selection import largest, places_of_largest

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


def test_what_is_not_a_number_is_larger_than_all() -> None:
    numbers = torch.randn(6, 40)
    numbers[torch.arange(6), torch.arange(6) * 7] = torch.nan
    numbers[:, -2] = torch.inf
    for places in (largest(numbers, 2)[1], places_of_largest(numbers, 2)):
        assert torch.equal(places.sort(1).values, torch.stack([torch.arange(6) * 7, torch.full((6,), 38)], 1))


def test_zeros_stay_apart_where_the_processor_ignores_tiny_numbers() -> None:
    numbers = torch.cat([torch.zeros(9, 20), -torch.rand(9, 150) - 0.1], 1)[:, torch.randperm(170)]
    if not torch.set_flush_denormal(True):
        pytest.skip("This processor cannot ignore tiny numbers.")
    try:
        check(numbers, 21)
    finally:
        torch.set_flush_denormal(False)
