"""Models by name: find a weight, verify it, build its network and fill it, strictly.

A weight is a folder with three files, laid out like a repository of the Hugging Face Hub:

- ``model.safetensors``: the network's tensors. Published weights are stored in half precision; they are
  float32 again in memory, and whoever wants another precision says so to the session.
- ``config.json``: architecture, hyper-parameters and format version.
- ``README.md``: the model card.

Nothing here opens a pickle, ignores a key or guesses a shape.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle  # for the name of its error only; files are read with weights_only
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

import vos_zoo
from vos_zoo.configs import config_from_dict, config_to_dict
from vos_zoo.data.files import atomic_path, file_kind
from vos_zoo.devices import find_device
from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError, OutputExistsError, VosZooError
from vos_zoo.registry import ARCHITECTURES, WEIGHTS, find_architecture, find_weight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from vos_zoo.models.base import VOSNetwork
    from vos_zoo.models.module import VOSModule
    from vos_zoo.registry import Architecture, Weight

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "checkpoints_folder",
    "describe_file",
    "load_model",
    "load_network",
    "save_checkpoint_folder",
    "verify_weight",
]

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
FORMAT_VERSION = 1

_CHECKPOINTS_VARIABLE = "VOS_ZOO_CHECKPOINTS"
_LOCAL_PREFIX = "local-dir:"
_SHOWN_KEYS = 5  # keys named in a message before it says how many more there are
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit

_logger = logging.getLogger(__name__)


def load_model(name: str | Path, device: str | torch.device = "auto") -> VOSModule:
    """Return a trained model in eval mode, ready for a video.

    Args:
        name: A registry name (``"rde"`` for the architecture's default weight, ``"rde.small"`` for a certain one), or
            the folder of a checkpoint, as a path or as ``"local-dir:path"``.
        device: ``"auto"`` takes the first of CUDA, MPS and CPU that is there.

    Raises:
        UnknownModelError: If the name is neither in the registry nor a folder.
        MissingFileError: If a file of the checkpoint is missing.
        CheckpointError: If the weights are damaged, changed, or do not fit the configuration.
        ConfigError: If ``config.json`` is not what the architecture expects, or the device does not exist.

    Example:
        >>> model = load_model("rde", device="cpu")
        >>> model.training
        False
    """
    target = find_device(device)
    folder = _find_folder(name)
    architecture, config, tensors = _read_folder(folder)
    module: VOSModule = _build(architecture, "module", config, folder)
    _fill(module.network, tensors, folder / WEIGHTS_FILE)
    return module.eval().to(target)


def load_network(folder: str | Path) -> VOSNetwork[Any, Any]:
    """Build the network of a checkpoint folder and fill it, on the CPU, in float32 and eval mode.

    Args:
        folder: Folder with ``model.safetensors`` and ``config.json``.

    Raises:
        MissingFileError: If the folder or one of the two files is missing.
        CheckpointError: If the weights are damaged or do not fit the configuration.
        ConfigError: If ``config.json`` is not what the architecture expects.
    """
    folder = Path(folder)
    architecture, config, tensors = _read_folder(folder)
    network: VOSNetwork[Any, Any] = _build(architecture, "network", config, folder)
    _fill(network, tensors, folder / WEIGHTS_FILE)
    return network.eval()


def save_checkpoint_folder(network: VOSNetwork[Any, Any], folder: str | Path, *, card: str, half: bool = True) -> Path:
    """Write a network as a checkpoint folder that :func:`load_model` accepts.

    Args:
        network: The network; its ``config`` is stored beside its tensors.
        folder: Where to write. It is made if it does not exist.
        card: Text of the model card.
        half: Store floating-point tensors as float16, half the bytes. Batch normalisation statistics stay float32,
            because a variance may leave the range of float16.

    Returns:
        The folder.

    Raises:
        OutputExistsError: If the folder already holds one of the three files.
    """
    folder = Path(folder)
    for name in (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE):
        if (folder / name).exists():
            raise OutputExistsError(
                f"{folder / name} exists. A checkpoint is never replaced. Choose another folder or remove this one."
            )
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: _stored(key, tensor, half=half) for key, tensor in network.state_dict().items()}
    # Written by us, since the library's own writer makes files that only their owner may read.
    _write(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
    config = {
        "format_version": FORMAT_VERSION,
        **describe_network(network),
        "weights": {"dtype": "float16" if half else "float32"},
        "vos_zoo_version": vos_zoo.__version__,
    }
    _write(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    _write(folder / CARD_FILE, card.encode())
    return folder


def describe_network(network: VOSNetwork[Any, Any]) -> dict[str, Any]:
    """Return what is needed to build a network again, as JSON data: ``architecture`` and ``config``."""
    return {"architecture": _architecture_name(network), "config": config_to_dict(network.config)}


def export_checkpoint(path: str | Path, folder: str | Path, *, half: bool = True) -> Path:
    """Turn a checkpoint of a training run into a checkpoint folder that :func:`load_model` accepts.

    Args:
        path: A ``.ckpt`` file that training with this package wrote.
        folder: Where to write. It is made if it does not exist.
        half: Store floating-point tensors as float16, half the bytes.

    Returns:
        The folder.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If the file is no checkpoint of this package's training, or its weights do not fit.
        OutputExistsError: If the folder already holds a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist. Give the .ckpt file of a training run; it lies below `runs/`.")
    expected = "Expected a .ckpt file that `lightning fit` of this package wrote."
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        described, state, step = checkpoint["vos_zoo"], checkpoint["state_dict"], checkpoint["global_step"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is {describe_file(path)} that cannot be exported. {expected}") from error
    architecture = find_architecture(str(described["architecture"]))
    config = config_from_dict(architecture.load_class("config"), described["config"], where=f"{path}: config")
    network: VOSNetwork[Any, Any] = _build(architecture, "network", config, path)
    prefix = "network."
    tensors = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    _fill(network, tensors, path)
    card = (
        f"# {architecture.title}\n\nExported from a training run after {step} iterations with vos_zoo "
        f"{vos_zoo.__version__}. Say here what it was trained on, under which licence, and what it scores.\n"
    )
    return save_checkpoint_folder(network, folder, card=card, half=half)


def checkpoints_folder() -> Path:
    """Return the folder of the bundled weights.

    Looked for in this order: the environment variable ``VOS_ZOO_CHECKPOINTS``, the installed package, the source tree.

    Raises:
        MissingFileError: If none of them exists.
    """
    named = os.environ.get(_CHECKPOINTS_VARIABLE)
    package = Path(__file__).parent
    candidates = [Path(named)] if named else [package / "checkpoints", package.parent.parent / "checkpoints"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise MissingFileError(
        f"No folder of bundled weights at {' or '.join(map(str, candidates))}. Reinstall the package, or name the "
        f"folder in the environment variable {_CHECKPOINTS_VARIABLE}."
    )


def verify_weight(weight: Weight) -> Path:
    """Check a bundled weight's size and checksum and return its folder.

    Raises:
        MissingFileError: If the file is missing.
        CheckpointError: If it differs from the registry.
    """
    folder = checkpoints_folder() / weight.folder
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise MissingFileError(
            f"{path} does not exist, but {weight.name!r} is bundled with this package. Reinstall the package."
        )
    size = path.stat().st_size
    if size != weight.num_bytes:
        raise CheckpointError(
            f"{path} has {size} bytes{_note(path)}. Weight {weight.name!r} has {weight.num_bytes}. "
            "Reinstall the package."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != weight.sha256:
        raise CheckpointError(
            f"{path} has sha256 {digest}. Weight {weight.name!r} has {weight.sha256}. Somebody changed the file; "
            "reinstall the package, or load the folder by its path if you trust it."
        )
    return folder


def describe_file(path: str | Path) -> str:
    """Say in a few words what a file is, from its first bytes; nothing in it is executed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = Path(folder) / "model.safetensors"
        ...     _ = page.write_text("<!DOCTYPE html><html>")
        ...     describe_file(page)
        'an HTML page'
    """
    with Path(path).open("rb") as file:
        head = file.read(9)
    if head.startswith(b"PK\x03\x04"):
        return "a zip archive, as torch.save writes it"
    if len(head) > 1 and head[0] == 0x80 and head[1] <= 5:  # opcode PROTO and the protocol's number
        return "a Python pickle, as older versions of torch.save write it"
    if head[8:] == b"{":  # eight bytes of length, then the header's JSON
        return "a safetensors file"
    return file_kind(path).name


def _find_folder(name: str | Path) -> Path:
    """Turn what the user gave into a checkpoint folder."""
    if isinstance(name, Path):
        return name
    if name.startswith(_LOCAL_PREFIX):
        return Path(name.removeprefix(_LOCAL_PREFIX))
    # A registry name wins over a folder of the same name; a path that must be one is written with a separator or a
    # prefix.
    if name in WEIGHTS or name in ARCHITECTURES:
        return verify_weight(find_weight(name))
    if Path(name).is_dir():
        return Path(name)
    if Path(name).is_file():
        raise CheckpointError(
            f"{name} is {describe_file(name)}. A checkpoint is a folder with {WEIGHTS_FILE} and {CONFIG_FILE}. "
            "Give the folder, or make one from the authors' file with `vos-zoo convert`."
        )
    if os.sep in name or name.startswith("."):
        raise MissingFileError(f"{name} does not exist. Give the folder of a checkpoint, or a name of `vos-zoo list`.")
    return verify_weight(find_weight(name))


def _architecture_name(network: VOSNetwork[Any, Any]) -> str:
    for architecture in ARCHITECTURES.values():
        # Compared by import path, so that no other paper's code is loaded.
        if type(network).__name__ == architecture.network_class.split(":")[1]:
            return architecture.name
    raise ConfigError(f"{type(network).__name__} is no network of this package. Register its architecture first.")


def _read_folder(folder: Path) -> tuple[Architecture, Any, dict[str, Tensor]]:
    """Read both files of a checkpoint."""
    for path in (folder, folder / CONFIG_FILE, folder / WEIGHTS_FILE):
        if not path.exists():
            raise MissingFileError(
                f"{path} does not exist. A checkpoint is a folder with {WEIGHTS_FILE} and {CONFIG_FILE}. "
                "Check the path, or write one with `vos-zoo convert`."
            )
    architecture, config = _read_config(folder / CONFIG_FILE)
    return architecture, config, _read_tensors(folder / WEIGHTS_FILE)


def _build(architecture: Architecture, kind: str, config: Any, folder: Path) -> Any:
    """Build a class of the architecture; a configuration of impossible values is the file's fault."""
    try:
        return architecture.load_class(kind)(config)
    except VosZooError:
        raise
    except (RuntimeError, ValueError, TypeError, KeyError, ZeroDivisionError, AssertionError) as error:
        raise ConfigError(
            f"{folder / CONFIG_FILE} describes no {architecture.title} that can be built: {error}. Restore the file of "
            "the checkpoint."
        ) from error


def _read_config(path: Path) -> tuple[Architecture, Any]:
    """Read ``config.json`` and build the architecture's config from it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:  # also a wrong encoding
        raise ConfigError(f"{path} is no JSON: {error}. Restore the file of the checkpoint.") from error
    if not isinstance(data, dict) or not isinstance(data.get("config"), dict):
        raise ConfigError(
            f"{path} has no object 'config'. Expected a configuration written by this package, with the keys "
            "format_version, architecture and config."
        )
    version = data.get("format_version")
    if type(version) is not int or version < 1:
        raise ConfigError(f"{path} has format_version {version!r}. Expected {FORMAT_VERSION}.")
    if version > FORMAT_VERSION:
        raise ConfigError(
            f"{path} has format_version {version}; this vos_zoo {vos_zoo.__version__} reads up to {FORMAT_VERSION}. "
            "Update vos_zoo."
        )
    unknown = sorted(set(data) - {"format_version", "architecture", "config", "weights", "vos_zoo_version"})
    if unknown:
        raise ConfigError(f"{path} has unknown key {unknown[0]!r}. Remove it; hyper-parameters belong under 'config'.")
    architecture = find_architecture(str(data.get("architecture")))
    return architecture, config_from_dict(architecture.load_class("config"), data["config"], where=f"{path}: config")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; say what is wrong with it if it cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        header_bytes = struct.unpack("<Q", head)[0] if len(head) == 8 else size
        if header_bytes > min(size - 8, _MAX_HEADER_BYTES):
            kind = describe_file(path)
            cut_off = ", but cut off" if kind == "a safetensors file" else ""
            raise CheckpointError(
                f"{path} is {kind}{cut_off} ({size} bytes). Expected a whole safetensors file. "
                "Fetch it again; files of torch.save go through `vos-zoo convert`."
            )
        header = file.read(header_bytes)
    try:
        entries: dict[str, Any] = json.loads(header)
        end = max((entry["data_offsets"][1] for key, entry in entries.items() if key != "__metadata__"), default=0)
        if end > size - 8 - header_bytes:
            raise CheckpointError(
                f"{path} is cut off: it has {size} bytes and its header promises {end + 8 + header_bytes}. "
                "Fetch it again."
            )
        return load_file(path, device="cpu")
    except CheckpointError:
        raise
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is no valid safetensors file: {error}. It is damaged; fetch it again."
        ) from error


def _fill(network: VOSNetwork[Any, Any], tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a network; every key and every shape has to fit."""
    expected = network.state_dict()
    missing = [key for key in expected if key not in tensors]
    surplus = [key for key in tensors if key not in expected]
    if missing or surplus:
        found = [f"{verb} {_listed(keys)}" for verb, keys in (("lacks", missing), ("has the unknown", surplus)) if keys]
        raise CheckpointError(
            f"{path} {' and '.join(found)}. Expected the {len(expected)} tensors of {type(network).__name__} as "
            f"{CONFIG_FILE} describes it. Use the {CONFIG_FILE} that came with the file."
        )
    wrong = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if tensors[key].shape != tensor.shape
    ]
    if wrong:
        raise CheckpointError(
            f"{path} has wrong shapes: {_listed(wrong)}. They have to fit {type(network).__name__} as {CONFIG_FILE} "
            f"describes it. Use the {CONFIG_FILE} that came with the file."
        )
    broken = [
        key
        for key, tensor in tensors.items()
        if tensor.is_floating_point() != expected[key].is_floating_point()
        or (tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()))
    ]
    if broken:
        raise CheckpointError(
            f"{path} has values that are not finite numbers of the expected kind in {_listed(broken)}. Fetch it again, "
            "or go back to an earlier checkpoint of the training run."
        )
    network.load_state_dict({key: tensor.to(expected[key].dtype) for key, tensor in tensors.items()}, strict=True)


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def _stored(key: str, tensor: Tensor, *, half: bool) -> Tensor:
    tensor = tensor.detach().to("cpu")
    if half and tensor.dtype == torch.float32 and not key.endswith(("running_mean", "running_var")):
        tensor = tensor.half()
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{key} leaves the range of float16. Store the checkpoint with half=False.")
    return tensor.contiguous().clone()  # safetensors refuses tensors that share memory


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN_KEYS
    return ", ".join(names[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _note(path: Path) -> str:
    kind = describe_file(path)
    return "" if kind == "a safetensors file" else f" and is {kind}"
