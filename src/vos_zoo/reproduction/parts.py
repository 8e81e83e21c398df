"""How long the parts of a network take, as papers list them."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from vos_zoo.network import VOSNetwork


@contextmanager
def time_parts(network: VOSNetwork[Any, Any]) -> Iterator[dict[str, float]]:
    """Measure the time in the parts that a network declares, as long as the context lasts.

    Args:
        network: Its ``timed_parts`` say which methods belong to which part. It is used by one thread.

    Yields:
        Seconds by part so far. On a GPU every call waits for what was started before, so that parts do not overlap.
    """
    seconds = dict.fromkeys(network.timed_parts, 0.0)
    names = [(part, name) for part, methods in network.timed_parts.items() for name in methods]
    for part, name in names:
        setattr(network, name, _timed(getattr(network, name), part, seconds, next(network.parameters()).device))
    try:
        yield seconds
    finally:
        for _, name in names:
            delattr(network, name)


def _timed(
    method: Callable[..., Any], part: str, seconds: dict[str, float], device: torch.device
) -> Callable[..., Any]:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    @functools.wraps(method)
    def run(*arguments: Any, **options: Any) -> Any:
        wait()
        start = time.perf_counter()
        try:
            return method(*arguments, **options)
        finally:
            wait()
            seconds[part] += time.perf_counter() - start

    return run
