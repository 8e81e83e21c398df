"""All projects of a server: each below a folder of its own, found by a key that only its visitor has."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.app.server_folder import remove_left_folders, server_folder
from vos_zoo.app.turns import Turns
from vos_zoo.errors import LimitError, MissingFileError, VosZooError

if TYPE_CHECKING:
    from vos_zoo.app.limits import AppLimits
    from vos_zoo.app.project import AppProject
    from vos_zoo.inference.unwrap import Model

__all__ = ["Opening", "ProjectStore"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opening:
    """How far a video has been read.

    Attributes:
        key: Of the project that is being made.
        done: Frames read.
        total: Frames that the file says it has.
        is_ready: Whether there is the project now.
    """

    key: str
    done: int
    total: int
    is_ready: bool = False


class ProjectStore:
    """Makes, finds and removes projects.

    Args:
        limits: Limits of the server.
        device: Where models run.

    Attributes:
        limits: As given.
        folder: A temporary folder; it is removed when the process ends, or by the next server if it was killed.
    """

    def __init__(self, limits: AppLimits, *, device: str | None = None) -> None:
        self.limits = limits
        self._held = contextlib.ExitStack()
        remove_left_folders()
        self.folder = self._held.enter_context(server_folder())
        self._device = device
        self._projects: dict[str, AppProject] = {}
        self._opening: set[str] = set()  # keys of projects whose videos are still being read
        self._turns = Turns(limits.waiting)
        self._models: dict[str, Model] = {}
        self._warming: threading.Thread | None = None
        self._lock = threading.Lock()
        self._loading = threading.Lock()  # of its own: loading takes seconds, in which everybody else goes on
        atexit.register(self.close)

    def __len__(self) -> int:
        """Count the projects."""
        return len(self._projects) + len(self._opening)

    def create(self, video: Path, name: str) -> str:
        """Make a project of a video; as :meth:`open`, but at one go.

        Returns:
            The project's key.
        """
        *_, opening = self.open(video, name)
        return opening.key

    def open(self, video: Path, name: str) -> Iterator[Opening]:
        """Make a project of a video while saying how far it is read; closing the generator takes everything back.

        Args:
            video: The file, which is copied.
            name: What the visitor calls it.

        Yields:
            The first one before anything is read, then one a frame. The last one says whether there is a project; there
            is none if :meth:`stop` was called.

        Raises:
            LimitError: If the file is too large or the video too long, or all projects are being tracked.
            VideoError: If it is not a video.
        """
        # They load PyTorch, for which nobody waits who only looks at the page.
        from vos_zoo.app.pictures import FramePictures
        from vos_zoo.app.project import AppProject

        size = video.stat().st_size
        if size > self.limits.upload_bytes:
            raise LimitError(
                f"The file has {size / 2**20:.0f} MiB. This page takes up to {self.limits.upload_bytes / 2**20:.0f}. "
                "Cut the video, or segment it with `vos-zoo segment`."
            )
        key = secrets.token_urlsafe(18)
        folder = self.folder / key
        self._make_room(key)
        try:
            copy = folder / "video" / (Path(name).name or "video.mp4")
            copy.parent.mkdir(parents=True)
            shutil.copyfile(video, copy)
            pictures = FramePictures(copy, folder / "pictures", self.limits)
            yield Opening(key, 0, pictures.count)
            for done in pictures.write():
                if key not in self._opening:
                    shutil.rmtree(folder, ignore_errors=True)
                    return
                yield Opening(key, done, pictures.count)
            project = AppProject(pictures, folder, self.limits, turns=self._turns, load=self.load, device=self._device)
            with self._lock:
                self._projects[key] = project
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        finally:
            self._opening.discard(key)
        yield Opening(key, pictures.count, pictures.count, is_ready=True)

    def stop(self, key: str) -> None:
        """Stop what is going on in a project: reading its video, or tracking.

        Raises:
            MissingFileError: If there is no project of this key.
        """
        if key in self._opening:
            self._opening.discard(key)
        else:
            self.get(key).stop()

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
        from vos_zoo.weights import load_network  # without Lightning, which nothing here needs

        with self._loading:
            if name not in self._models:
                self._models[name] = load_network(name, device=self._device or "auto")
            return self._models[name]

    def warm_up(self, model: str) -> None:
        """Load in the background what the first video and the first tracking need, once.

        Args:
            model: The model that is loaded.
        """
        with self._lock:
            if self._warming is not None:
                return
            self._warming = threading.Thread(target=self._warm_up, args=(model,), name="warm-up", daemon=True)
        self._warming.start()

    def _warm_up(self, model: str) -> None:
        import vos_zoo.app.project  # noqa: F401
        from vos_zoo.prompts.prediction import bundled_network

        try:
            bundled_network()
            self.load(model)
        except VosZooError as error:  # who tracks with this model is told
            _logger.warning("%s", error)

    def close(self) -> None:
        """Remove everything."""
        for key in list(self._projects):
            self.remove(key)
        self._held.close()

    def _make_room(self, new: str) -> None:
        """Remove projects that nobody has used for long and the oldest of too many, and enter a new one."""
        with self._lock:
            idle = sorted((project.used, key) for key, project in self._projects.items() if not project.is_running)
        now = time.monotonic()
        surplus = len(self) - self.limits.projects + 1
        for number, (used, key) in enumerate(idle):
            if number < surplus or now - used > self.limits.idle_seconds:
                self.remove(key)
        with self._lock:
            if len(self) >= self.limits.projects:
                raise LimitError("The server has as many projects as it can hold. Try again in some minutes.")
            self._opening.add(new)
