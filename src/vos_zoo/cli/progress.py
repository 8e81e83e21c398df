"""What the commands say while they work: bars on terminals, lines elsewhere, JSON for programs."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, TextIO

from vos_zoo.files import printable
from vos_zoo.waiting import Pace, describe_progress

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from vos_zoo.scale.many import ManyProgress

__all__ = ["Style", "add_progress_argument", "many_progress", "progress_bar", "report_event", "terminal"]

Style = Literal["auto", "json"]

_EVENT_EVERY = 0.2  # seconds between two JSON lines

#: Where JSON lines go; None where people read.
_events: ContextVar[TextIO | None] = ContextVar("events", default=None)


def add_progress_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--progress``."""
    parser.add_argument(
        "--progress",
        default="auto",
        choices=("auto", "json"),
        help="auto: a bar on a terminal, a line every few seconds elsewhere (default); json: JSON lines on standard "
        "output for programs, everything else goes to standard error",
    )


@contextlib.contextmanager
def terminal(style: Style = "auto") -> Iterator[None]:
    """Show what the library logs on standard error; in the style ``json`` keep standard output for JSON lines.

    Args:
        style: What ``--progress`` says.
    """
    stream = sys.stdout if style == "json" else None
    handler = _EventHandler(stream)
    logger = logging.getLogger("vos_zoo")
    level, token = logger.level, _events.set(stream)
    logger.addHandler(handler)
    logger.setLevel(min(logging.INFO, level or logging.INFO))
    try:
        with contextlib.redirect_stdout(sys.stderr) if style == "json" else contextlib.nullcontext():
            yield
    finally:
        _events.reset(token)
        logger.setLevel(level)
        logger.removeHandler(handler)


def report_event(event: str, **values: Any) -> None:
    """Write a JSON line, where JSON lines are asked for.

    Args:
        event: What happened.
        **values: More about it.
    """
    stream = _events.get()
    if stream is not None:
        _write(stream, {"event": event, **values})


@contextlib.contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress: a bar on a terminal, elsewhere a line every few seconds, or JSON lines.

    Args:
        unit: What is counted, such as "frames".

    Yields:
        A function that takes how much is done and how much there is.
    """
    if _events.get() is not None:
        yield Pace(functools.partial(_report_progress, unit), every=_EVENT_EVERY, first=0.0)
    elif not sys.stderr.isatty():
        yield Pace(functools.partial(_print_progress, unit))
    else:
        from tqdm import tqdm

        with tqdm(unit=f" {unit}", file=sys.stderr, leave=False) as bar:

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield show


@contextlib.contextmanager
def many_progress() -> Iterator[Callable[[ManyProgress], None]]:
    """Show how far many videos are in one line: renewed on a terminal, every few seconds elsewhere, or as JSON lines.

    Yields:
        A function that takes the state.
    """
    state: list[ManyProgress] = []
    is_bar = _events.get() is None and sys.stderr.isatty()

    def report(done: int, total: int, _speed: float, _left: float) -> None:
        now = state[-1]
        if _events.get() is not None:
            report_event(
                "progress", unit="videos", done=done, total=total, failed=now.failed, frames=now.frames,
                per_second=round(done / max(now.seconds, 1e-9), 3), seconds_left=round(now.seconds_left, 1),
            )  # fmt: skip
        else:
            start, end = ("\r", "\x1b[K") if is_bar else ("", "\n")
            print(f"{start}{_many_line(now)}", end=end, file=sys.stderr, flush=True)

    every = _EVENT_EVERY if is_bar or _events.get() is not None else None
    pace = Pace(report) if every is None else Pace(report, every=every, first=0.0)

    def show(now: ManyProgress) -> None:
        is_new = not state or now.done < now.total or state[-1].done < now.done
        state[:] = [now]
        if is_new:
            pace(now.done, now.total)

    try:
        yield show
    finally:
        if is_bar and state:
            print(file=sys.stderr)


def _many_line(now: ManyProgress) -> str:
    failed = f", {now.failed} failed" if now.failed else ""
    speed = f", {now.frames / max(now.seconds, 1e-9):.2f} frames/s" if now.frames else ""
    minutes, seconds = divmod(round(now.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    left = f", {hours}:{minutes:02d}:{seconds:02d} left" if now.seconds_left and now.done < now.total else ""
    return f"{now.done} of {now.total} videos{failed}{speed}{left}"


def _print_progress(unit: str, done: int, total: int, speed: float, left: float) -> None:
    print(describe_progress(unit, done, total, speed, left), file=sys.stderr, flush=True)


def _report_progress(unit: str, done: int, total: int, speed: float, left: float) -> None:
    report_event("progress", unit=unit, done=done, total=total, per_second=round(speed, 3), seconds_left=round(left, 1))


class _EventHandler(logging.Handler):
    """Prints log messages on standard error, or writes them as JSON lines.

    Args:
        stream: Where JSON lines go; None where people read.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__(logging.INFO)
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message, whatever thread it comes from."""
        try:
            text = "\n".join(map(printable, record.getMessage().splitlines()))  # names in it come from files
            if self._stream is None:
                _print_above_bars(text)
            else:
                _write(self._stream, {"event": "message", "level": record.levelname.lower(), "text": text})
        except Exception:  # as every handler does: a message must not end a run
            self.handleError(record)


def _write(stream: TextIO, event: dict[str, Any]) -> None:
    try:
        print(json.dumps(event), file=stream, flush=True)
    except BrokenPipeError:  # the reading program has gone; the work continues
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_above_bars(text: str) -> None:
    tqdm = sys.modules.get("tqdm")
    if tqdm is None:
        print(text, file=sys.stderr, flush=True)
    else:
        tqdm.tqdm.write(text, file=sys.stderr)
