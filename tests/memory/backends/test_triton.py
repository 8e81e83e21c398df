from __future__ import annotations

import pytest
import torch

from testing.memory_reads import random_read
from vos_zoo.memory.backends import triton_kernel
from vos_zoo.memory.backends.backend import Read
from vos_zoo.memory.backends.triton import BACKEND


@pytest.mark.parametrize("top_k", [None, 5])
def test_a_read_on_another_device_is_refused_before_anything_is_tried(
    top_k: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton_kernel, "unavailable_reason", lambda *_: pytest.fail("tried"))
    assert BACKEND.refusal(Read(*random_read(queries=2, tokens=30), top_k)) == "the tensors are on cpu"


def test_a_device_without_memory_is_no_reason_to_stop_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(triton_kernel, "unavailable_reason", fail)
    assert not BACKEND.status().is_available
    assert "memory" in BACKEND.status().reason
