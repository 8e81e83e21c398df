"""What every implementation has to do, whatever it is."""

from __future__ import annotations

import pytest
import torch

from testing.memory_reads import random_read, read_by_loops
from vos_zoo.memory.backends.backend import Backend, Read
from vos_zoo.memory.backends.choice import BACKENDS


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
@pytest.mark.parametrize("top_k", [None, 5])
@pytest.mark.parametrize("read_keys", [False, True])
def test_what_is_not_refused_is_the_read(backend: Backend, top_k: int | None, read_keys: bool) -> None:
    query, memory = random_read(queries=7, tokens=60, batch=2)
    read = Read(query, memory, top_k, read_keys)
    if not backend.status().is_available:
        assert backend.refusal(read)
    if backend.refusal(read) is not None:
        return
    values, keys = backend.read(read)
    expected, expected_keys = read_by_loops(query, memory, top_k)
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-4)
    assert (keys is not None) == read_keys
    if keys is not None:
        torch.testing.assert_close(keys.double(), expected_keys, rtol=0, atol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS[1:], ids=lambda backend: backend.name)
def test_only_the_formula_has_gradients_through_top_k(backend: Backend) -> None:
    query, memory = random_read(queries=3, tokens=50)
    assert BACKENDS[0].refusal(Read(query.requires_grad_(), memory, 5)) is None
    assert backend.refusal(Read(query, memory, 5))
    assert Read(query, memory, 5).needs_gradients
    with torch.no_grad():
        assert not Read(query, memory, 5).needs_gradients


def test_names_and_reasons() -> None:
    assert len({backend.name for backend in BACKENDS}) == len(BACKENDS)
    for backend in BACKENDS:
        assert backend.status().name == backend.name
        assert backend.status().reason
