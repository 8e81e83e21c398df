"""A data loader that names the file it failed on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, TypeVar

from torch.utils.data import DataLoader

from vos_zoo.data.layouts.last_read import ReadLog
from vos_zoo.errors import DataError, VosZooError

ItemT = TypeVar("ItemT")

_GRACE = 1.0  # seconds


class NamingLoader(DataLoader[ItemT]):
    """A data loader that says which file was read when preparing an item fails.

    Args:
        dataset: As for torch's.
        options: Those of torch's data loader, except for ``worker_init_fn``.
    """

    def __init__(self, dataset: Any, **options: Any) -> None:
        workers = options.get("num_workers", 0)
        # Lightning rebuilds a loader with the settings it finds on it.
        options.pop("worker_init_fn", None)
        self.read_log = ReadLog(workers)
        super().__init__(dataset, worker_init_fn=self.read_log if workers else None, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its private iterator class
        """Batches.

        Raises:
            DataError: If a worker dies; the message names the file that it read last.
            VosZooError: What preparing an item raised, without the worker's traceback in the message.
        """
        batches = super().__iter__()
        try:
            try:
                yield from batches
            except (EOFError, ConnectionError):
                # The pipe to a worker broke. The kernel tells of its death a little later, and torch raises that, once,
                # wherever this process is then: in here.
                time.sleep(_GRACE)
                raise
        except VosZooError as error:
            # torch puts the worker's traceback in front of the message.
            raise type(error)(str(error).rpartition(f"{type(error).__name__}: ")[2].strip()) from error
        except (RuntimeError, EOFError, ConnectionError) as error:
            files = self.read_log.of_dead_workers()
            if not files:
                raise
            raise DataError(
                f"A process that prepares clips died ({str(error).partition('. ')[0] or type(error).__name__}). It was "
                f"reading {', '.join(map(repr, files))}. Expected files that can be decoded and enough memory: look at "
                "that file with `vos-zoo data check`, or take fewer processes with `--data.num_workers`."
            ) from error
