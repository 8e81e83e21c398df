"""What runs jobs: the promise that processes of one machine and actors of a cluster keep alike."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, NamedTuple

from vos_zoo.errors import ConfigError
from vos_zoo.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vos_zoo.scale.jobs import Job
    from vos_zoo.scale.worker import Outcome

__all__ = ["Engine", "Event", "check_version"]


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        kind: ``progress``, ``message``, ``outcome``, or ``lost``: the worker died with the job.
        job: The job.
        done: Frames that are done, of ``progress``.
        text: Of ``message`` and ``lost``.
        outcome: Of ``outcome``.
    """

    kind: str
    job: Job
    done: int = 0
    text: str = ""
    outcome: Outcome | None = None


class Engine(abc.ABC):
    """Workers that take jobs one at a time."""

    @abc.abstractmethod
    def room(self) -> int:
        """Say how many more jobs can begin at this moment; 0 while workers are starting."""

    @abc.abstractmethod
    def is_alive(self) -> bool:
        """Say whether there is a worker left, or starting, or one that can be started."""

    @abc.abstractmethod
    def submit(self, job: Job) -> None:
        """Return a job to a free worker; :meth:`room` says that there is one."""

    @abc.abstractmethod
    def wait(self, seconds: float) -> Sequence[Event]:
        """Wait until something happens, no longer than so many seconds.

        Raises:
            ConfigError: If a worker has another version of this package, or cannot start; the message says why.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """End all workers after their current frames."""


def check_version(worker: Mapping[str, Any]) -> None:
    """Refuse a worker of another version, whose results would differ.

    Args:
        worker: What the worker says of itself.

    Raises:
        ConfigError: If its version is another one.
    """
    if worker["version"] != __version__:
        raise ConfigError(
            f"The worker on {worker['host']} has vos_zoo {worker['version']}, this program {__version__}. Expected one "
            "version on all machines, so that all results are made alike. Install the same version there."
        )
