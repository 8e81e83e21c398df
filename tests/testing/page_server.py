"""A server of the page in a process of its own, with folders of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMAND = ["-m", "vos_zoo.cli.main", "app", "--no-browser", "--device", "cpu", "--port"]


@contextlib.contextmanager
def running_page(place: Path, words: list[str]) -> Iterator[str]:
    """Run Python with these words and a free port, give the page's address, and end it as a user does.

    Skips where Gradio is not installed; fails if the server leaves files behind.
    """
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("the extra `app` is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    temporary = place / "tmp"
    temporary.mkdir()
    log, environment = place / "log.txt", {**os.environ, "TMPDIR": str(temporary)}
    with (
        log.open("w") as file,
        subprocess.Popen([sys.executable, *words, str(port)], stdout=file, stderr=file, env=environment) as server,
    ):
        try:
            for _ in range(1200):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                assert server.poll() is None, log.read_text()
                time.sleep(0.1)
            yield url
        finally:
            server.terminate()
            server.wait(60)
    assert not list(temporary.iterdir())
