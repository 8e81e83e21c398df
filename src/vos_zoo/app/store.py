"""All projects of a server: each below a folder of its own, found by a key that only its visitor has."""

from __future__ import annotations

import atexit
import gc
import secrets
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.app.project import AppProject
from vos_zoo.errors import LimitError, MissingFileError

if TYPE_CHECKING:
    from vos_zoo.app.limits import AppLimits
    from vos_zoo.inference.unwrap import Model

__all__ = ["ProjectStore"]


class ProjectStore:
    """Makes, finds and removes projects.

    Args:
        limits: Limits of the server.
        device: Where models run.

    Attributes:
        limits: As given.
        folder: A temporary folder; it is removed when the process ends.
    """

    def __init__(self, limits: AppLimits, *, device: str | None = None) -> None:
        self.limits = limits
        self.folder = Path(tempfile.mkdtemp(prefix="vos-zoo-app-"))
        self._device = device
        self._projects: dict[str, AppProject] = {}
        self._models: dict[str, Model] = {}
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # of its own: loading takes seconds, in which everybody else goes on
        atexit.register(self.close)

    def __len__(self) -> int:
        """Count the projects."""
        return len(self._projects)

    def create(self, video: Path, name: str) -> str:
        """Make a project of a video.

        Args:
            video: The file, which is copied.
            name: What the visitor calls it.

        Returns:
            The project's key.

        Raises:
            LimitError: If the file is too large or the video too long, or all projects are being tracked.
            VideoError: If it is not a video.
        """
        size = video.stat().st_size
        if size > self.limits.upload_bytes:
            raise LimitError(
                f"The file has {size / 2**20:.0f} MiB. This page takes up to {self.limits.upload_bytes / 2**20:.0f}. "
                "Cut the video, or segment it with `vos-zoo segment`."
            )
        self._make_room()
        key = secrets.token_urlsafe(18)
        folder = self.folder / key
        try:
            project = AppProject(video, name, folder, self.limits, load=self.load, device=self._device)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        with self._lock:
            self._projects[key] = project
        return key

    def get(self, key: str) -> AppProject:
        """Find a project.

        Raises:
            MissingFileError: If there is none of this key, or it was removed.
        """
        with self._lock:
            project = self._projects.get(key)
        if project is None:
            raise MissingFileError("This project is no longer on the server. Choose a video to begin a new one.")
        project.used = time.monotonic()
        return project

    def remove(self, key: str) -> None:
        """Remove a project with all its files, if it is there."""
        with self._lock:
            project = self._projects.pop(key, None)
        if project is not None:
            project.close()
            gc.collect()  # results of sessions go in circles, and would wait long for Python to notice

    def load(self, name: str) -> Model:
        """Return a model, which is loaded once for all projects.

        Raises:
            UnknownModelError: If there is no such model.
        """
        from vos_zoo.models.load import load_model

        with self._loading:
            if name not in self._models:
                self._models[name] = load_model(name, device=self._device or "auto")
            return self._models[name]

    def close(self) -> None:
        """Remove everything."""
        for key in list(self._projects):
            self.remove(key)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_room(self) -> None:
        """Remove projects that nobody has used for long, and the oldest of too many."""
        with self._lock:
            idle = sorted((project.used, key) for key, project in self._projects.items() if not project.is_running)
        now = time.monotonic()
        surplus = len(self._projects) - self.limits.projects + 1
        for number, (used, key) in enumerate(idle):
            if number < surplus or now - used > self.limits.idle_seconds:
                self.remove(key)
        if len(self._projects) >= self.limits.projects:
            raise LimitError("The server has as many projects as it can hold. Try again in some minutes.")
