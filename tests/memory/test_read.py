from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.memory_reads import has_clear_choice, random_read, read_by_loops
from testing.native import needs_compiler
from vos_zoo.errors import ConfigError, EmptyMemoryError, ShapeError
from vos_zoo.memory import MemoryTokens, read_memory, similarity_terms

# Largest error of a read whose choice of tokens is clear: values are about 1, and a weight moves by the error of its
# Largest error of a read whose choice of tokens is clear: values are about 1, and a weight moves by the error of its
# Largest error of a read whose choice of tokens is clear: values are about 1, and a weight moves by the error of its
from vos_zoo.memory.backends import cpu, native, selection

# Largest error of a read whose choice of tokens is clear: values are about 1, and a weight moves by the error of its
# similarity, here below 2e-5 (float32 sums of 40 terms of size 10) or by the last bit of a half-precision output.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 4e-3}
TYPES = st.sampled_from(list(TOLERANCE))
NATIVE = pytest.param("native", marks=needs_compiler)
READS = [("reference", None), ("reference", 7), ("cpu", None), ("cpu", 7), ("sdpa", None)]
READS += [pytest.param("native", 7, marks=needs_compiler)]  # type: ignore[list-item]


def as_map(query: torch.Tensor, height: int = 1) -> torch.Tensor:
    return query.mT.unflatten(2, (height, -1))


def assert_reads_right(
    query: torch.Tensor, memory: MemoryTokens, top_k: int | None, backend: str, *, exact_ties: bool = False
) -> None:
    readout = read_memory(as_map(query), memory, top_k=top_k, read_keys=True, backend=backend)
    clear = torch.ones(query.shape[:2], dtype=torch.bool)
    if top_k is not None and not exact_ties:
        clear = has_clear_choice(query, memory, top_k, margin=1e-3)
    tolerance = TOLERANCE[memory.values.dtype]
    assert readout.keys is not None
    reads = (readout.values, memory.values), (readout.keys, memory.keys)
    for (read, part), expected in zip(reads, read_by_loops(query, memory, top_k), strict=True):
        assert read.dtype == part.dtype
        rows = read.flatten(2).mT[clear].double()
        size = part.double().abs().max().clamp(min=1)
        torch.testing.assert_close(rows, expected[clear], rtol=0, atol=tolerance * float(size))


@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 3),
    queries=st.integers(1, 40),
    tokens=st.one_of(st.integers(1, 40), st.integers(500, 1500)),
    width=st.integers(1, 40),
    columns=st.integers(1, 20),
    top_k=st.one_of(st.none(), st.integers(1, 60)),
    dtype=TYPES,
    kind=st.sampled_from(["l2", "dot"]),
    backend=st.sampled_from(["auto", "reference", "cpu"]),
    seed=st.integers(0, 2**31),
)
def test_read_equals_the_loops(
    batch: int,
    queries: int,
    tokens: int,
    width: int,
    columns: int,
    top_k: int | None,
    dtype: torch.dtype,
    kind: str,
    backend: str,
    seed: int,
) -> None:
    sizes = {"batch": batch, "queries": queries, "tokens": tokens, "width": width, "columns": columns}
    query, memory = random_read(**sizes, dtype=dtype, kind=kind, seed=seed)
    assert_reads_right(query, memory, top_k, backend)


@settings(max_examples=40, deadline=None)
@given(
    queries=st.integers(1, 30),
    tokens=st.one_of(st.integers(2, 60), st.integers(500, 1500)),
    width=st.integers(1, 4),
    copies=st.integers(1, 6),
    top_k=st.integers(1, 40),
    dtype=TYPES,
    backend=st.sampled_from(["auto", "reference", "cpu"]),
    seed=st.integers(0, 2**31),
)
def test_ties_go_to_the_lower_index_on_every_backend(
    queries: int, tokens: int, width: int, copies: int, top_k: int, dtype: torch.dtype, backend: str, seed: int
) -> None:
    """Whole-number keys tie often, and every token is stored several times with different values."""
    query, memory = random_read(queries=queries, tokens=tokens, width=width, dtype=dtype, has_ties=True, seed=seed)
    bias = None if memory.bias is None else memory.bias.repeat(1, copies)
    values = torch.randn(1, tokens * copies, 6, generator=torch.Generator().manual_seed(seed)).to(dtype)
    repeated = MemoryTokens(memory.keys.repeat(1, copies, 1), bias, values, memory.scale)
    assert_reads_right(query, repeated, top_k, backend, exact_ties=True)


