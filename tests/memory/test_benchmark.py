from __future__ import annotations

import pytest
import torch

from testing.memory_reads import random_read, read_by_loops
from vos_zoo.memory import BACKEND_VARIABLE
from vos_zoo.memory.benchmark import (
    MachineRates,
    ReadCase,
    describe_machine,
    make_read,
    measure_rates,
    measure_reads,
    read_textbook,
    time_in_turns,
)

RATES = MachineRates(matrix=1e9, thin_matrix=2e9, convolution=1e9, copy=1e8)


@pytest.mark.parametrize("top_k", [None, 5, 100])
def test_textbook_read_equals_the_loops(top_k: int | None) -> None:
    query, memory = random_read(queries=12, tokens=50, dtype=torch.float64)
    read = read_textbook(query[0].T, memory.keys[0].T, memory.values[0].T, top_k)
    torch.testing.assert_close(read.T, read_by_loops(query, memory, top_k)[0][0])


def test_floor_counts_similarities_and_every_number_once() -> None:
    case = ReadCase(frames=3, objects=2, grid=(4, 5), key_dim=8, value_dim=10, top_k=6)
    operations = 2 * 20 * 60 * 8
    numbers = 60 * 8 + 20 * 8 + 20 * 6 * 20 + 20 * 20  # keys, queries, chosen values, result
    assert RATES.floor(case, 4) == pytest.approx(operations / 2e9 + 4 * numbers / 1e8)


def test_floor_of_a_read_of_all_tokens_counts_the_second_product() -> None:
    case = ReadCase(frames=3, objects=2, grid=(4, 5), key_dim=8, value_dim=10, top_k=None)
    operations = 2 * 20 * 60 * 8 + 2 * 20 * 60 * 20
    numbers = 60 * 8 + 20 * 8 + 60 * 20 + 20 * 20
    assert RATES.floor(case, 4) == pytest.approx(operations / 2e9 + 4 * numbers / 1e8)


@pytest.mark.parametrize("with_textbook", [False, True])
def test_measurement_of_a_small_read(with_textbook: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, "cpu")
    case = ReadCase(frames=2, grid=(5, 6), key_dim=8, value_dim=10, top_k=6)
    (timing,) = measure_reads([case], RATES, rounds=2, with_textbook=with_textbook)
    assert timing.backend == "cpu"
    assert 0 < timing.best_seconds <= timing.seconds
    assert (timing.speed_up is not None) == with_textbook
    assert timing.share_of_floor > 0
    assert timing.error < 1e-5


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    times = time_in_turns([lambda: calls.append("a"), lambda: calls.append("b")], rounds=2)
    assert calls == ["a", "b"] * 3
    assert [len(seconds) for seconds in times] == [2, 2]


def test_inputs_are_the_same_every_time() -> None:
    case = ReadCase(frames=2, grid=(3, 4), key_dim=8, value_dim=10)
    assert torch.equal(make_read(case).memory.values, make_read(case).memory.values)


def test_rates_are_positive() -> None:
    rates = measure_rates(rounds=1, side=64)
    assert min(rates.matrix, rates.thin_matrix, rates.convolution, rates.copy) > 0


def test_machine_is_described() -> None:
    assert f"torch {torch.__version__}" in describe_machine()
