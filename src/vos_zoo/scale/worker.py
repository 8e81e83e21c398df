"""What segments one video after another, in a process of its own: loads the model once, and answers for every job."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import platform
import queue
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from vos_zoo.errors import OutputInUseError, VosZooError
from vos_zoo.files import is_full, parse_json
from vos_zoo.scale.jobs import Job, digest_of
from vos_zoo.scale.stores import fetch, open_store
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vos_zoo.media.given_masks import MaskSource
    from vos_zoo.prompts.given import Prompts

__all__ = ["FINISHED_FOLDER", "Outcome", "RunSettings", "Worker", "marker_name", "serve"]

FINISHED_FOLDER = ".finished"
"""A small file for every finished video, named by video and settings, so that one listing tells what is done."""

_PROGRESS_EVERY = 0.5  # seconds
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What all videos of a run share.

    Attributes:
        out: Folder or address of the results.
        model: Name or folder of the model.
        options: Arguments of ``vos_zoo.segment_video``, as JSON data.
        overwrite: Whether results of other settings are replaced.
    """

    out: str
    model: str
    options: Mapping[str, Any]
    overwrite: bool = False

    def of_results(self) -> dict[str, Any]:
        """Return what results depend on, as JSON data."""
        return {"model": self.model, **self.options}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        kind: ``finished``, ``failed``, ``busy`` (another run is at work on it), ``full`` (no space is left here) or
            ``stopped``.
        error: Class of the error; empty if there is none.
        message: What was found, what was expected, what to do.
        record: What was made, as JSON data.
        is_worker_sound: Whether the worker may continue; after an unforeseen error a fresh one is the safer choice.
    """

    kind: str
    error: str = ""
    message: str = ""
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    is_worker_sound: bool = True


class JobRunner(Protocol):
    """What :func:`serve` asks of a worker."""

    def describe(self) -> Mapping[str, Any]:
        """Say who this is, as JSON data: ``version``, ``host``, ``device``, ``devices`` (of the machine)."""

    def run(self, job: Job, progress: Callable[[int, int], None]) -> Outcome:
        """Do one job; ``progress`` may raise :class:`StoppedError`."""


class StoppedError(Exception):
    """The driver wants no more results."""


class Worker:
    """Segments videos with one model on one device.

    Args:
        run: What all videos share.
        device: Where the network runs.
        threads: Threads of the network on a CPU; None leaves the choice to PyTorch.

    Raises:
        VosZooError: If the model cannot be loaded, or the device is not there.
    """

    def __init__(self, run: RunSettings, *, device: str = "auto", threads: int | None = None) -> None:
        import torch

        from vos_zoo.devices import find_device
        from vos_zoo.inference.arithmetic import check_precision, half_type
        from vos_zoo.inference.optimize import optimize_network
        from vos_zoo.inference.precision_choice import choose_precision
        from vos_zoo.inference.session import VideoSession
        from vos_zoo.weights import load_network

        if threads is not None:
            torch.set_num_threads(threads)
        self._run = run
        self._device = find_device(device)
        precision = check_precision(run.options.get("precision", "fp32"))
        network = load_network(run.model).to(self._device)
        if precision == "auto":  # sessions find the same choice, in the cache
            start = partial(VideoSession, network, size=None, device=self._device)
            precision = choose_precision(network, self._device, start)
        # Rearranged once, for all videos.
        self._network = optimize_network(network, self._device, winograd=half_type(precision) is None)
        self._store = open_store(run.out)
        self._named: dict[str, str] = {}  # what the user calls the copies that the current job reads and writes

    def describe(self) -> Mapping[str, Any]:
        """Say who this is."""
        import torch

        return {
            "version": __version__,
            "host": platform.node(),
            "device": str(self._device),
            "devices": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        }

    def run(self, job: Job, progress: Callable[[int, int], None]) -> Outcome:
        """Segment one video and put its results where they belong."""
        marker = f"{FINISHED_FOLDER}/{marker_name(job, self._run)}"
        self._named = {}
        try:
            noted = self._store.read_text(marker)
            if noted is not None:  # another run has finished it meanwhile
                return Outcome("finished", record=parse_json(noted))
            record = self._segment(job, progress)
            self._store.write(marker, json.dumps(record))
        except StoppedError:
            return Outcome("stopped")
        except OutputInUseError as error:
            return Outcome("busy", type(error).__name__, self._message(error))
        except OSError as error:
            if is_full(error):
                return Outcome("full", type(error).__name__, _full_message(error), is_worker_sound=False)
            return Outcome("failed", type(error).__name__, self._message(error))
        except VosZooError as error:
            return Outcome("failed", type(error).__name__, self._message(error))
        except Exception as error:  # whatever a library makes of a damaged file: the others must not suffer
            _logger.debug("Unforeseen, at %s", job.video, exc_info=True)
            message = (
                f"unforeseen {type(error).__name__}: {self._message(error)}. `vos-zoo segment --debug` with this video "
                "shows where."
            )
            return Outcome("failed", type(error).__name__, message, is_worker_sound=False)
        return Outcome("finished", record=record)

    def _message(self, error: Exception) -> str:
        """Say what is wrong with the user's own names: nobody knows temporary copies and signed addresses."""
        message = str(error)
        for read, origin in self._named.items():
            message = message.replace(read, origin) if read else message
        return message

    def _segment(self, job: Job, progress: Callable[[int, int], None]) -> dict[str, Any]:
        from vos_zoo.segmentation.video import segment_video

        begin = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="vos-zoo-") as place:
            scratch = Path(place)
            options = _as_arguments({**self._run.options, **job.options})
            is_repeatable = bool(job.prompts) or options.get("direction", "forward") != "forward"
            video = fetch(job.video, scratch / "video", is_repeatable=is_repeatable)
            masks = fetch(job.masks, scratch / "masks") if job.masks else ""
            prompts = fetch(job.prompts, scratch / "prompts") if job.prompts else ""
            self._named = {video: job.video, masks: job.masks, prompts: job.prompts}
            brings = not self._run.overwrite
            with self._store.folder(job.name, scratch / "results", brings=brings) as folder:
                self._named[str(folder)] = f"{self._store.address}/{job.name}"
                report = segment_video(
                    video,
                    _given(masks, prompts),
                    out=folder,
                    model=self._network,
                    device=self._device,
                    progress=progress,
                    resume=not self._run.overwrite,
                    overwrite=self._run.overwrite,
                    **options,
                )
        return {
            "row": job.row,
            "name": job.name,
            "video": job.video,
            "masks": report.frames,
            "objects": list(report.objects),
            "segmented": report.segmented,
            "seconds": round(report.seconds, 3),
            "seconds_in_all": round(time.perf_counter() - begin, 3),
            "device": report.device,
            "host": platform.node(),
            "vos_zoo_version": __version__,
        }


