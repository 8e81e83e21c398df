from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from testing.memory_reads import random_read, read_by_loops
from vos_zoo.memory.backends import cpu as cpu_module
from vos_zoo.memory.backends.cpu import read_cpu, select_tokens, weighted_rows


@pytest.fixture(params=[1, 2, 5])
def thread_count(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(params=[0, 2**20], ids=["computed again", "kept"])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shrink every block, so that a small memory is cut into many of them, whose similarities are kept or not."""
    monkeypatch.setattr(cpu_module, "_BLOCK_TOKENS", 500)
    monkeypatch.setattr(cpu_module, "_LEAST_KEPT_QUERIES", 15)
    monkeypatch.setattr(cpu_module, "_TILE_QUERIES", 15)
    monkeypatch.setattr(cpu_module, "_GATHERED_QUERIES", 4)
    monkeypatch.setattr(cpu_module, "_KEPT_BYTES", request.param)
    monkeypatch.setattr(cpu_module, "_ROUND_QUERIES", 3)
    monkeypatch.setattr(cpu_module, "_TILE_TOKENS", 48)
    monkeypatch.setattr(cpu_module, "_SHIFT", 2)
    monkeypatch.setattr(cpu_module, "_GROUP", 4)
    monkeypatch.setattr(cpu_module, "_WHOLE_ROWS", 2500)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.usefixtures("small_blocks")
def test_blocks_are_merged_exactly(has_ties: bool, dtype: torch.dtype) -> None:
    query, memory = random_read(queries=33, tokens=1003, width=3, batch=2, has_ties=has_ties, dtype=dtype)
    values, keys = read_cpu(query, memory, 5, read_keys=True)
    expected, expected_keys = read_by_loops(query, memory, 5)
    assert keys is not None
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(keys.double(), expected_keys, rtol=0, atol=tolerance)


def test_any_thread_count_gives_the_same_choice(thread_count: int) -> None:
    assert torch.get_num_threads() == thread_count
    query, memory = random_read(queries=50, tokens=7001, width=3, has_ties=True)
    torch.testing.assert_close(
        read_cpu(query, memory, 20, read_keys=False)[0].double(),
        read_by_loops(query, memory, 20)[0],
        rtol=0,
        atol=1e-5,
    )


def test_reads_of_other_sizes_types_and_threads_leave_results_alone() -> None:
    sizes = [(50, 2001, torch.float32), (9, 300, torch.float32), (20, 700, torch.float64), (50, 2001, torch.float32)]
    cases = [random_read(queries=queries, tokens=tokens, width=3, dtype=dtype) for queries, tokens, dtype in sizes]
    expected = [read_by_loops(query, memory, 10)[0] for query, memory in cases]

    def read_all_again(_: int) -> list[torch.Tensor]:
        return [read_cpu(query, memory, 10, read_keys=False)[0] for query, memory in cases]

    with torch.inference_mode():
        reads = read_all_again(0)
    with ThreadPoolExecutor(4) as pool:
        for results in [reads, *pool.map(read_all_again, range(8))]:
            for values, exact in zip(results, expected, strict=True):
                torch.testing.assert_close(values.double(), exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_result_only(dtype: torch.dtype) -> None:
    query, memory = random_read(queries=200, tokens=1000, width=16, columns=64, dtype=dtype)
    values, _ = read_cpu(query, memory, 20, read_keys=False)
    chosen, weights = select_tokens(query[0], memory, 0, 20)
    exact = (weights.double().unsqueeze(1) @ memory.values[0].double()[chosen]).squeeze(1)
    # Half a unit in the last place, and sums of 40 products in float32.
    assert ((values[0].double() - exact).abs() <= exact.abs() * torch.finfo(dtype).eps / 2 + 1e-5).all()


def test_rows_are_summed_alike_where_there_is_no_embedding_bag() -> None:
    table, weights = torch.randn(50, 6), torch.rand(60, 7)
    rows = torch.randint(50, (60, 7))
    torch.testing.assert_close(cpu_module._sum_gathered(rows, table, weights), weighted_rows(table, rows, weights))


def test_an_apple_gpu_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.functional, "embedding_bag", lambda *_, **__: pytest.fail("it has none"))
    with FakeTensorMode():
        table = torch.empty(50, 6, device="mps")
        rows = torch.zeros(60, 7, dtype=torch.int64, device="mps")
        summed = weighted_rows(table, rows, torch.empty(60, 7, device="mps"))
    assert summed.shape == (60, 6)
