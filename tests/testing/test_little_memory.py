from __future__ import annotations

import pytest
import torch

from vos_zoo.testing.little_memory import LittleMemory


def test_so_many_new_tensors_and_no_more() -> None:
    old = torch.zeros(3)
    with LittleMemory(2) as little:
        old.add_(1)  # takes nothing
        assert old.view(3, 1).shape == (3, 1)
        first = old + 1
        assert torch.equal(first.clone(), first)
        with pytest.raises(torch.OutOfMemoryError):
            old + 2
    assert little.taken == 2
    assert torch.equal(old + 2, torch.full((3,), 3.0))


@torch.inference_mode()
def test_a_copy_that_may_be_a_view_counts_where_it_is_none() -> None:
    old = torch.zeros(3, 2)
    with LittleMemory(0):
        assert old.contiguous() is old
        assert old.reshape(6).shape == (6,)
        for copied in (lambda: old.T.contiguous(), lambda: old.to(torch.float64), lambda: old.T.reshape(6)):
            with pytest.raises(torch.OutOfMemoryError):
                copied()
