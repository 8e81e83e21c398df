"""Time training steps of STCN and RDE in float32 and bfloat16 with batches of 4, 16 and 64 clips from packed videos.

Clips come from 15 worker processes; a row says how much of its time a step waits for them.
"""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from common import Run
from shards import clips, shards

from vos_zoo.registry import find_architecture

SECONDS = 130.0
BATCHES = (4, 16, 64)
_LEAST, _MOST = 3, 30  # steps that are timed


def measure(run: Run) -> None:
    """Write one row for each model, precision and batch; a batch that does not fit is a row, too."""
    with shards(run) as folder:
        for name in ("stcn", "rde"):
            for dtype in (torch.float32, torch.bfloat16):
                for batch in (1,) if run.is_dry else BATCHES:
                    if run.is_over:
                        return
                    try:
                        measure_steps(run, folder, name, dtype, batch)
                    except torch.OutOfMemoryError:
                        run.row(model=name, dtype=str(dtype), batch=batch, problem="out of memory")
                        torch.cuda.empty_cache()


def measure_steps(run: Run, folder: Path, name: str, dtype: torch.dtype, batch: int) -> None:
    """Time whole steps, from the wait for their clips to the optimiser."""
    torch.manual_seed(0)
    module = find_architecture(name).load_class("module")("tiny" if run.is_dry else "small").to(run.device)
    module.log = lambda *_, **__: None
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-5)
    batches = iter(clips(run, folder, batch).train_dataloader())
    is_half = dtype != torch.float32

    def step(made: dict[str, Any]) -> None:
        placed = {
            key: part.to(run.device, non_blocking=True) if isinstance(part, torch.Tensor) else part
            for key, part in made.items()
        }
        with torch.autocast(run.device.type, dtype=dtype) if is_half else nullcontext():
            loss = module.training_step(placed, 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        run.synchronize()

    for _ in range(2):
        step(next(batches))
    run.reset_peak()
    seconds: list[float] = []
    waits: list[float] = []
    least = 0.1 if run.is_dry else 4.0
    while len(seconds) < _LEAST or (len(seconds) < _MOST and sum(seconds) < least and not run.is_over):
        begin = time.perf_counter()
        made = next(batches)
        waits.append(time.perf_counter() - begin)
        step(made)
        seconds.append(time.perf_counter() - begin)
    median = statistics.median(seconds)
    run.row(
        model=name, dtype=str(dtype), batch=batch, seconds=median, waited_seconds=statistics.median(waits),
        clips_per_second=batch / median, steps=len(seconds), peak_bytes=run.peak_bytes(),
    )  # fmt: skip
