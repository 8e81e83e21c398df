"""A block of rows and a set of graph tensors hold the same memory."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.errors import ShapeError
from vos_zoo.memory.storage import BlockStorage, GraphStorage, Rows

BATCH, HEIGHT, KEY, OBJECTS, VALUE = 2, 3, 4, 3, 2


def new_rows(seed, objects=OBJECTS, *, batch=BATCH, height=HEIGHT, has_bias=True):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(batch, height, KEY, generator=generator)
    bias = torch.randn(batch, height, generator=generator) if has_bias else None
    return Rows(keys, bias, torch.randn(batch, height, objects * VALUE, generator=generator))


def read(storage, used, has_bias=True):
    """Softmax read of all rows in float64, by its definition."""
    tokens = storage.tokens(used, has_bias)
    keys, values = tokens.keys.double(), tokens.values.double()
    query = torch.linspace(-1, 1, KEY, dtype=torch.float64)
    similarity = tokens.scale * keys @ query
    if tokens.bias is not None:
        similarity = similarity + tokens.bias.double()
    return torch.einsum("bn,bnd->bd", similarity.softmax(dim=1), values)


@given(
    slots=st.lists(st.integers(0, 6), min_size=2, max_size=7, unique=True),
    cleared=st.integers(0, 5),
    planes=st.lists(st.integers(0, OBJECTS - 1), min_size=1, unique=True),
    entries=st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=3),
    bound=st.sampled_from([None, 7]),
)
def test_both_read_alike_after_any_history(slots, cleared, planes, entries, bound):
    storages = BlockStorage(), GraphStorage()
    gone = slots[cleared % len(slots)]
    used = sorted(set(slots) - {gone})
    for storage in storages:
        for slot in slots:
            storage.put(slot, new_rows(slot), 0.5, bound)
        storage.clear(gone)
    torch.testing.assert_close(*(read(storage, used) for storage in storages))
    for storage in storages:
        storage.compact(used, 7)
        storage.select_columns(planes, OBJECTS)
        storage.select_batch(entries)
    used = list(range(len(used)))
    first, second = (read(storage, used) for storage in storages)
    assert first.shape == (len(entries), len(planes) * VALUE)
    torch.testing.assert_close(first, second)


def test_a_hole_without_biases_is_not_read():
    storages = BlockStorage(), GraphStorage()
    for storage in storages:
        for slot in range(3):
            storage.put(slot, new_rows(slot, has_bias=False), 1.0, None)
        storage.clear(1)
    torch.testing.assert_close(*(read(storage, [0, 2], has_bias=False) for storage in storages))


def test_a_bound_is_what_is_allocated():
    storage = BlockStorage()
    storage.put(0, new_rows(0), 1.0, 5)
    # float32: key, bias and the values of all objects
    assert storage.bytes_per_frame * 5 == storage.nbytes == 5 * BATCH * HEIGHT * 4 * (KEY + 1 + OBJECTS * VALUE)
    for slot in range(1, 5):
        storage.put(slot, new_rows(slot), 1.0, 5)
    assert storage.nbytes == 5 * storage.bytes_per_frame


def test_the_graph_reaches_every_frame_in_training_alone():
    rows = [Rows(*(part.requires_grad_() for part in new_rows(slot))) for slot in range(2)]
    for storage in (GraphStorage(), BlockStorage()):
        for slot, each in enumerate(rows):
            storage.put(slot, each, 1.0, None)
        result = read(storage, [0, 1])
        assert result.requires_grad == isinstance(storage, GraphStorage)
        if result.requires_grad:
            result.sum().backward()
    assert all(part.grad is not None and part.grad.abs().max() > 0 for each in rows for part in each)


@pytest.mark.parametrize("storage", [BlockStorage, GraphStorage])
def test_rows_that_do_not_fit_are_refused(storage):
    one, first = storage(), new_rows(0)
    with pytest.raises(ShapeError, match="equal B and h"):
        one.check(first.keys, new_rows(0, height=2).values)
    one.put(0, first, 1.0, None)
    one.check(first.keys, first.values)
    for other in (new_rows(0, objects=2), new_rows(0, height=2), new_rows(0, batch=1)):
        with pytest.raises(ShapeError, match="Start a new bank"):
            one.check(other.keys, other.values)
