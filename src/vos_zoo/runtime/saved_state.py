"""A session's state on the disk: everything that it knows of its video, as one file of NumPy arrays."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from vos_zoo.configs import config_from_dict, config_to_dict
from vos_zoo.errors import CheckpointError, MissingFileError, OutputExistsError
from vos_zoo.files import atomic_path, parse_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SavedGroup", "SavedState", "read_state", "write_state"]

_ABOUT = "about"


@dataclass(frozen=True)
class SavedGroup:
    """What is noted of a group of objects beside its arrays.

    Attributes:
        planes: The objects' planes.
        slots: For each remembered frame its time, and whether it was annotated and is temporary; empty for a memory of
            another kind.
    """

    planes: tuple[int, ...]
    slots: tuple[tuple[int, bool, bool], ...]


@dataclass(frozen=True)
class SavedState:
    """What is noted of a session beside arrays.

    Attributes:
        graphs: Checksums of the graphs that the state belongs to.
        frame_size: (height, width) of the video's frames; None before the first one.
        object_ids: Tracked objects.
        id_type: Type of masks.
        next_index: Frames processed so far.
        frames_since_kept: Frames since one was memorised.
        groups: Groups of objects.
    """

    graphs: tuple[str, ...]
    frame_size: tuple[int, int] | None
    object_ids: tuple[int, ...]
    id_type: str
    next_index: int
    frames_since_kept: int
    groups: tuple[SavedGroup, ...]


def write_state(path: Path, state: SavedState, groups: list[dict[str, NDArray[np.float32]]]) -> None:
    """Write a state, whole or not at all.

    Raises:
        OutputExistsError: If the file exists.
    """
    if path.exists():
        raise OutputExistsError(f"`{path}` exists. Choose another name; a saved state is not replaced.")
    arrays: dict[str, Any] = {_ABOUT: np.array(json.dumps(config_to_dict(state)))}
    for number, group in enumerate(groups):
        arrays |= {f"{number}/{name}": part for name, part in group.items()}
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)


def read_state(path: Path) -> tuple[SavedState, list[dict[str, NDArray[np.float32]]]]:
    """Read a state.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If it is not a state, or was cut.
        ConfigError: If what it says of the session is damaged.
    """
    if not path.is_file():
        raise MissingFileError(f"There is no saved state `{path}`. Give a file that `save_state` wrote.")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content}
        state = config_from_dict(SavedState, parse_json(str(arrays.pop(_ABOUT))), where=f"{path}: {_ABOUT}")
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise CheckpointError(f"`{path}` is not a saved state, or was cut ({error}). Save the state again.") from error
    groups: list[dict[str, NDArray[np.float32]]] = [{} for _ in state.groups]
    for name, part in arrays.items():
        number, _, key = name.partition("/")
        if number.isdigit() and int(number) < len(groups):
            groups[int(number)][key] = part
    return state, groups
