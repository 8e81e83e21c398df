"""From a list of videos to a folder of masks for each: what is done, what is next, what failed."""

from __future__ import annotations

import dataclasses
import errno
import heapq
import itertools
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vos_zoo.errors import ConfigError, OutputExistsError, UsageError
from vos_zoo.failures import FAILURES_FILE, Failure, forget_failure, note_failure, read_failures
from vos_zoo.files import check_outputs, file_lock, parse_json
from vos_zoo.run_file import RUN_FILE
from vos_zoo.scale.jobs import digest_of
from vos_zoo.scale.local import LocalEngine
from vos_zoo.scale.manifest import open_list
from vos_zoo.scale.stores import LocalStore, is_remote, open_store
from vos_zoo.scale.worker import FINISHED_FOLDER, RunSettings, marker_name
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from vos_zoo.scale.engines import Engine, Event
    from vos_zoo.scale.jobs import Job
    from vos_zoo.scale.stores import Store

__all__ = ["JobQueue", "ManyProgress", "ManyReport", "segment_many"]

_WINDOW = 100_000  # jobs held in memory, among which the longest comes first
_ATTEMPTS = 3  # workers that a video may take down before it counts as failed
_POLL = 1.0  # seconds without an event until progress is shown all the same
_PATIENCE = 60.0  # seconds for another run to note its settings
_SEND_EVERY = 60.0  # seconds between two copies of the failures in a store
_SETTINGS_LOCK = ".settings.lock"
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ManyProgress:
    """How far a run is.

    Attributes:
        done: Videos that are finished or have failed, those of earlier runs included.
        total: Videos of the run, or of its shard.
        failed: Videos that have failed.
        frames: Frames that this run has segmented.
        seconds: Seconds since it began.
        seconds_left: Seconds left, estimated from the lengths of the videos; 0 if nothing is known yet.
    """

    done: int
    total: int
    failed: int
    frames: int
    seconds: float
    seconds_left: float


@dataclasses.dataclass(frozen=True)
class ManyReport:
    """What a run did.

    Attributes:
        out: Folder or address of the results.
        videos: Videos of the list, or of the shard.
        finished: Videos that this run finished.
        found: Videos that were finished before.
        failures: What failed.
        elsewhere: Names of videos that another run is working on.
        frames: Frames that this run segmented.
        seconds: How long it took.
    """

    out: str
    videos: int
    finished: int
    found: int
    failures: tuple[Failure, ...]
    elsewhere: tuple[str, ...]
    frames: int
    seconds: float


def segment_many(
    source: str | Path,
    *,
    out: str | Path,
    masks: str | Path | None = None,
    model: str | Path = "rde",
    engine: Literal["local", "ray"] | Callable[[RunSettings], Engine] = "local",
    workers: int | None = None,
    device: str = "auto",
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
    progress: Callable[[ManyProgress], None] | None = None,
    **options: Any,
) -> ManyReport:
    """Segment many videos, each into its own folder.

    Every worker holds the model once and takes one video at a time, the longest first. A video that fails is recorded
    in ``failures.jsonl`` and skipped; finished videos are kept, and an interrupted one continues after its last mask.
    Several runs with the same settings may share ``out``.

    Args:
        source: A table of videos, a folder of them or a pattern; see :func:`vos_zoo.scale.manifest.open_list`.
        out: Folder for the results, or the address of a store such as ``s3://bucket/masks``.
        masks: Folder of the given masks, where ``source`` is not a table.
        model: Name or folder of a model; all workers load it.
        engine: ``"local"`` for processes of this machine, ``"ray"`` for actors of a Ray cluster, or what makes an
            engine from the settings of the run.
        workers: Number of workers; None means one per GPU or, on a CPU, one per four cores.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` for all GPUs, or one device such as ``"cuda:1"``.
        shard: (k, n) does the k-th of n parts of the list, k from 1; for job arrays.
        overwrite: Replace results that were made with other settings.
        progress: Called from time to time.
        options: Arguments of :func:`vos_zoo.segment_video` for all videos, those of ``vos_zoo.scale.jobs.OPTIONS`` and
            ``precision``; a row of the table may have its own.

    Returns:
        What was done and what failed.

    Raises:
        ManifestError: If rows name no work or the same work twice; the message names them, and nothing was begun.
        MissingFileError: If there is nothing at ``source``.
        ConfigError: If ``out`` belongs to a run with other settings, a worker cannot start or has another version of
            this package, or an argument is out of range.
        OutputExistsError: If ``out`` holds something else, or is where the videos are.
        StoreError: If a store cannot be reached.
        OSError: If no worker is left because all their disks are full.

    Example:
        >>> from vos_zoo.demo import demo_clip
        >>> row = {"video": str(demo_clip().video), "masks": str(demo_clip().first_mask)}
        >>> _ = Path("list.jsonl").write_text(json.dumps(row))
        >>> report = segment_many("list.jsonl", out="many", workers=1, device="cpu", size=48, end=2)
        >>> report.finished, report.frames, report.failures
        (1, 2, ())
    """
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise ConfigError(f"There is no shard {shard[0]}/{shard[1]}. Expected K/N with K from 1 to N, such as 3/16.")
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers were asked for. Expected at least 1.")
    videos = open_list(source, masks)
    count = videos.check()
    run = RunSettings(str(out), str(model), options, overwrite)
    store = open_store(out)
    if isinstance(store, LocalStore):
        check_outputs([store.root], [part for part in (source, masks) if part is not None and not is_remote(part)])
    _begin(store, run)
    with _Ledger(store, run, shard) as ledger:
        total = count if shard is None else len(range(shard[0] - 1, count, shard[1]))
        jobs = (job for job in videos if shard is None or (job.row - 1) % shard[1] == shard[0] - 1)
        return _Run(run, ledger, total, progress).drive(
            JobQueue(ledger.open_jobs(jobs)), _maker(engine, workers, device)
        )


