"""Files that would run code, and a server that hands them out."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch


class Touch:
    """An object whose unpickling makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)


def save_hostile_checkpoint(path: Path, marker: Path) -> Path:
    """Write a file of ``torch.save`` that makes ``marker`` when it is read without care."""
    torch.save({"state_dict": {}, "global_step": 0, "extra": Touch(marker)}, path)
    return path


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Hand out the files of a folder over loopback; gives the address."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *values: object) -> None:
        """Say nothing among the output of tests."""
