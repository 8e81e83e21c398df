"""Feed 10,000 frames to one session: rate and peak memory of every 500 frames, the first 500 aside, must not change."""

from __future__ import annotations

import time

import numpy as np
from common import Run
from session import build, moving_video

from vos_zoo.inference.session import VideoSession

SECONDS = 75.0
FRAMES, MARK = 10_000, 500


def measure(run: Run) -> None:
    """Write one row for every 500 frames."""
    model, size, frames, mark = ("rde", "tiny", 6, 2) if run.is_dry else ("rde", "small", FRAMES, MARK)
    (image,), mask = moving_video(1, 1)
    session = VideoSession(
        build(model, size), device=run.device, precision="fp32" if run.is_dry else "bf16",
        size=64 if run.is_dry else "native",
    )  # fmt: skip
    begin = time.perf_counter()
    for index in range(frames):
        session.step(np.roll(image, 3 * index, axis=1), mask if index == 0 else None)
        if (index + 1) % mark:
            continue
        run.synchronize()
        now = time.perf_counter()
        run.row(
            model=model, size=size, frame=index + 1, frames_per_second=mark / (now - begin),
            peak_bytes=run.peak_bytes(), memory_bytes=session.memory_bytes,
        )  # fmt: skip
        if index + 1 == mark:
            run.reset_peak()
        if run.is_over:
            return
        begin = time.perf_counter()
