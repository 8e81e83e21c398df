"""Count the clips per second that 15 worker processes make, which training steps have to wait for."""

from __future__ import annotations

import time

from common import Run

from vos_zoo.data.modules.synthetic import SyntheticDataModule

SECONDS = 35.0


def measure(run: Run) -> None:
    """Write one row for each batch size; the first batch, for which workers start, is not timed."""
    for batch in (2,) if run.is_dry else (16, 64):
        if run.is_over:
            return
        data = SyntheticDataModule(
            batch_size=batch, crop_size=48 if run.is_dry else 384, num_frames=5, samples_per_epoch=100 * batch,
            num_workers=0 if run.is_dry else 15,
        )  # fmt: skip
        data.setup("fit")
        batches = iter(data.train_dataloader())
        next(batches)
        begin, clips = time.perf_counter(), 0
        while not run.is_over and time.perf_counter() - begin < (0.2 if run.is_dry else 10.0):
            next(batches)
            clips += batch
        seconds = time.perf_counter() - begin
        run.row(batch=batch, workers=data.num_workers, clips_per_second=clips / seconds)
        del batches
