"""A worker of `segment-many` without a network: it does what the name of the job says.

``fail`` in the name fails it, ``die`` kills the worker, ``die once`` does so on its first try, ``full`` finds no space,
``busy`` finds another run at work, ``slow`` takes half a minute unless it is stopped.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from vos_zoo.scale.worker import Outcome, StoppedError, serve
from vos_zoo.version import __version__

COMMAND = (sys.executable, str(Path(__file__)))


class StubWorker:
    def __init__(self, settings):
        self.out = Path(settings["run"]["out"])
        self.threads = settings.get("threads")
        self.version = settings["run"]["options"].get("version", __version__)

    def describe(self):
        gpus = int(os.environ.get("STUB_GPUS", "0"))
        return {"version": self.version, "host": "stub", "device": "cuda" if gpus else "cpu", "devices": gpus}

    def run(self, job, progress):
        if "fail" in job.name:
            return Outcome("failed", "VideoError", f"`{job.video}` is broken")
        if "full" in job.name:
            return Outcome("full", "OSError", "no space is left on the disk of stub", is_worker_sound=False)
        if "busy" in job.name:
            return Outcome("busy")
        tried = self.out / f"{job.name}.tried"
        if "die" in job.name and not ("once" in job.name and tried.exists()):
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        folder = self.out / job.name
        folder.mkdir(exist_ok=True)
        try:
            for frame in range(300 if "slow" in job.name else 2):
                progress(frame + 1, 300)
                (folder / f"{frame:05d}.png").touch()
                time.sleep(0.1 if "slow" in job.name else 0)
        except StoppedError:
            return Outcome("stopped")
        with (self.out / "log.txt").open("a") as file:
            file.write(f"{job.name}\n")
        seen = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
        return Outcome("finished", record={"name": job.name, "segmented": 2, "threads": self.threads, **seen})


if __name__ == "__main__":
    sys.exit(serve(StubWorker))
