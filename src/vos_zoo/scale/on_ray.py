"""The engine for a cluster: Ray actors on the devices of its nodes."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from vos_zoo.errors import ConfigError, MissingExtraError, VosZooError
from vos_zoo.scale.engines import Engine, Event, check_version
from vos_zoo.scale.worker import StoppedError, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vos_zoo.scale.jobs import Job
    from vos_zoo.scale.worker import JobRunner, Outcome, RunSettings

__all__ = ["RayEngine"]

_CORES_PER_WORKER = 4
_GRACE = 30.0  # seconds for the current frame of a worker that is to end
_STARTS = 3  # workers in a row that die before they begin, until the run gives up
_PATIENCE = 30.0  # seconds without room for a worker until a message says so
_ASK_EVERY = 2.0  # seconds between two questions about frames
_logger = logging.getLogger(__name__)


class RayEngine(Engine):
    """Actors that hold a model each, spread over the nodes.

    An actor that dies, alone or with its node, is replaced wherever there is room, and its job reported as lost. The
    driver knows the jobs that actors are at work on and no others.

    Args:
        run: What all videos share.
        workers: Number of actors; None means one for each GPU of the cluster, or for every four cores.
        device: ``auto``, ``cpu`` or ``cuda``.
        make_worker: Makes the worker inside of an actor, from the settings, device and threads.

    Raises:
        MissingExtraError: If Ray is not installed.
        ConfigError: If there is no cluster at ``RAY_ADDRESS``, or it has no GPU and one is asked for.
    """

    def __init__(
        self,
        run: RunSettings,
        *,
        workers: int | None = None,
        device: str = "auto",
        make_worker: Callable[[RunSettings, str, int], JobRunner] | None = None,
    ) -> None:
        self._ray = _import_ray()
        self._was_running = self._ray.is_initialized()
        if not self._was_running:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a user's runs leaves the cluster
            try:
                self._ray.init(logging_level=logging.WARNING)
            except ConnectionError as error:
                raise ConfigError(
                    f"There is no Ray cluster at {os.environ.get('RAY_ADDRESS')!r} ({error}). Start one with `ray "
                    "start --head`, or unset RAY_ADDRESS to use this machine alone."
                ) from error
        resources: Mapping[str, float] = self._ray.cluster_resources()
        cores, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
        if device.startswith("cuda") and not gpus:
            raise ConfigError(f"Device {device!r} was asked for, but no node of the Ray cluster has a GPU. Use `auto`.")
        uses_gpus = gpus > 0 and device != "cpu"
        count = workers or (gpus if uses_gpus else max(1, cores // _CORES_PER_WORKER))
        # Cores of one node: an actor does not span two.
        widest = max((int(node["Resources"].get("CPU", 1)) for node in self._ray.nodes() if node["Alive"]), default=1)
        threads = max(1, min(cores // count, widest))
        maker = _make_worker if make_worker is None else make_worker
        actor = self._ray.remote(_Actor).options(
            num_cpus=threads,
            num_gpus=1 if uses_gpus else 0,
            max_concurrency=2,  # a job, and questions about it
            scheduling_strategy="SPREAD",
        )
        place = "cuda" if uses_gpus else "cpu" if gpus else device
        self._new_actor: Callable[[], Any] = lambda: actor.remote(maker, run, place, threads)
        self._slots = [_Slot(self._new_actor()) for _ in range(count)]
        self._failed_starts = 0
        self._asked = self._heard = time.monotonic()
        self._is_waiting_said = False

    def room(self) -> int:
        """Say how many more jobs can begin at this moment."""
        return sum(slot.is_ready and slot.job is None for slot in self._slots)

    def is_alive(self) -> bool:
        """Say whether there is an actor left."""
        return bool(self._slots)

    def submit(self, job: Job) -> None:
        """Return a job to a free actor."""
        slot = next(slot for slot in self._slots if slot.is_ready and slot.job is None)
        slot.job = job
        slot.pending = slot.actor.run.remote(job)

    def wait(self, seconds: float) -> Sequence[Event]:
        """Wait until an actor is ready or done, or dies."""
        slots = {slot.pending: slot for slot in self._slots if slot.pending is not None}
        found: list[Event] = []
        done: list[Any] = []
        if slots:
            done, _ = self._ray.wait(list(slots), num_returns=1, timeout=seconds)
            if done:
                done, _ = self._ray.wait(list(slots), num_returns=len(slots), timeout=0)
        for reference in done:
            self._heard, self._is_waiting_said = time.monotonic(), False
            found += self._handle(slots[reference])
        found += self._frames()
        self._say_waiting()
        return found

    def close(self) -> None:
        """End all actors after their current frames."""
        working = [slot for slot in self._slots if slot.job is not None]
        for slot in working:
            slot.actor.stop.remote()
        if working:
            self._ray.wait([slot.pending for slot in working], num_returns=len(working), timeout=_GRACE)
        for slot in self._slots:
            self._ray.kill(slot.actor)
        self._slots = []
        if not self._was_running:
            self._ray.shutdown()

    def _handle(self, slot: _Slot) -> list[Event]:
        job, reference = slot.job, slot.pending
        slot.pending = None
        try:
            content = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            return self._replace(slot, job, error)
        if job is None:
            if "fatal" in content:
                raise ConfigError(f"No worker can start: {content['fatal']}")
            check_version(content)
            slot.is_ready = True
            self._failed_starts = 0
            return []
        outcome: Outcome = content
        slot.job = None
        if not outcome.is_worker_sound:
            self._ray.kill(slot.actor)
            self._slots.remove(slot)
            if outcome.kind != "full":
                self._slots.append(_Slot(self._new_actor()))
        return [Event("outcome", job, outcome=outcome)]

    def _replace(self, slot: _Slot, job: Job | None, error: BaseException) -> list[Event]:
        if not slot.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise ConfigError(
                    f"{_STARTS} workers in a row died before they could begin: {_first_line(error)} Expected nodes "
                    "with the same packages and enough memory for the model."
                ) from error
        self._slots.remove(slot)
        self._slots.append(_Slot(self._new_actor()))
        return [] if job is None else [Event("lost", job, text=f"its worker died ({_first_line(error)})")]

    def _frames(self) -> list[Event]:
        """Ask the actors how far they are, now and then."""
        if time.monotonic() < self._asked + _ASK_EVERY:
            return []
        self._asked = time.monotonic()
        working = {slot.actor.frames.remote(): slot for slot in self._slots if slot.job is not None}
        if not working:
            return []
        answered, _ = self._ray.wait(list(working), num_returns=len(working), timeout=_ASK_EVERY / 4)
        found = []
        for reference in answered:
            job = working[reference].job
            with contextlib.suppress(self._ray.exceptions.RayActorError):  # which its job will tell
                done = self._ray.get(reference)
                if job is not None:
                    found.append(Event("progress", job, done=done))
        return found

    def _say_waiting(self) -> None:
        if self._is_waiting_said or self.room() or any(slot.job is not None for slot in self._slots):
            return
        if time.monotonic() > self._heard + _PATIENCE:
            self._is_waiting_said = True
            _logger.warning(
                "No node of the Ray cluster has had room for a worker for %d s; the run goes on as soon as one has. "
                "`ray status` shows what is taken.", _PATIENCE,
            )  # fmt: skip


@dataclasses.dataclass(eq=False)
class _Slot:
    """Place of one actor.

    Attributes:
        actor: The actor.
        job: What it is at work on.
        is_ready: Whether it holds a model.
        pending: What it will answer next.
    """

    actor: Any
    job: Job | None = None
    is_ready: bool = False
    pending: Any = None

    def __post_init__(self) -> None:
        """Ask the actor to begin."""
        self.pending = self.actor.begin.remote()


class _Actor:
    """A worker inside of a Ray actor.

    Args:
        make_worker: Makes the worker.
        run: What all videos share.
        device: Where the network runs.
        threads: Threads on a CPU.
    """

    def __init__(
        self, make_worker: Callable[[RunSettings, str, int], JobRunner], run: RunSettings, device: str, threads: int
    ) -> None:
        self._make: Callable[[], JobRunner] = lambda: make_worker(run, device, threads)
        self._worker: JobRunner | None = None
        self._stop = threading.Event()
        self._done = 0

    def begin(self) -> Mapping[str, Any]:
        """Load the model, and say who this is, or why that is impossible."""
        try:
            self._worker = self._make()
        except (VosZooError, OSError) as error:
            return {"fatal": str(error)}
        return self._worker.describe()

    def run(self, job: Job) -> Outcome:
        """Do one job."""
        assert self._worker is not None, "begin comes first"
        self._done = 0
        return self._worker.run(job, self._progress)

    def frames(self) -> int:
        """Say how many frames of the current job are done."""
        return self._done

    def stop(self) -> None:
        """End the current job after its frame."""
        self._stop.set()

    def _progress(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise StoppedError
        self._done = done


def _make_worker(run: RunSettings, device: str, threads: int) -> JobRunner:
    return Worker(run, device=device, threads=threads)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(
            "The engine `ray` needs Ray, which is not installed. Install it with `pip install 'vos-zoo[cluster]'` on "
            "all nodes."
        ) from error
    return ray