def _maker(
    engine: Literal["local", "ray"] | Callable[[RunSettings], Engine], workers: int | None, device: str
) -> Callable[[RunSettings], Engine]:
    if callable(engine):
        return engine
    if engine == "local":
        return lambda run: LocalEngine(run, workers=workers, device=device)
    if engine == "ray":
        from vos_zoo.scale.on_ray import RayEngine

        return lambda run: RayEngine(run, workers=workers, device=device)
    raise UsageError(f"There is no engine {engine!r}. Expected 'local' or 'ray'.")


class JobQueue:
    """Jobs, the longest first among a bounded number of those to come.

    Args:
        jobs: All jobs, in any order.
        window: Most jobs that are held.

    Example:
        >>> from vos_zoo.scale.jobs import Job
        >>> queue = JobQueue(iter([Job(n, str(n), "", "", {}, length) for n, length in enumerate((3, 9, 5))]))
        >>> [queue.take().length for _ in range(3)], queue.take()
        ([9, 5, 3], None)
    """

    def __init__(self, jobs: Iterator[Job], *, window: int = _WINDOW) -> None:
        self._jobs = jobs
        self._heap: list[tuple[int, int, Job]] = []
        self._window = window

    def take(self) -> Job | None:
        """Take the longest job, or None if none is left."""
        if len(self._heap) < self._window:
            for job in itertools.islice(self._jobs, self._window - len(self._heap)):
                self.put(job)
        return heapq.heappop(self._heap)[2] if self._heap else None

    def put(self, job: Job) -> None:
        """Add a job, such as one that its worker did not survive."""
        heapq.heappush(self._heap, (-job.length, job.row, job))