def _given(masks: str, prompts: str) -> MaskSource | Prompts:
    """Give masks as a path, or the prompts of a file with the masks beside them."""
    if not prompts:
        return masks
    from vos_zoo.prompts.given import Prompts
    from vos_zoo.prompts.json_form import read_prompts

    return Prompts(dict(read_prompts(Path(prompts)).items()), masks=masks or None)


def _as_arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give pairs back their kind: on the way to another process they were JSON."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def marker_name(job: Job, run: RunSettings) -> str:
    """Name the file that says that a job is finished."""
    return f"{job.name}.{digest_of(job, run.of_results())}"


def serve(make_worker: Callable[[Mapping[str, Any]], JobRunner]) -> int:
    """Work for the program at the other end of standard input and output, until it has no more jobs.

    Lines of JSON come in: first the settings, then a job each. Lines of JSON go out: ``ready`` or ``fatal``, then
    ``progress``, ``message`` and ``outcome``. What libraries print goes to standard error.

    Args:
        make_worker: Makes the worker from the settings.
    """
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the driver ends this process
    say = _Speaker(events)
    logger = logging.getLogger("vos_zoo")
    logger.addHandler(_Forward(say))
    logger.propagate = False
    settings = parse_json(sys.stdin.buffer.readline())
    try:
        worker = make_worker(settings)
    except (VosZooError, OSError) as error:
        say("fatal", message=str(error))
        return 1
    say("ready", **worker.describe())
    stop, jobs = threading.Event(), queue.SimpleQueue[Job | None]()
    threading.Thread(target=_read_jobs, args=(sys.stdin.buffer, jobs, stop), daemon=True).start()
    while (job := jobs.get()) is not None:
        say.job = job.name
        outcome = worker.run(job, _Reporter(say, stop))
        say("outcome", **dataclasses.asdict(outcome))
        if not outcome.is_worker_sound:
            return 1
    return 0


class _Speaker:
    """Writes events, from whatever thread.

    Args:
        stream: Where to.

    Attributes:
        job: Name of the job that events are about.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.job = ""

    def __call__(self, event: str, **content: Any) -> None:
        line = json.dumps({"event": event, "job": self.job, **content})
        with self._lock, contextlib.suppress(BrokenPipeError):  # a driver that has died: standard input ends, too
            print(line, file=self._stream, flush=True)


class _Reporter:
    """Passes progress on from time to time, and stops the job when the driver has gone."""

    def __init__(self, say: _Speaker, stop: threading.Event) -> None:
        self._say = say
        self._stop = stop
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        if self._stop.is_set():
            raise StoppedError
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY
            self._say("progress", done=done, total=total)


class _Forward(logging.Handler):
    """Sends warnings to the driver."""

    def __init__(self, say: _Speaker) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say("message", text=record.getMessage())


def _read_jobs(stream: IO[bytes], jobs: queue.SimpleQueue[Job | None], stop: threading.Event) -> None:
    for line in stream:
        jobs.put(Job(**parse_json(line)))
    stop.set()
    jobs.put(None)


def _full_message(error: OSError) -> str:
    return f"no space is left on the disk of {platform.node()} (at {error.filename or 'a temporary file'})"


def _make(settings: Mapping[str, Any]) -> Worker:
    return Worker(RunSettings(**settings["run"]), device=settings["device"], threads=settings["threads"])


if __name__ == "__main__":
    sys.exit(serve(_make))
