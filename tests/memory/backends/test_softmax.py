from __future__ import annotations

import pytest
import torch

from testing.memory_reads import random_read, read_by_loops
from vos_zoo.memory import MemoryTokens, read_memory
from vos_zoo.memory.backends import softmax as softmax_module
from vos_zoo.memory.backends.reference import read_reference
from vos_zoo.memory.backends.softmax import read_softmax


def leaves_of(query: torch.Tensor, memory: MemoryTokens) -> list[torch.Tensor]:
    parts = (query, memory.keys, memory.bias, memory.values)
    return [part.detach().clone().requires_grad_() for part in parts if part is not None]


@pytest.mark.parametrize("limit", [1, 300, 2**20])
def test_blocks_of_any_size_read_the_same(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_module, "_CPU_BYTES", limit)
    query, memory = random_read(queries=11, tokens=17, batch=3, dtype=torch.float64)
    values, keys = read_softmax(query, memory, read_keys=True)
    expected, expected_keys = read_by_loops(query, memory)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(keys, expected_keys)


@pytest.mark.parametrize("kind", ["l2", "dot"])
@pytest.mark.parametrize("read_keys", [False, True])
@pytest.mark.parametrize("limit", [150, 2**20])
def test_gradients_in_float64(kind: str, read_keys: bool, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_module, "_CPU_BYTES", limit)
    query, memory = random_read(queries=5, tokens=9, batch=2, width=3, columns=4, dtype=torch.float64, kind=kind)

    def read(query: torch.Tensor, keys: torch.Tensor, *rest: torch.Tensor) -> tuple[torch.Tensor, ...]:
        bias, values = rest if len(rest) == 2 else (None, *rest)
        read = read_softmax(query, MemoryTokens(keys, bias, values, memory.scale), read_keys)
        return tuple(part for part in read if part is not None)

    assert torch.autograd.gradcheck(read, leaves_of(query, memory))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_equal_those_of_the_formula(dtype: torch.dtype) -> None:
    query, memory = random_read(queries=60, tokens=150, batch=2, dtype=dtype)
    grads = []
    for exact in (False, True):
        leaves = leaves_of(query, memory)
        wide = [leaf.double() for leaf in leaves] if exact else leaves
        tokens = MemoryTokens(wide[1], wide[2], wide[3], memory.scale)
        values = read_reference(wide[0], tokens)[0] if exact else read_softmax(wide[0], tokens, False)[0]
        (values.float().square().sum() / 2).backward()
        grads.append([leaf.grad for leaf in leaves])
    # Half precision rounds weights and outputs to 8 bits.
    tolerance = 1e-4 if dtype == torch.float32 else 5e-2
    for grad, expected in zip(*grads, strict=True):
        assert grad.dtype == expected.dtype
        torch.testing.assert_close(grad, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def test_graph_keeps_inputs_only() -> None:
    """The affinity of this read would be 60 times the size of all that is saved."""
    query, memory = random_read(queries=800, tokens=1600, width=4, columns=4)
    query.requires_grad_()
    saved: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        read_memory(query.mT.unflatten(2, (20, 40)), memory)
    assert sum(saved) < 800 * 1600 * 4 / 50


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_softmax_is_float32_under_autocast(backend: str) -> None:
    query, memory = random_read(queries=60, tokens=150)
    query.requires_grad_()
    outside = read_memory(query.mT.unflatten(2, (6, 10)), memory, backend=backend).values
    with torch.autocast("cpu", torch.bfloat16):
        inside = read_memory(query.mT.unflatten(2, (6, 10)), memory, backend=backend).values
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_backward_runs_outside_the_autocast_of_the_forward_pass() -> None:
    query, memory = random_read(queries=60, tokens=150, dtype=torch.bfloat16)
    query.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = read_softmax(query, memory, False)[0].float().sum()
    loss.backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()