class _Ledger:
    """What is finished and what failed, in the store of the results.

    Args:
        store: Where results go.
        run: Settings of the run.
        shard: Part of the list that the run does.
    """

    def __init__(self, store: Store, run: RunSettings, shard: tuple[int, int] | None) -> None:
        self._store = store
        self._run = run
        self.finished = 0
        self.found = 0
        self.failures: dict[str, Failure] = {}
        self._settings = run.of_results()
        self._scratch = None if isinstance(store, LocalStore) else tempfile.TemporaryDirectory(prefix="vos-zoo-")
        self._folder = store.root if isinstance(store, LocalStore) else Path(self._scratch.name)  # type: ignore[union-attr]
        # Appending is not an operation of a store, so that jobs of an array keep files of their own there.
        self._file = FAILURES_FILE if shard is None else f"failures-{shard[0]}-of-{shard[1]}.jsonl"
        self._sent = time.monotonic()
        self._earlier = set(read_failures(self._folder))

    def __enter__(self) -> _Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._scratch is not None:
            if kind is None:
                self._send(now=True)
            self._scratch.cleanup()

    def open_jobs(self, jobs: Iterable[Job]) -> Iterator[Job]:
        """Return the jobs that are not finished; those that are finished with other settings fail."""
        finished = dict(name.rsplit(".", 1) for name in self._store.names(FINISHED_FOLDER) if "." in name)
        folders = set(self._store.names("")) if isinstance(self._store, LocalStore) else None
        for job in jobs:
            digest = finished.get(job.name)
            if digest is None or (folders is not None and job.name not in folders):  # whose results were removed
                yield job
            elif digest == digest_of(job, self._settings):
                self.found += 1
            elif self._run.overwrite:
                self._store.remove(f"{FINISHED_FOLDER}/{job.name}.{digest}")
                yield job
            else:
                self.fail(
                    job,
                    "ConfigError",
                    f"{job.name!r} was finished with another video, masks or settings. Give it another `name` or "
                    "folder, or replace results with overwrite=True (`--overwrite`).",
                )

    def finish(self, job: Job, record: Mapping[str, Any]) -> None:
        """Note a finished video, for a worker whose disk is not this one, too."""
        self.finished += 1
        marker = f"{FINISHED_FOLDER}/{marker_name(job, self._run)}"
        if self._store.read_text(marker) is None:
            self._store.write(marker, json.dumps(record))
        if job.name in self._earlier:
            forget_failure(self._folder, job.name)

    def fail(self, job: Job, error: str, message: str) -> None:
        """Note a failed video."""
        failure = Failure(job.name, error, message, job.row)
        self.failures[job.name] = failure
        note_failure(self._folder, failure)
        self._earlier.add(job.name)
        _logger.warning("%s (row %d) failed: %s", job.name, job.row, message)
        self._send()

    def _send(self, *, now: bool = False) -> None:
        if self._scratch is None or (not now and time.monotonic() < self._sent + _SEND_EVERY):
            return
        self._sent = time.monotonic()
        path = self._folder / FAILURES_FILE
        if path.is_file():
            self._store.write(self._file, path.read_text(encoding="utf-8"))
        elif self._store.read_text(self._file) is not None:
            self._store.write(self._file, "")


class _Run:
    """The loop between a queue and an engine.

    Args:
        run: Settings of the run.
        ledger: What is finished.
        total: Number of videos.
        progress: Called from time to time.
    """

    def __init__(
        self, run: RunSettings, ledger: _Ledger, total: int, progress: Callable[[ManyProgress], None] | None
    ) -> None:
        self._settings = run
        self._ledger = ledger
        self._total = total
        self._progress = progress
        self._attempts: dict[str, int] = {}
        self._elsewhere: dict[str, Job] = {}
        self._frames: dict[str, int] = {}  # of jobs at work
        self._frames_done = 0
        self._lengths = 0  # of the videos that are done
        self._full = ""
        self._begin = time.monotonic()

    def drive(self, jobs: JobQueue, make_engine: Callable[[RunSettings], Engine]) -> ManyReport:
        """Do all jobs."""
        job = jobs.take()
        if job is not None:  # no model is loaded where nothing is left to do
            jobs.put(job)
            engine = make_engine(self._settings)
            try:
                self._loop(jobs, engine)
            finally:
                engine.close()
        self._show()
        return ManyReport(
            out=self._settings.out,
            videos=self._total,
            finished=self._ledger.finished,
            found=self._ledger.found,
            failures=tuple(self._ledger.failures.values()),
            elsewhere=tuple(self._elsewhere),
            frames=self._frames_done,
            seconds=time.monotonic() - self._begin,
        )

    def _loop(self, jobs: JobQueue, engine: Engine) -> None:
        at_work = 0
        next_job = jobs.take()
        while next_job is not None or at_work:
            while next_job is not None and engine.room():
                engine.submit(next_job)
                at_work += 1
                next_job = jobs.take()
            if not engine.is_alive():
                raise OSError(errno.ENOSPC, self._full or "no worker is left", self._settings.out)
            for event in engine.wait(_POLL):
                if event.kind in ("outcome", "lost"):
                    at_work -= 1
                    again = self._settle(event)
                    if again is not None:
                        jobs.put(again)
                        next_job = next_job or jobs.take()
                elif event.kind == "progress":
                    self._frames[event.job.name] = event.done
                else:
                    _logger.warning("%s: %s", event.job.name, event.text)
            self._show()

    def _settle(self, event: Event) -> Job | None:
        """Note what became of a job; returns it if it has to be done again."""
        job, outcome = event.job, event.outcome
        self._frames.pop(job.name, None)
        if outcome is None:
            attempts = self._attempts[job.name] = self._attempts.get(job.name, 0) + 1
            if attempts < _ATTEMPTS:
                _logger.warning("%s: %s; another one continues it", job.name, event.text)
                return job
            self._ledger.fail(job, "WorkerDied", f"{event.text}, and so did {attempts - 1} others before")
        elif outcome.kind == "finished":
            self._ledger.finish(job, outcome.record)
            self._frames_done += int(outcome.record.get("segmented", 0))
            self._elsewhere.pop(job.name, None)
        elif outcome.kind == "busy":
            if job.name not in self._elsewhere:  # once more at the end, if the other run has left it by then
                self._elsewhere[job.name] = job
                return job._replace(length=-1)
            return None
        elif outcome.kind == "full":
            self._full = outcome.message
            _logger.warning("%s (row %d): %s; another worker takes it", job.name, job.row, outcome.message)
            return job
        elif outcome.kind == "failed":
            self._ledger.fail(job, outcome.error, outcome.message)
        self._lengths += max(job.length, 1)
        return None

    def _show(self) -> None:
        if self._progress is None:
            return
        ledger = self._ledger
        failed = len(ledger.failures)
        done = ledger.found + ledger.finished + failed
        seconds = time.monotonic() - self._begin
        own = ledger.finished + failed
        left = seconds / own * (self._total - done) if own else 0.0
        frames = self._frames_done + sum(self._frames.values())
        self._progress(ManyProgress(done, self._total, failed, frames, seconds, left))


