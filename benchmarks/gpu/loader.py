"""Count the clips per second that 15 worker processes make of packed videos, which training steps have to wait for."""

from __future__ import annotations

import time

from common import Run
from shards import clips, shards

SECONDS = 35.0


def measure(run: Run) -> None:
    """Write one row for each batch size; the first batch, for which workers start, is not timed."""
    with shards(run) as folder:
        for batch in (2,) if run.is_dry else (16, 64):
            if run.is_over:
                return
            data = clips(run, folder, batch)
            batches = iter(data.train_dataloader())
            next(batches)
            begin, made = time.perf_counter(), 0
            while not run.is_over and time.perf_counter() - begin < (0.2 if run.is_dry else 10.0):
                next(batches)
                made += batch
            seconds = time.perf_counter() - begin
            run.row(batch=batch, workers=data.num_workers, clips_per_second=made / seconds)
            del batches
