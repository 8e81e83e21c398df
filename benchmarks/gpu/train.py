"""Time training steps of RDE and STCN in float32 and bfloat16 with batches of 4, 16 and 64 clips."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from common import Run

from vos_zoo.registry import find_architecture

SECONDS = 130.0
BATCHES = (4, 16, 64)


def measure(run: Run) -> None:
    """Write one row for each model, precision and batch; a batch that does not fit is a row, too."""
    for name in ("stcn", "rde"):
        for dtype in (torch.float32, torch.bfloat16):
            for batch in (1,) if run.is_dry else BATCHES:
                if run.is_over:
                    return
                try:
                    measure_steps(run, name, dtype, batch)
                except torch.OutOfMemoryError:
                    run.row(model=name, dtype=str(dtype), batch=batch, problem="out of memory")
                    torch.cuda.empty_cache()


def measure_steps(run: Run, name: str, dtype: torch.dtype, batch: int) -> None:
    """Time whole steps of the optimiser."""
    torch.manual_seed(0)
    module = find_architecture(name).load_class("module")("tiny" if run.is_dry else "small").to(run.device)
    module.log = lambda *_, **__: None
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-5)
    clips = make_clips(batch, 5, 48 if run.is_dry else 384, run.device)
    is_half = dtype != torch.float32

    def step() -> None:
        with torch.autocast(run.device.type, dtype=dtype) if is_half else nullcontext():
            loss = module.training_step(clips, 0)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    run.reset_peak()
    seconds = run.median_seconds(step, least=0.1 if run.is_dry else 3.0)
    run.row(
        model=name, dtype=str(dtype), batch=batch, seconds=seconds, clips_per_second=batch / seconds,
        peak_bytes=run.peak_bytes(),
    )  # fmt: skip


def make_clips(batch: int, frames: int, side: int, device: torch.device) -> dict[str, Any]:
    """Make a batch of random clips, each with two objects."""
    masks = torch.zeros(batch, frames, side, side, dtype=torch.int64)
    masks[..., : side // 3] = 1
    masks[..., side // 2 :] = 2
    first = torch.stack([(masks[:, 0] == plane).float() for plane in (1, 2)], dim=1)
    clips = {
        "images": torch.randn(batch, frames, 3, side, side), "masks": masks, "first_masks": first,
        "valid_objects": torch.ones(batch, 2, dtype=torch.bool),
    }  # fmt: skip
    return {**{name: part.to(device) for name, part in clips.items()}, "name": [str(index) for index in range(batch)]}
