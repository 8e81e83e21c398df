"""Folders of killed servers are removed, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vos_zoo.app.server_folder import remove_left_folders, server_folder
from vos_zoo.files import LOCK_FILE

KILLED = """
import os, signal
from vos_zoo.app.server_folder import server_folder
with server_folder() as folder:
    (folder / "video.mp4").write_text("frames")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_gone_afterwards():
    with server_folder() as folder:
        (folder / "video.mp4").write_text("frames")
    assert not folder.exists()


def test_the_folder_of_a_killed_server_is_removed_by_the_next(place):
    words = [sys.executable, "-c", KILLED]
    environment = {**os.environ, "TMPDIR": str(place)}
    killed = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (left,) = place.iterdir()
    assert str(left) == killed.stdout.strip()
    with server_folder() as alive:
        assert remove_left_folders() == [left]
        assert alive.is_dir()
    assert not left.exists()


def test_the_folder_of_a_running_server_stays(place):
    program = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "input()")
    environment = {**os.environ, "TMPDIR": str(place)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        folder = server.stdout.readline().strip()
        assert remove_left_folders() == []
        assert Path(folder).is_dir()
        server.communicate("\n", timeout=60)


def test_folders_that_only_look_alike_stay(place):
    elsewhere = place / "mine"
    elsewhere.mkdir()
    (elsewhere / LOCK_FILE).touch()
    (place / "vos-zoo-app-without-a-lock").mkdir()
    (place / "vos-zoo-app-link").symlink_to(elsewhere)
    (place / "vos-zoo-app-file").touch()
    assert remove_left_folders() == []
    assert sorted(path.name for path in place.iterdir()) == [
        "mine",
        "vos-zoo-app-file",
        "vos-zoo-app-link",
        "vos-zoo-app-without-a-lock",
    ]