@pytest.mark.parametrize("backend", ["reference", "cpu", NATIVE])
@pytest.mark.parametrize("order", ["rising", "falling"])
@pytest.mark.parametrize("top_k", [1, 20, 100])
def test_similarity_that_rises_or_falls_along_memory(top_k: int, order: str, backend: str) -> None:
    query, memory = random_read(queries=30, tokens=3000)
    bias = torch.linspace(-30, 30, 3000).unsqueeze(0)
    memory = MemoryTokens(memory.keys, bias if order == "rising" else bias.flip(1), memory.values, 0.001)
    assert_reads_right(query, memory, top_k, backend, exact_ties=True)


@pytest.mark.parametrize(("backend", "top_k"), READS)
@pytest.mark.parametrize("size", [1e-20, 1e3, 1e8])
def test_extreme_keys_give_finite_reads(size: float, backend: str, top_k: int | None) -> None:
    query, memory = random_read(queries=10, tokens=900)
    keys = memory.keys * size
    scale, bias = similarity_terms(keys)
    readout = read_memory(
        as_map(query * size), MemoryTokens(keys, bias, memory.values, scale), top_k=top_k, backend=backend
    )
    assert readout.values.isfinite().all()
    assert readout.values.abs().max() <= memory.values.abs().max() * (1 + 1e-5)


