"""Frames per second of whole sessions at 480p in fp32 and bf16, with 1 and 5 objects, and without graphs.

They are warm: nothing is compiled or recorded any more while they are timed.
"""

from __future__ import annotations

import time

from common import Run, compilations
from session import build, moving_video

from vos_zoo.inference.session import VideoSession

SECONDS = 120.0
MODELS = (("rde", "small"), ("rde", "r50"), ("stcn", "r50"))
TARGETS = {("rde", "small"): 400.0, ("rde", "r50"): 200.0}  # frames per second with one object
_MOST_WARM_UP, _QUIET, _TIMED = 60, 15, 100  # frames: to warm up, of these in a row without a compilation, and to time


def measure(run: Run) -> None:
    """Write one row for each model, precision and number of objects."""
    for model, size in (("rde", "tiny"),) if run.is_dry else MODELS:
        for precision in ("fp32", "bf16"):
            for objects in (1, 5):
                for graphs in (True, False) if objects == 1 else (True,):
                    if run.is_over:
                        return
                    measure_session(run, model, size, precision, objects, graphs=graphs)


def measure_session(run: Run, model: str, size: str, precision: str, objects: int, *, graphs: bool) -> None:
    """Warm a session up and time it; numbers of the frames are random, weights too."""
    video, mask = moving_video(4, objects)
    session = VideoSession(
        build(model, size),
        device=run.device,
        precision=precision,
        size=64 if run.is_dry else "native",
        graphs=graphs,
    )
    timed, quiet, warm = (3, 1, 2) if run.is_dry else (_TIMED, _QUIET, _MOST_WARM_UP)
    session.step(video[0], mask)
    with compilations() as compiled:
        known = since = frames = 0
        while since < quiet and frames < warm:
            session.step(video[frames % len(video)])
            frames += 1
            is_settled = len(compiled) == known and "not yet" not in session.graph_states.values()
            since = since + 1 if is_settled else 0
            known = len(compiled)
        run.reset_peak()
        run.synchronize()
        begin = time.perf_counter()
        pending = []
        for index in range(timed):
            pending.append(session.submit(video[index % len(video)]))
            if len(pending) > 1:  # one frame late, as for files
                pending.pop(0).result()
        run.synchronize()
        rate = timed / (time.perf_counter() - begin)
    target = TARGETS.get((model, size)) if objects == 1 else None
    run.row(
        model=model, size=size, precision=precision, objects=objects, graphs=graphs, frames_per_second=rate,
        warm_up=frames, graph_states=session.graph_states, compiled=known, compiled_while_timed=len(compiled) - known,
        peak_bytes=run.peak_bytes(), is_met=None if target is None else rate >= target,
    )  # fmt: skip
