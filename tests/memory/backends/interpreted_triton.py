"""The Triton kernels under Triton's interpreter; run by ``test_triton_kernel`` in a process of its own.

The variable TRITON_INTERPRET must be set before anything imports Triton, which a shared test process cannot promise.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest
import torch

from testing.memory_reads import has_clear_choice, random_read, read_by_loops
from vos_zoo.errors import ConfigError
from vos_zoo.memory import (
    BACKEND_VARIABLE,
    MemoryTokens,
    available_backends,
    choose_backend,
    read_memory,
)
from vos_zoo.memory.backends import triton_kernel
from vos_zoo.memory.backends.triton_kernel import read_triton

TOLERANCE = {torch.float32: 1e-4, torch.float16: 4e-3}


@pytest.fixture(params=["all similarities", "small groups", "large groups"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How tokens are found, which the size of the memory decides; each way is taken for small ones here."""
    if request.param != "all similarities":
        monkeypatch.setattr(triton_kernel, "_FEW_TOKENS", 0)
        monkeypatch.setattr(triton_kernel, "_MOST_TOKENS", 0)
    if request.param == "large groups":
        monkeypatch.setattr(triton_kernel, "_GROUP", 0)
    return str(request.param)


def test_interpreter_is_on() -> None:
    assert os.environ["TRITON_INTERPRET"] == "1"
    assert {status.name: status.is_available for status in available_backends()}["triton"]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("queries", "tokens", "width", "columns", "top_k", "batch", "dtype"),
    [
        (2, 600, 8, 6, 2, 1, torch.float32),  # 38 groups, of which 6 are looked into
        (1, 1100, 64, 40, 20, 1, torch.float16),
        (1, 40, 5, 3, 20, 2, torch.float32),  # fewer groups than places for them
        (1, 33, 1, 1, 32, 1, torch.float32),
        (2, 300, 20, 300, 1, 1, torch.float16),  # several column blocks
    ],
)
def test_read_equals_the_loops(
    queries: int, tokens: int, width: int, columns: int, top_k: int, batch: int, dtype: torch.dtype
) -> None:
    query, memory = random_read(
        queries=queries, tokens=tokens, width=width, columns=columns, batch=batch, dtype=dtype, seed=1
    )
    readout = read_memory(query.mT.unsqueeze(2), memory, top_k=top_k, read_keys=True, backend="triton")
    clear = has_clear_choice(query, memory, top_k, margin=1e-4)
    assert clear.any()
    assert readout.keys is not None
    for read, expected in zip((readout.values, readout.keys), read_by_loops(query, memory, top_k), strict=True):
        torch.testing.assert_close(
            read.flatten(2).mT[clear].double(), expected[clear], rtol=0, atol=4 * TOLERANCE[dtype]
        )


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("scores", [2**20, 100])
def test_many_groups_are_narrowed_down_and_queries_wait_for_their_turn(
    scores: int, has_ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, memory = random_read(queries=3, tokens=700, width=8, columns=6, batch=2, has_ties=has_ties, seed=5)
    for name in ("_FEW_TOKENS", "_MOST_TOKENS", "_GROUP"):
        monkeypatch.setattr(triton_kernel, name, 0)
    whole, _ = read_triton(query, memory, 2, read_keys=False)  # 44 groups at once
    monkeypatch.setattr(triton_kernel, "_MOST_GROUPS", 16)  # three parts, and their best groups once more two
    monkeypatch.setattr(triton_kernel, "_MOST_SCORES", scores)
    values, _ = read_triton(query, memory, 2, read_keys=False)
    torch.testing.assert_close(values.double(), read_by_loops(query, memory, 2)[0], rtol=0, atol=4e-4)
    assert torch.equal(values, whole)


def test_similarities_of_some_queries_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    query, memory = random_read(queries=3, tokens=70, width=8, columns=6, batch=2, seed=5)
    whole, _ = read_triton(query, memory, 5, read_keys=False)
    monkeypatch.setattr(triton_kernel, "_MOST_SCORES", 100)
    values, _ = read_triton(query, memory, 5, read_keys=False)
    assert torch.equal(values, whole)


@pytest.mark.parametrize(("tokens", "group"), [(8192, 1), (8193, 8), (32768, 8), (32769, 16)])
def test_the_size_of_the_memory_decides_how_tokens_are_found(
    tokens: int, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    class Stop(Exception):  # noqa: N818
        pass

    class Program:
        def __getitem__(self, grid: object) -> object:
            return self

        def __call__(self, *args: object, GROUP: int, **constants: object) -> None:  # noqa: N803
            seen.append(GROUP)
            raise Stop

    monkeypatch.setattr(triton_kernel, "_tuned_group_maxima", lambda *_: Program())
    query, memory = random_read(queries=1, tokens=tokens, width=1, columns=1)
    with pytest.raises(Stop):
        read_triton(query, memory, 20, read_keys=False)
    assert seen == [group]


@pytest.mark.parametrize("top_k", [5, 20])  # 9 and 24 groups, held as 16 and 32
def test_sizes_that_are_rounded_up_load_no_byte_more(way: str, top_k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime import interpreter

    queries, width, columns, group = 2, 8, 24, {"small groups": 8, "large groups": 16}.get(way)
    tokens = 40 * (group or 8)
    query, memory = random_read(queries=queries, tokens=tokens, width=width, columns=columns)
    parts = {"keys": memory.keys, "values": memory.values}
    loaded = dict.fromkeys(parts, 0)
    load = interpreter.InterpreterBuilder.create_masked_load

    def counting(self: Any, pointers: Any, mask: Any, *args: Any) -> Any:
        for name, part in parts.items():
            is_there = (pointers.data >= part.data_ptr()) & (pointers.data < part.data_ptr() + part.nbytes)
            loaded[name] += int((is_there & mask.data).sum())
        return load(self, pointers, mask, *args)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_masked_load", counting)
    read_triton(query, memory, top_k, read_keys=False)
    assert loaded["values"] == queries * top_k * columns
    # Once for the tile of all queries, and for each query what is in the best groups.
    candidates = 0 if group is None else queries * (top_k + triton_kernel._SPARE_GROUPS) * group
    assert loaded["keys"] == (tokens + candidates) * width


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("kind", "dtype"), [("l2", torch.float32), ("dot", torch.float16)])
def test_ties_go_to_the_lower_index(kind: str, dtype: torch.dtype) -> None:
    query, memory = random_read(queries=3, tokens=300, width=2, dtype=dtype, kind=kind, has_ties=True)
    bias = None if memory.bias is None else memory.bias.repeat(1, 3)
    memory = MemoryTokens(memory.keys.repeat(1, 3, 1), bias, torch.randn(1, 900, 6).to(dtype), memory.scale)
    values, _ = read_triton(query, memory, 5, read_keys=False)
    torch.testing.assert_close(values.double(), read_by_loops(query, memory, 5)[0], rtol=0, atol=4 * TOLERANCE[dtype])


@pytest.mark.usefixtures("way")
def test_zeros_of_both_signs_are_equal() -> None:
    keys = torch.zeros(1, 64, 2)
    keys[:, :32] = -0.0
    memory = MemoryTokens(keys, None, torch.eye(64).unsqueeze(0), 1.0)
    values, _ = read_triton(torch.full((1, 1, 2), 1.0), memory, 4, read_keys=False)
    assert values.squeeze().nonzero().squeeze().tolist() == [0, 1, 2, 3]


@pytest.mark.usefixtures("way")
def test_similarity_that_rises_along_memory() -> None:
    query, memory = random_read(queries=1, tokens=700)
    rising = MemoryTokens(memory.keys, torch.linspace(-30, 30, 700).unsqueeze(0), memory.values, 0.001)
    values, _ = read_triton(query, rising, 6, read_keys=False)
    torch.testing.assert_close(values.double(), read_by_loops(query, rising, 6)[0], rtol=0, atol=1e-4)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("used", [3, 30])
def test_tokens_with_bias_minus_infinity_are_not_read(used: int) -> None:
    query, memory = random_read(queries=1, tokens=70)
    assert memory.bias is not None
    bias = memory.bias.clone()
    bias[:, used:] = -torch.inf
    masked = MemoryTokens(memory.keys, bias, memory.values, memory.scale)
    values, _ = read_triton(query, masked, 5, read_keys=False)
    few = MemoryTokens(memory.keys[:, :used], bias[:, :used], memory.values[:, :used], memory.scale)
    torch.testing.assert_close(values.double(), read_by_loops(query, few, min(5, used))[0], rtol=0, atol=1e-4)


@pytest.mark.usefixtures("way")
def test_layout_of_the_inputs_does_not_matter() -> None:
    query, memory = random_read(queries=1, tokens=70, batch=2)
    assert memory.bias is not None
    expected, _ = read_triton(query, memory, 5, read_keys=False)
    strided = MemoryTokens(
        memory.keys.mT.contiguous().mT, memory.bias.T.contiguous().T, memory.values.mT.contiguous().mT, memory.scale
    )
    values, _ = read_triton(query.mT.contiguous().mT, strided, 5, read_keys=False)
    assert torch.equal(values, expected)


@pytest.mark.parametrize(
    ("dtype", "top_k", "reason"),
    [(torch.float64, 5, "float64"), (torch.float32, 125, "125"), (torch.bfloat16, 5, "bfloat16")],
)
def test_reads_that_the_kernels_refuse_fall_back_with_one_log_line(
    dtype: torch.dtype,
    top_k: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    query, memory = random_read(queries=2, tokens=300, dtype=dtype)
    automatic = choose_backend(query, memory, top_k).name
    monkeypatch.setenv(BACKEND_VARIABLE, "triton")
    with caplog.at_level(logging.WARNING):
        assert choose_backend(query, memory, top_k).name == automatic
        assert choose_backend(query, memory, top_k).name == automatic
    assert automatic != "triton"
    assert len(caplog.records) == 1
    assert reason in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("read_keys", [False, True])
@pytest.mark.parametrize(
    ("queries", "tokens", "width", "columns", "batch", "kind"),
    [
        (37, 150, 20, 70, 2, "l2"),  # several runs of queries, tokens and columns
        (3, 9, 64, 5, 1, "dot"),
        (1, 1, 1, 1, 1, "l2"),
    ],
)
def test_read_of_all_tokens_has_the_values_and_gradients_of_the_formula(
    queries: int, tokens: int, width: int, columns: int, batch: int, kind: str, read_keys: bool, dtype: torch.dtype
) -> None:
    query, memory = random_read(
        queries=queries, tokens=tokens, width=width, columns=columns, batch=batch, kind=kind, dtype=dtype, seed=3
    )
    parts = [part for part in (query, memory.keys, memory.values, memory.bias) if part is not None]

    def read(backend: str, kind: torch.dtype | None) -> list[torch.Tensor]:
        leaves = [part.to(kind or part.dtype).clone().requires_grad_() for part in parts]
        bias = leaves[3] if len(leaves) > 3 else None
        given = MemoryTokens(leaves[1], bias, leaves[2], memory.scale)
        readout = read_memory(leaves[0].mT.unsqueeze(2), given, top_k=tokens + 1, read_keys=read_keys, backend=backend)
        results = [readout.values] if readout.keys is None else [readout.values, readout.keys]
        torch.cat([part.double().flatten() for part in results]).square().sum().backward()
        return [*(part.detach() for part in results), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    found, expected = read("triton", None), read("reference", torch.float64)
    assert len(found) == len(expected) == len(parts) + 1 + read_keys
    for part, exact in zip(found, expected, strict=True):
        largest = max(1.0, float(exact.detach().abs().max()))
        torch.testing.assert_close(part.double(), exact.double(), rtol=0, atol=4 * TOLERANCE[dtype] * largest)


def test_read_of_all_tokens_gives_gradients_only_where_they_are_asked_for() -> None:
    query, memory = random_read(queries=5, tokens=40)
    assert memory.bias is not None
    for place in range(4):
        leaves = [part.clone() for part in (query, memory.keys, memory.bias, memory.values)]
        leaves[place].requires_grad_()
        tokens = MemoryTokens(leaves[1], leaves[2], leaves[3], memory.scale)
        read_memory(leaves[0].mT.unsqueeze(2), tokens, backend="triton").values.square().sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [index == place for index in range(4)]


def test_read_of_all_tokens_leaves_out_those_with_bias_minus_infinity() -> None:
    query, memory = random_read(queries=4, tokens=150)
    assert memory.bias is not None
    bias = memory.bias.clone()
    bias[:, :70] = -torch.inf  # more than the first tile
    masked = MemoryTokens(memory.keys, bias, memory.values.clone().requires_grad_(), memory.scale)
    values = read_memory(query.mT.unsqueeze(2), masked, backend="triton").values
    few = MemoryTokens(memory.keys[:, 70:], memory.bias[:, 70:], memory.values[:, 70:], memory.scale)
    torch.testing.assert_close(values.flatten(2).mT.double(), read_by_loops(query, few)[0], rtol=0, atol=1e-4)
    values.sum().backward()
    assert masked.values.grad is not None
    assert masked.values.grad[:, :70].eq(0).all()


def test_layout_of_the_inputs_does_not_matter_for_all_tokens() -> None:
    query, memory = random_read(queries=4, tokens=70, batch=2)
    assert memory.bias is not None
    expected = read_memory(query.mT.unsqueeze(2), memory, backend="triton").values
    strided = MemoryTokens(
        memory.keys.mT.contiguous().mT, memory.bias.T.contiguous().T, memory.values.mT.contiguous().mT, memory.scale
    )
    assert torch.equal(read_memory(query.mT.unsqueeze(2), strided, backend="triton").values, expected)


def test_keys_too_wide_for_a_tile_are_refused() -> None:
    query, memory = random_read(queries=1, tokens=5, width=257)
    with pytest.raises(ConfigError, match="257"):
        read_memory(query.mT.unsqueeze(2), memory, backend="triton")
