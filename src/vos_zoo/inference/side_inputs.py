"""What a network takes beside a video's frames and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from vos_zoo.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from vos_zoo.inference.geometry import WorkingSize
    from vos_zoo.network import VOSNetwork

__all__ = ["check_side_inputs", "open_side_inputs"]


def open_side_inputs(
    network: VOSNetwork[Any, Any],
    paths: Mapping[str, str | Path],
    frames: Sequence[str],
    *,
    needed: Sequence[str],
    size: WorkingSize | Literal["native"] = "native",
) -> dict[str, Any]:
    """Open what a user gives beside frames and masks, for ``VideoSession(side_inputs=…)``.

    Args:
        network: The session's network.
        paths: A file or folder by its name among the network's ``side_inputs``.
        frames: Names of the frames that the session sees, from the first annotated one on; may grow as it goes.
        needed: Names of frames that must be in each of them; looked for now.
        size: Working size of the session.

    Raises:
        ConfigError: If the network does not take one of them.
        MissingFileError: If one does not exist, or has nothing for a needed frame.
        DataError: If one is damaged.
    """
    check_side_inputs(network, paths)
    working = network.working_size if size == "native" else size
    return {
        name: network.side_inputs[name].open(path, frames, needed=needed, size=working) for name, path in paths.items()
    }


def check_side_inputs(network: VOSNetwork[Any, Any], names: Iterable[str]) -> None:
    """Refuse what a network does not take.

    Raises:
        ConfigError: If one of the names is not among the network's ``side_inputs``.
    """
    for name in names:
        if name not in network.side_inputs:
            taken = ", ".join(f"{known!r} ({entry.about})" for known, entry in network.side_inputs.items()) or "nothing"
            raise ConfigError(
                f"{type(network).__name__} takes no {name!r}. Beside frames and masks it takes {taken}; leave "
                f"{name!r} out, or choose another model."
            )
