"""Arrays on their way to a device and back, through memory that the device copies from and to by itself.

Other memory makes the host wait for every copy. Two buffers take turns each way, so that one is filled or emptied while
the other is under way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Arrival", "Downloads", "Uploads"]

_BUFFERS = 2


class Event(Protocol):
    """A point of a stream's work; :class:`torch.cuda.Event` is one."""

    def record(self, stream: Any) -> object:
        """Mark what was launched on a stream so far."""

    def synchronize(self) -> object:
        """Wait until the stream has come here."""


class Arrival:
    """A tensor's copy on its way to the host.

    Args:
        buffer: Where it arrives.
        event: Its arrival; None if it is there, and nobody else uses the buffer.
    """

    def __init__(self, buffer: Tensor, event: Event | None = None) -> None:
        self._buffer: Tensor | None = buffer
        self._event = event
        self._array: NDArray[Any] | None = None

    def array(self) -> NDArray[Any]:
        """Wait for the copy and return it; nothing else uses its memory."""
        if self._buffer is not None:
            if self._event is None:
                self._array = self._buffer.numpy()
            else:
                self._event.synchronize()
                self._array = self._buffer.numpy().copy()
            self._buffer = None
        assert self._array is not None
        return self._array


@dataclass
class _Buffer:
    memory: Tensor
    event: Event  # the last copy from or to it
    arrival: Arrival | None = None  # what it holds that nobody may have asked for yet


class _Turns:
    """Buffers that take turns; all are made anew when sizes change."""

    def __init__(self, device: torch.device, new_event: Callable[[], Event] | None) -> None:
        is_cuda = device.type == "cuda"
        self.new_event = new_event or (torch.cuda.Event if is_cuda else None)
        self._pinned = is_cuda
        self._buffers: list[_Buffer] = []

    def next(self, like: Tensor) -> _Buffer:
        first = self._buffers[0].memory if self._buffers else like
        if (first.shape, first.dtype) != (like.shape, like.dtype):
            self._buffers.clear()
        if len(self._buffers) == _BUFFERS:
            self._buffers.append(self._buffers.pop(0))
        else:
            assert self.new_event is not None
            with torch.inference_mode(False):
                memory = torch.empty(like.shape, dtype=like.dtype, device="cpu", pin_memory=self._pinned)
            self._buffers.append(_Buffer(memory, self.new_event()))
        return self._buffers[-1]


class Uploads:
    """Copies arrays to a device, on a stream of their own if it is a CUDA device.

    Args:
        device: Where they go.
        new_event: Makes events; by default CUDA's, and none for devices that the host has to wait for anyway.
    """

    def __init__(self, device: torch.device, *, new_event: Callable[[], Event] | None = None) -> None:
        self._device = device
        self._turns = _Turns(device, new_event)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, array: NDArray[Any]) -> Tensor:
        """Return an array's copy on the device; on a CPU it may share the array's memory.

        Args:
            array: May change as soon as its copy is used.
        """
        plain = torch.from_numpy(np.require(array, requirements=["C", "W"]))  # torch warns of arrays that are read only
        if self._turns.new_event is None:
            return plain.to(self._device)
        buffer = self._turns.next(plain)
        buffer.event.synchronize()  # the copy before the last one has left it
        buffer.memory.copy_(plain)
        if self._stream is None:
            sent = buffer.memory.to(self._device, copy=True)
            buffer.event.record(None)
            return sent
        here = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._stream):
            sent = buffer.memory.to(self._device, non_blocking=True)
        buffer.event.record(self._stream)
        here.wait_stream(self._stream)
        sent.record_stream(here)  # its memory was taken on the other stream
        return sent


class Downloads:
    """Copies tensors to the host while the device goes on.

    Args:
        device: Where they come from.
        new_event: As for :class:`Uploads`.
    """

    def __init__(self, device: torch.device, *, new_event: Callable[[], Event] | None = None) -> None:
        self._device = device
        self._turns = _Turns(device, new_event)

    def fetch(self, tensor: Tensor) -> Arrival:
        """Begin to copy a tensor; on a CPU it is not copied.

        Args:
            tensor: Changed by nobody from now on.
        """
        if self._turns.new_event is None:
            return Arrival(tensor.cpu())
        buffer = self._turns.next(tensor)
        if buffer.arrival is not None:
            buffer.arrival.array()
        buffer.memory.copy_(tensor, non_blocking=True)
        buffer.event.record(torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None)
        buffer.arrival = Arrival(buffer.memory, buffer.event)
        return buffer.arrival
