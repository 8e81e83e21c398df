"""Compare labels of the demo clip with those of the CPU in float32, for every precision; at most 0.1 % may differ."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
from common import Run

from vos_zoo.demo import demo_clip
from vos_zoo.inference.session import VideoSession
from vos_zoo.media.masks import read_mask
from vos_zoo.media.reader import open_video
from vos_zoo.models.load import load_model

SECONDS = 75.0
MOST_DIFFERENT = 1e-3


def measure(run: Run) -> None:
    """Write one row for each model and precision."""
    clip = demo_clip()
    frames = [frame.image for frame in islice(open_video(clip.video), 3 if run.is_dry else 40)]
    mask = read_mask(clip.first_mask).astype(np.int32)
    size = 96 if run.is_dry else "native"
    for name in ("rde.small", "stcn.small"):
        network = load_model(name, device="cpu").network
        expected = labels(network, frames, mask, device="cpu", size=size)
        for precision in ("fp32", "tf32", "bf16", "fp16"):
            if run.is_over:
                return
            found = labels(network, frames, mask, device=run.device, size=size, precision=precision)
            different = float((found != expected).mean())
            run.row(
                model=name, precision=precision, frames=len(frames), different=different,
                is_met=different <= MOST_DIFFERENT,
            )  # fmt: skip


def labels(network: Any, frames: list[Any], mask: Any, **options: Any) -> Any:
    """Return the masks of all frames but the first."""
    session = VideoSession(network, **options)
    return np.stack([session.step(frame, mask if index == 0 else None).mask for index, frame in enumerate(frames)][1:])
