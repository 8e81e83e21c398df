"""Where the bundled weights lie, and whether they are what the registry says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vos_zoo.errors import CheckpointError, MissingFileError
from vos_zoo.weights.checksum import remembered_sha256
from vos_zoo.weights.tensors import describe_file

if TYPE_CHECKING:
    from vos_zoo.registry import Weight

__all__ = ["check_weight", "checkpoints_folder", "locate_weight", "verify_weight"]

_VARIABLE = "VOS_ZOO_CHECKPOINTS"
_PACKAGE = Path(__file__).parents[1]


def checkpoints_folder() -> Path:
    """Return the folder of the bundled weights.

    Looked for in this order: the environment variable ``VOS_ZOO_CHECKPOINTS``, the installed package, the source tree,
    ``checkpoints`` in the working directory.

    Raises:
        MissingFileError: If none of them exists, or if the variable names a folder that does not.
    """
    return next(place for place in _places() if place.is_dir())


def locate_weight(weight: Weight) -> Path | None:
    """Return the folder that holds a weight's file on this machine; None if no place has it.

    All places of :func:`checkpoints_folder` are searched: the installed package brings the smaller weights along, a
    clone has all of them.

    Raises:
        MissingFileError: If there is no place to search, or ``VOS_ZOO_CHECKPOINTS`` names a folder that does not exist.
    """
    if weight.folder is None:
        return None
    folders = [place / weight.folder for place in _places()]
    return next((folder for folder in folders if (folder / weight.file).is_file()), None)


def verify_weight(weight: Weight) -> Path:
    """Check a bundled weight's size and checksum and return its folder.

    Raises:
        MissingFileError: If no place has the file; the message says how to get it.
        CheckpointError: If it differs from the registry.
    """
    folder = locate_weight(weight)
    if folder is None:
        raise MissingFileError(_absent(weight))
    check_weight(weight, folder / weight.file, "Reinstall the package")
    return folder


def check_weight(weight: Weight, path: Path, remedy: str) -> str:
    """Compare a file with the registry and return its checksum.

    Args:
        weight: What the file should be.
        path: The file.
        remedy: What to do about a wrong one, without a full stop.

    Raises:
        CheckpointError: If size or checksum differ.
    """
    size = path.stat().st_size
    if size != weight.num_bytes:
        kind = describe_file(path)
        note = "" if kind == "a safetensors file" else f" and is {kind}"
        raise CheckpointError(
            f"{path} has {size} bytes{note}. Weight {weight.name!r} has {weight.num_bytes}. {remedy}."
        )
    digest = remembered_sha256(path)
    if digest != weight.sha256:
        raise CheckpointError(
            f"{path} has sha256 {digest}. Weight {weight.name!r} has {weight.sha256}. Somebody changed the file. "
            f"{remedy}, or load the folder by its path if you trust it."
        )
    return digest


def _places() -> list[Path]:
    named = os.environ.get(_VARIABLE)
    if named and not Path(named).is_dir():
        raise MissingFileError(
            f"{_VARIABLE} names {named}, which is not a folder. Let it name the folder `checkpoints` of a clone, or "
            "unset it."
        )
    # The last one serves whoever installed the package and works in a clone; a weight's checksum is checked anyway.
    own = [_PACKAGE / "checkpoints", _PACKAGE.parent.parent / "checkpoints", Path("checkpoints")]
    places = [place for place in ([Path(named)] if named else []) + own if place.is_dir()]
    if not places:
        raise MissingFileError(
            f"No folder of bundled weights at {' or '.join(map(str, own))}. Reinstall the package, or name the "
            f"folder in the environment variable {_VARIABLE}."
        )
    return places


def _absent(weight: Weight) -> str:
    looked = " nor ".join(map(str, _places()))
    if weight.in_wheel:
        return f"Weight {weight.name!r} belongs to the installed package, but it is not in {looked}. Reinstall it."
    return (
        f"Weight {weight.name!r} ({weight.num_bytes / 2**20:.0f} MiB) does not come with the installed package and is "
        f"not in {looked}. Clone the repository and set {_VARIABLE} to the clone's folder `checkpoints`, or work in "
        "the clone's folder."
    )
