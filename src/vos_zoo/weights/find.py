"""From a name to a checkpoint folder, and from there to a filled network."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vos_zoo import registry
from vos_zoo.devices import find_device
from vos_zoo.errors import CheckpointError, MissingFileError, UnknownModelError
from vos_zoo.waiting import announced
from vos_zoo.weights import hub
from vos_zoo.weights.bundled import check_weight, locate_weight, verify_weight
from vos_zoo.weights.checkpoint import CONFIG_FILE, WEIGHTS_FILE, read_config, read_model
from vos_zoo.weights.checksum import remembered_sha256
from vos_zoo.weights.origin import Origin
from vos_zoo.weights.tensors import describe_file

if TYPE_CHECKING:
    import torch

    from vos_zoo.network import VOSNetwork
    from vos_zoo.registry import Architecture, Weight

__all__ = ["Checkpoint", "describe_weight", "find_checkpoint", "load_network", "local_folder", "read_weight"]

_logger = logging.getLogger(__name__)

_HUB_PREFIX = "hf-hub:"
_LOCAL_PREFIX = "local-dir:"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder on this machine.

    Attributes:
        folder: Folder with the tensors and ``config.json``.
        file: Name of the file with the tensors.
        name: Registry name, ``hf-hub:owner/name``, or the folder.
        revision: Commit of the Hub; None if the folder came from no Hub.
    """

    folder: Path
    file: str
    name: str
    revision: str | None = None


def read_weight(name: str | Path, kind: Literal["network", "module"]) -> Any:
    """Find a weight, build its network or LightningModule, and fill it, on the CPU, in float32 and eval mode.

    Args:
        name: As for :func:`vos_zoo.load_model`.
        kind: ``network`` needs no Lightning; ``module`` also knows, as its ``origin``, where the weights came from.

    Raises:
        UnknownModelError: If the name is neither in the registry nor a folder.
        MissingFileError: If a file of the checkpoint, a repository or a revision does not exist.
        HubError: If the Hub cannot be reached or refuses, or what it sends cannot be stored.
        CheckpointError: If the weights are damaged, changed, or do not fit the configuration.
        ConfigError: If ``config.json`` is not what the architecture expects.
    """
    found = find_checkpoint(name)
    with announced(_logger, f"Loading {found.name}"):
        model = read_model(found.folder, kind, file=found.file)
    if kind == "module":
        path = found.folder / found.file
        model.origin = Origin(found.name, found.revision, remembered_sha256(path), path)
    return model


def load_network(name: str | Path, device: str | torch.device = "cpu") -> VOSNetwork[Any, Any]:
    """Return a trained network alone, in float32 and eval mode: all that a session needs, without Lightning.

    Args:
        name: As for :func:`vos_zoo.load_model`.
        device: As for :func:`vos_zoo.load_model`.

    Raises:
        UnknownModelError: If the name is neither in the registry nor a folder.
        MissingFileError: If a file of the checkpoint, a repository or a revision does not exist.
        HubError: If the Hub cannot be reached or refuses, or what it sends cannot be stored.
        CheckpointError: If the weights are damaged, changed, or do not fit the configuration.
        ConfigError: If ``config.json`` is not what the architecture expects, or the device does not exist.
    """
    target = find_device(device)
    network: VOSNetwork[Any, Any] = read_weight(name, "network")
    return network.to(target)


def describe_weight(name: str | Path) -> tuple[Path, Architecture, Any]:
    """Find a weight and read what network it belongs to, without reading the network's tensors.

    Args:
        name: As for :func:`vos_zoo.load_model`.

    Returns:
        The checkpoint folder, the architecture and its configuration.

    Raises:
        UnknownModelError: If the name is neither in the registry nor a folder.
        MissingFileError: If a file of the checkpoint, a repository or a revision does not exist.
        HubError: If the Hub cannot be reached or refuses, or what it sends cannot be stored.
        ConfigError: If ``config.json`` is not what the architecture expects.
    """
    folder = find_checkpoint(name).folder
    if not (folder / CONFIG_FILE).is_file():
        raise MissingFileError(
            f"{folder / CONFIG_FILE} does not exist. A checkpoint is a folder with {WEIGHTS_FILE} and {CONFIG_FILE}. "
            "Check the path."
        )
    return (folder, *read_config(folder / CONFIG_FILE))


def find_checkpoint(name: str | Path) -> Checkpoint:
    """Turn what :func:`vos_zoo.load_model` takes into a checkpoint folder, downloaded and verified.

    Raises:
        UnknownModelError: If the name is neither in the registry nor a folder.
        MissingFileError: If the folder, a repository or a revision does not exist.
        HubError: If the Hub cannot be reached or refuses, or what it sends cannot be stored.
        CheckpointError: If the weights are not those of the registry or of the Hub.
    """
    folder = local_folder(name)
    if folder is not None:
        return Checkpoint(folder, WEIGHTS_FILE, str(name).removeprefix(_LOCAL_PREFIX))
    name = str(name)
    if name.startswith(_HUB_PREFIX):
        return _from_hub(name)
    if name in registry.WEIGHTS or registry.is_architecture(name):
        return _from_registry(registry.find_weight(name))
    if Path(name).is_file():
        raise CheckpointError(
            f"{name} is {describe_file(name)}. A checkpoint is a folder with {WEIGHTS_FILE} and {CONFIG_FILE}. "
            "Give the folder, or make one from the authors' file with `vos-zoo convert`."
        )
    if os.sep in name or name.startswith("."):
        raise MissingFileError(
            f"{name} does not exist. Give the folder of a checkpoint, a name of `vos-zoo list`, or a repository as "
            f"`{_HUB_PREFIX}owner/name@revision`."
        )
    return _from_registry(registry.find_weight(name))


def local_folder(name: str | Path) -> Path | None:
    """Return the folder that a name of :func:`vos_zoo.load_model` means; None if it means no folder of this machine."""
    if isinstance(name, Path):
        return name
    if name.startswith(_LOCAL_PREFIX):
        return Path(name.removeprefix(_LOCAL_PREFIX))
    # A registry name wins over a folder of the same name; a path that must be one is written with a separator or a
    # prefix.
    if name.startswith(_HUB_PREFIX) or name in registry.WEIGHTS or registry.is_architecture(name):
        return None
    return Path(name) if Path(name).is_dir() else None


def _from_registry(weight: Weight) -> Checkpoint:
    if weight.hub is None or locate_weight(weight) is not None:
        return Checkpoint(verify_weight(weight), weight.file, weight.name)
    fetched = hub.fetch(weight.hub.repo_id, weight.hub.revision, weight.file)
    path = fetched.folder / weight.file
    check_weight(weight, path, f"Remove {path} and load again")
    return Checkpoint(fetched.folder, weight.file, weight.name, fetched.revision)


def _from_hub(name: str) -> Checkpoint:
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@(\S+))?", name.removeprefix(_HUB_PREFIX))
    if match is None:
        raise UnknownModelError(
            f"{name!r} names no repository of the Hub. Expected `{_HUB_PREFIX}owner/name@revision`, where the revision "
            "is a commit, as `vos-zoo publish` prints it."
        )
    fetched = hub.fetch(match[1], match[2], WEIGHTS_FILE)
    return Checkpoint(fetched.folder, WEIGHTS_FILE, f"{_HUB_PREFIX}{match[1]}", fetched.revision)