def _begin(store: Store, run: RunSettings) -> None:
    """Note the settings of the run, or make sure that they are those of the runs before."""
    if not isinstance(store, LocalStore):
        _note_settings(store, run)
        return
    if store.root.exists() and not store.root.is_dir():
        raise OutputExistsError(f"`{store.root}` is a file where an output folder was expected. Choose a new name.")
    store.root.mkdir(parents=True, exist_ok=True)
    with file_lock(store.root / _SETTINGS_LOCK, what=store.root, wait=_PATIENCE):
        _note_settings(store, run)


def _note_settings(store: Store, run: RunSettings) -> None:
    text = store.read_text(RUN_FILE)
    if text is None:
        other = next((name for name in store.names("") if not name.startswith(".")), None)
        if other is not None and not run.overwrite:
            raise OutputExistsError(
                f"`{store.address}` holds {other} and no {RUN_FILE} of a run. Expected a new folder, or that of a run "
                "to resume. Choose another one, or add to it with overwrite=True (`--overwrite`)."
            )
    else:
        _compare_settings(store, run, text)
    if text is None or run.overwrite:
        content = {"vos_zoo_version": __version__, "settings": run.of_results()}
        store.write(RUN_FILE, json.dumps(content, indent=2) + "\n")


def _compare_settings(store: Store, run: RunSettings, text: str) -> None:
    settings = json.loads(json.dumps(run.of_results()))  # lists for tuples, as the file has them
    try:
        content: Any = parse_json(text)
        earlier, version = dict(content["settings"]), content["vos_zoo_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"`{store.address}/{RUN_FILE}` is damaged ({error!r}), so its run cannot be resumed. Choose another folder."
        ) from error
    if version != __version__:
        _logger.warning(
            "The results in %s were begun by vos_zoo %s; this is %s, which may give other masks.",
            store.address, version, __version__,
        )  # fmt: skip
    names = sorted(earlier.keys() | settings.keys())
    changed = [name for name in names if earlier.get(name) != settings.get(name)]
    if changed and not run.overwrite:
        differences = "; ".join(f"{name} {earlier.get(name)!r}, now {settings.get(name)!r}" for name in changed)
        raise ConfigError(
            f"The run in `{store.address}` had other settings: {differences}. Continue with the same ones, choose "
            "another folder, or replace its results with overwrite=True (`--overwrite`)."
        )
