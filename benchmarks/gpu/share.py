"""Tell which part of the wall time of the demo clip, from the video to its mask files, is spent in the session.

The rest is decoding that no frame was ready for, writing that could not be done in the background, and Python.
"""

from __future__ import annotations

import argparse

from common import Run

import scale
from vos_zoo.demo import demo_clip

SECONDS = 20.0


def measure(run: Run) -> None:
    """Write one row for one object at 480p, the median of three runs after a bare session that warms up."""
    clip = demo_clip()
    options = argparse.Namespace(
        video=clip.video,
        mask=clip.first_mask,
        model="rde.small",
        device=str(run.device),
        end=2 if run.is_dry else None,
        rounds=1 if run.is_dry else 3,
        waits=[],
    )
    run.row(**scale.measure_share(options))