@pytest.mark.parametrize(("backend", "top_k"), READS)
def test_tokens_with_bias_minus_infinity_are_not_read(backend: str, top_k: int | None) -> None:
    query, memory = random_read(queries=10, tokens=900)
    assert memory.bias is not None
    bias = memory.bias.clone()
    bias[:, 5:] = -torch.inf
    masked = MemoryTokens(memory.keys, bias, memory.values, memory.scale)
    few = MemoryTokens(memory.keys[:, :5], memory.bias[:, :5], memory.values[:, :5], memory.scale)
    read = read_memory(as_map(query), masked, top_k=top_k, backend=backend).values
    torch.testing.assert_close(read, read_memory(as_map(query), few).values, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", ["reference", "cpu", "sdpa"])
def test_one_token_is_read_as_it_is(backend: str) -> None:
    query, memory = random_read(queries=6, tokens=1, batch=2)
    read = read_memory(as_map(query, 2), memory, backend=backend).values
    assert read.shape == (2, 6, 2, 3)
    torch.testing.assert_close(read, memory.values.mT.unsqueeze(3).expand_as(read))


@pytest.mark.parametrize(("backend", "top_k"), READS)
def test_layout_of_the_inputs_does_not_matter(backend: str, top_k: int | None) -> None:
    query, memory = random_read(queries=35, tokens=1200, batch=2)
    assert memory.bias is not None
    expected = read_memory(as_map(query, 5), memory, top_k=top_k, read_keys=True, backend=backend)
    strided = MemoryTokens(
        memory.keys.mT.contiguous().mT,
        memory.bias.T.contiguous().T,
        torch.cat([memory.values, memory.values], 2)[:, :, : memory.values.shape[2]],
        memory.scale,
    )
    transposed = MemoryTokens(strided.keys, strided.bias, memory.values.mT.contiguous().mT, memory.scale)
    for other, layout in ((strided, torch.contiguous_format), (transposed, torch.channels_last)):
        query_map = as_map(query, 5).contiguous(memory_format=layout)
        readout = read_memory(query_map, other, top_k=top_k, read_keys=True, backend=backend)
        torch.testing.assert_close(readout.values, expected.values, rtol=0, atol=1e-5)
        torch.testing.assert_close(readout.keys, expected.keys, rtol=0, atol=1e-5)


def test_objects_side_by_side_share_one_affinity() -> None:
    query, memory = random_read(queries=20, tokens=1000, columns=12)
    together = read_memory(as_map(query), memory, top_k=20).values
    for part in range(3):
        columns = slice(4 * part, 4 * part + 4)
        alone = MemoryTokens(memory.keys, memory.bias, memory.values[:, :, columns], memory.scale)
        torch.testing.assert_close(read_memory(as_map(query), alone, top_k=20).values, together[:, columns])


@pytest.mark.parametrize("kind", ["l2", "dot"])
@pytest.mark.parametrize("top_k", [None, 9])
def test_frame_weights_multiply_the_weights_of_a_frame(kind: str, top_k: int | None) -> None:
    query, memory = random_read(queries=8, tokens=30, batch=2, kind=kind, dtype=torch.float64)
    log_weights = torch.log(torch.tensor([[0.2, 0.3, 0.5], [0.8, 0.1, 0.1]], dtype=torch.float64))
    bias = torch.zeros(2, 30, dtype=torch.float64) if memory.bias is None else memory.bias
    weighted = MemoryTokens(memory.keys, bias + log_weights.repeat_interleave(10, 1), memory.values, memory.scale)
    read = read_memory(as_map(query), memory, top_k=top_k, frame_log_weights=log_weights).values
    torch.testing.assert_close(read.flatten(2).mT, read_by_loops(query, weighted, top_k)[0])


def test_equal_frame_weights_change_nothing() -> None:
    query, memory = random_read(queries=8, tokens=30, dtype=torch.float64)
    weights = torch.full((1, 3), -1.5, dtype=torch.float64)
    torch.testing.assert_close(
        read_memory(as_map(query), memory, frame_log_weights=weights).values,
        read_memory(as_map(query), memory).values,
    )


def test_frame_weights_get_gradients() -> None:
    query, memory = random_read(queries=8, tokens=30)
    weights = torch.zeros(1, 3, requires_grad=True)
    read_memory(as_map(query), memory, frame_log_weights=weights).values.square().sum().backward()
    assert weights.grad is not None
    assert weights.grad.abs().min() > 0
    assert abs(float(weights.grad.sum())) < 1e-3  # a common factor cancels


@pytest.mark.parametrize(("backend", "top_k"), READS)
def test_defaults_of_torch_do_not_matter(backend: str, top_k: int | None) -> None:
    query, memory = random_read(queries=20, tokens=1000)
    expected = read_memory(as_map(query), memory, top_k=top_k, backend=backend).values
    caches = (selection._places, cpu._multiples, native._find_code)
    for cache in caches:
        cache.cache_clear()
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        read = read_memory(as_map(query), memory, top_k=top_k, backend=backend).values
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
        for cache in caches:
            cache.cache_clear()
    assert torch.equal(read, expected)


def test_output_is_channels_last_without_a_copy() -> None:
    query, memory = random_read(queries=20, tokens=1000, columns=12)
    values = read_memory(as_map(query, 4), memory, top_k=20).values
    assert values.is_contiguous(memory_format=torch.channels_last)


def test_not_a_number_stays_where_it_arises() -> None:
    query, memory = random_read(queries=20, tokens=1000)
    query[0, 3, 0] = torch.nan
    read = read_memory(as_map(query), memory, top_k=20).values.flatten(2).mT
    assert read[0, 3].isnan().all()
    assert read[0, 4:].isfinite().all()


@pytest.mark.parametrize(
    ("query", "keys", "bias", "values", "frames"),
    [
        ((1, 4, 2, 3), (1, 6, 5), None, (1, 6, 7), None),
        ((2, 4, 2, 3), (1, 6, 4), None, (1, 6, 7), None),
        ((1, 4, 2, 3), (1, 6, 4), None, (1, 5, 7), None),
        ((1, 4, 2, 3), (1, 6, 4), (1, 5), (1, 6, 7), None),
        ((1, 4, 6), (1, 6, 4), None, (1, 6, 7), None),
        ((1, 4, 2, 3), (1, 6, 4), None, (1, 6, 7), (1, 4)),
        ((1, 4, 2, 3), (1, 6, 4), None, (1, 6, 7), (2, 3)),
        ((1, 4, 2, 3), (1, 6, 4), None, (1, 6, 7), (1, 0)),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    query: tuple[int, ...],
    keys: tuple[int, ...],
    bias: tuple[int, ...] | None,
    values: tuple[int, ...],
    frames: tuple[int, ...] | None,
) -> None:
    memory = MemoryTokens(
        torch.zeros(keys), None if bias is None else torch.zeros(bias), torch.zeros(values), scale=1.0
    )
    weights = None if frames is None else torch.zeros(frames)
    with pytest.raises(ShapeError) as caught:
        read_memory(torch.zeros(query), memory, frame_log_weights=weights)
    for shape in (query, keys, bias, values, frames):
        assert str(shape) in str(caught.value)


def test_empty_memory_is_an_error() -> None:
    with pytest.raises(EmptyMemoryError, match="annotated frame"):
        read_memory(torch.zeros(1, 4, 2, 3), MemoryTokens(torch.zeros(1, 0, 4), None, torch.zeros(1, 0, 7), 1.0))


def test_top_k_below_one_is_an_error() -> None:
    query, memory = random_read(queries=2, tokens=3)
    with pytest.raises(ConfigError, match="top_k is 0"):
        read_memory(as_map(query), memory, top_k=0)


def with_part(part: str, change: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, MemoryTokens]:
    """Make a read of which one part is changed."""
    query, memory = random_read(queries=12, tokens=300, columns=16)
    if part == "query":
        return change(as_map(query, 3)), memory
    return as_map(query, 3), dataclasses.replace(memory, **{part: change(getattr(memory, part))})


@pytest.mark.parametrize("backend", ["auto", "reference", "cpu"])
@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("part", ["query", "keys", "bias", "values"])
def test_parts_on_different_devices_are_named(part: str, top_k: int | None, backend: str) -> None:
    query, memory = with_part(part, lambda tensor: tensor.to("meta"))
    name = "query_key" if part == "query" else part
    with pytest.raises(ConfigError, match=rf"{name} on meta.*all of them on one device"):
        read_memory(query, memory, top_k=top_k, backend=backend)


@pytest.mark.parametrize("top_k", [None, 5])
def test_tensors_without_numbers_are_refused(top_k: int | None) -> None:
    query, memory = random_read(queries=12, tokens=300)
    assert memory.bias is not None
    parts = MemoryTokens(memory.keys.to("meta"), memory.bias.to("meta"), memory.values.to("meta"), memory.scale)
    with pytest.raises(ConfigError, match="hold no numbers"):
        read_memory(as_map(query).to("meta"), parts, top_k=top_k)
    with pytest.raises(ConfigError, match="frame_log_weights on meta"):
        read_memory(as_map(query), memory, top_k=top_k, frame_log_weights=torch.zeros(1, 3, device="meta"))


@pytest.mark.parametrize("backend", ["auto", "reference", "cpu"])
@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("part", ["query", "keys", "bias", "values"])
def test_views_with_the_sign_changed_read_as_their_numbers(part: str, top_k: int | None, backend: str) -> None:
    """Their memory holds the numbers with the other sign, as the imaginary part of a conjugate does."""
    changed = with_part(part, lambda tensor: torch._neg_view(tensor))
    plain = with_part(part, lambda tensor: -tensor)
    found = read_memory(*changed, top_k=top_k, read_keys=True, backend=backend)
    expected = read_memory(*plain, top_k=top_k, read_keys=True, backend="reference")
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.keys, expected.keys, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("backend", "top_k"), [*READS, ("auto", 7)])
def test_a_batch_of_none_reads_nothing(backend: str, top_k: int | None) -> None:
    query, memory = random_read(queries=12, tokens=300, batch=0)
    found = read_memory(as_map(query, 3), memory, top_k=top_k, read_keys=True, backend=backend)
    assert found.keys is not None
    assert (found.values.shape, found.keys.shape) == ((0, 6, 3, 4), (0, 8, 3, 4))
