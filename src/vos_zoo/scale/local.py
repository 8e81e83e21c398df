"""The engine for one machine: a process for each device, or for each group of processor cores."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from vos_zoo.errors import ConfigError
from vos_zoo.files import parse_json
from vos_zoo.scale.engines import Engine, Event, check_version
from vos_zoo.scale.worker import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vos_zoo.scale.jobs import Job
    from vos_zoo.scale.worker import RunSettings

__all__ = ["LocalEngine", "usable_cores"]

_WORKER = (sys.executable, "-m", "vos_zoo.scale.worker")
_CORES_PER_WORKER = 4  # more threads gain little on frames of common sizes
_GRACE = 30.0  # seconds for the current frame of a worker that is to end


class LocalEngine(Engine):
    """Processes that hold a model each.

    A process that dies is replaced, and its job reported as lost. On GPUs there is one process for each; on a CPU the
    cores are shared out evenly, unless ``OMP_NUM_THREADS`` says how many threads each takes.

    Args:
        run: What all videos share.
        workers: Number of processes; None means one for each GPU, or for every four cores.
        device: ``auto``, ``cpu``, ``cuda`` (all GPUs), or one device such as ``cuda:1``.
        command: Program of a worker.
    """

    def __init__(
        self,
        run: RunSettings,
        *,
        workers: int | None = None,
        device: str = "auto",
        command: Sequence[str] = _WORKER,
    ) -> None:
        self._run = run
        self._device = device
        self._command = command
        self._cores = usable_cores()
        self._wanted = workers
        self._is_complete = False  # whether all processes have been started
        self._threads = max(1, self._cores // (workers or max(1, self._cores // _CORES_PER_WORKER)))
        self._gpus = 0
        self._events: queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]] = queue.SimpleQueue()
        self._processes: list[_Process] = []
        # Where there may be GPUs, the first process says how many, before others need to know which one is theirs.
        for number in range(workers if workers is not None and device == "cpu" else 1):
            self._start(number)

    def room(self) -> int:
        """Say how many more jobs can begin at this moment."""
        return sum(process.is_free for process in self._processes)

    def is_alive(self) -> bool:
        """Say whether there is a worker left."""
        return bool(self._processes)

    def submit(self, job: Job) -> None:
        """Return a job to a free worker."""
        next(process for process in self._processes if process.is_free).give(job)

    def wait(self, seconds: float) -> Sequence[Event]:
        """Wait until something happens, and take all of it."""
        found: list[Event] = []
        with contextlib.suppress(queue.Empty):
            found += self._handle(*self._events.get(timeout=seconds))
            while True:
                found += self._handle(*self._events.get_nowait())
        return found

    def close(self) -> None:
        """End all workers after their current frames, and those that do not end by force."""
        for process in self._processes:
            process.end()
        deadline = time.monotonic() + _GRACE
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        self._processes = []

    def _start(self, place: int) -> None:
        gpus, device = self._gpus, self._device
        environment = dict(os.environ)
        if gpus and device in ("auto", "cuda"):
            visible = environment.get("CUDA_VISIBLE_DEVICES")
            names = visible.split(",") if visible else [str(number) for number in range(gpus)]
            environment["CUDA_VISIBLE_DEVICES"] = names[place % len(names)]
        threads = None
        if "OMP_NUM_THREADS" not in environment:  # else the user has chosen, for MKL too
            threads = self._threads
            environment["OMP_NUM_THREADS"] = str(threads)
            environment.setdefault("MKL_NUM_THREADS", str(threads))
        settings = {"run": dataclasses.asdict(self._run), "device": device, "threads": threads}
        self._processes.append(_Process(place, self._command, settings, environment, self._events))

    def _handle(self, process: _Process, content: dict[str, Any] | None) -> list[Event]:
        if content is None:
            return self._handle_end(process)
        kind, job = content["event"], process.job
        if kind == "ready":
            self._handle_ready(process, content)
        elif kind == "fatal":
            raise ConfigError(f"No worker can start: {content['message']}")
        elif job is None:
            pass  # a word about no job
        elif kind == "progress":
            return [Event("progress", job, done=content["done"])]
        elif kind == "message":
            return [Event("message", job, text=content["text"])]
        elif kind == "outcome":
            names = {field.name for field in dataclasses.fields(Outcome)}
            outcome = Outcome(**{name: value for name, value in content.items() if name in names})
            process.job = None
            process.is_sound = outcome.is_worker_sound
            process.is_retired = outcome.kind == "full"
            return [Event("outcome", job, outcome=outcome)]
        return []

    def _handle_ready(self, process: _Process, content: Mapping[str, Any]) -> None:
        check_version(content)
        process.is_ready = True
        if self._is_complete:
            return
        self._is_complete = True
        self._gpus = content["devices"] if str(content["device"]).startswith("cuda") else 0
        is_named = self._device not in ("auto", "cuda", "cpu")
        wanted = self._wanted or (1 if is_named else self._gpus or max(1, self._cores // _CORES_PER_WORKER))
        for number in range(len(self._processes), wanted):
            self._start(number)

    def _handle_end(self, process: _Process) -> list[Event]:
        code = process.join(_GRACE)
        self._processes.remove(process)
        job = process.job
        if not process.is_ready:
            raise ConfigError(
                f"A worker ended with code {code} before it could begin. Its last words are above; `vos-zoo doctor` "
                "looks for the reason."
            )
        if not process.is_retired:
            self._start(process.place)
        if job is None:
            return []
        return [Event("lost", job, text=f"its worker died with code {code}")]


class _Process:
    """One worker, seen from the driver."""

    def __init__(
        self,
        place: int,
        command: Sequence[str],
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        events: queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]],
    ) -> None:
        self.place = place
        self.job: Job | None = None
        self.is_ready = False
        self.is_sound = True
        self.is_retired = False
        self._popen = subprocess.Popen(  # noqa: S603  # our own module
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environment)
        )
        self._thread = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._thread.start()
        self._write(settings)

    @property
    def is_free(self) -> bool:
        """Whether it can take a job."""
        return self.is_ready and self.is_sound and self.job is None

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._popen.pid

    def give(self, job: Job) -> None:
        """Let it begin a job."""
        self.job = job
        self._write(job._asdict())

    def end(self) -> None:
        """Let it end after the current frame."""
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def join(self, seconds: float) -> int:
        """Wait for its end, then force it; returns the exit code, negative for a signal."""
        self.end()
        try:
            code = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            code = self._popen.wait()
        self._thread.join(seconds)
        if self._popen.stdout is not None:
            self._popen.stdout.close()
        return code

    def _write(self, content: Mapping[str, Any]) -> None:
        assert self._popen.stdin is not None
        with contextlib.suppress(OSError):  # it has died, which its output tells
            self._popen.stdin.write(json.dumps(content).encode() + b"\n")
            self._popen.stdin.flush()

    def _listen(self, events: queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]]) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            with contextlib.suppress(ValueError):  # a line that a killed process cut
                events.put((self, parse_json(line)))
        events.put((self, None))


def usable_cores() -> int:
    """Count the processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1
