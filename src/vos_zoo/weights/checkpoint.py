"""The checkpoint folder: what ``config.json`` says, the network it describes, and how a folder is written."""

from __future__ import annotations

import contextlib
import json
import reprlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from safetensors.torch import save

from vos_zoo.configs import config_from_dict
from vos_zoo.errors import (
    CheckpointError,
    ConfigError,
    MissingFileError,
    OutputExistsError,
    UnknownModelError,
    VosZooError,
)
from vos_zoo.files import atomic_path, parse_json
from vos_zoo.limits import byte_excess
from vos_zoo.registry import StoredNetwork, describe_network, find_architecture
from vos_zoo.version import __version__
from vos_zoo.weights.tensors import (
    TensorFile,
    TooManyParametersError,
    at_most,
    check_shapes,
    fill,
    shapes_of,
    without_storage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from torch import Tensor, nn

    from vos_zoo.registry import Architecture, Configured

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "WEIGHTS_FILE",
    "build",
    "check_fits",
    "read_config",
    "read_model",
    "save_checkpoint_folder",
]

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
FORMAT_VERSION = 1
_DEFAULT_DTYPE = threading.RLock()

StoredT = TypeVar("StoredT", bound=StoredNetwork)


def read_model(
    folder: Path, kind: str, *, file: str = WEIGHTS_FILE, find: Callable[[str], StoredNetwork] = find_architecture
) -> Any:
    """Build what a checkpoint folder describes, fill it, and return it on the CPU, in float32 and eval mode.

    Args:
        folder: Folder with the tensors and ``config.json``.
        kind: ``network`` or ``module``.
        file: Name of the file with the tensors.
        find: Looks the name in ``config.json`` up.

    Raises:
        MissingFileError: If the folder or one of the two files is missing.
        CheckpointError: If the weights are damaged or do not fit the configuration.
        ConfigError: If ``config.json`` is not what the architecture expects.
    """
    for path in (folder, folder / CONFIG_FILE, folder / file):
        if not path.exists():
            raise MissingFileError(
                f"{path} does not exist. A checkpoint is a folder with {file} and {CONFIG_FILE}. "
                "Check the path, or write one with `vos-zoo convert`."
            )
    architecture, config = _read_config(folder / CONFIG_FILE, find)
    tensors = TensorFile(folder / file)
    with _float32_on_cpu():
        check_fits(architecture, config, folder / CONFIG_FILE, shapes_of(tensors), folder / file)
        with without_storage():
            model = build(architecture, kind, config, folder / CONFIG_FILE)
        fill(model if kind == "network" else model.network, tensors, folder / file)
    return model.eval()


def read_config(path: Path) -> tuple[Architecture, Any]:
    """Read ``config.json`` and build the architecture's config from it.

    Raises:
        ConfigError: If it is not JSON, has unknown or missing keys, wrong types, or a newer format.
        UnknownModelError: If the registry does not hold the architecture.
    """
    return _read_config(path, find_architecture)


def _read_config(path: Path, find: Callable[[str], StoredT]) -> tuple[StoredT, Any]:
    try:
        data = parse_json(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except ValueError as error:  # also a wrong encoding
        raise ConfigError(f"{path} is not JSON: {error}. Restore the file of the checkpoint.") from error
    if not isinstance(data, dict) or not isinstance(data.get("config"), dict):
        raise ConfigError(
            f"{path} has no object 'config'. Expected a configuration written by this package, with the keys "
            "format_version, architecture and config."
        )
    version = data.get("format_version")
    if type(version) is not int or version < 1:
        raise ConfigError(f"{path} has format_version {reprlib.repr(version)}. Expected {FORMAT_VERSION}.")
    if version > FORMAT_VERSION:
        raise ConfigError(
            f"{path} has format_version {version}; this vos_zoo {__version__} reads up to {FORMAT_VERSION}. "
            "Update vos_zoo."
        )
    unknown = sorted(set(data) - {"format_version", "architecture", "config", "weights", "vos_zoo_version"})
    if unknown:
        raise ConfigError(f"{path} has unknown key {unknown[0]!r}. Remove it; hyper-parameters belong under 'config'.")
    name = data.get("architecture")
    try:
        architecture = find(name if isinstance(name, str) else type(name).__name__)
    except UnknownModelError as error:
        raise UnknownModelError(f"{path} needs a newer vos_zoo, or the package of its model: {error}") from error
    return architecture, config_from_dict(architecture.load_class("config"), data["config"], where=f"{path}: config")


def check_fits(
    architecture: StoredNetwork, config: Any, config_path: Path, shapes: Mapping[str, tuple[int, ...]], path: Path
) -> None:
    """Make sure that a configuration describes the network whose tensors a file has, before it takes any memory.

    Args:
        architecture: The model.
        config: Its configuration, which may come from anybody.
        config_path: Where it comes from, for messages.
        shapes: Of the file's tensors, by the network's names.
        path: The file, for messages.

    Raises:
        CheckpointError: If a tensor is missing, unknown or of another shape.
        ConfigError: If no network can be built, or it would have far more than the file.
    """
    # A backbone may be built with parts that are removed again, such as its classifier.
    limit = 2 * len(shapes) + 1000
    try:
        with without_storage(), torch.device("meta"), at_most(limit):
            network = build(architecture, "network", config, config_path)
    except TooManyParametersError as error:
        raise ConfigError(
            f"{config_path} describes a network of {error}, and {path} has {len(shapes)} tensors. Restore the "
            "configuration that came with the file."
        ) from error
    # Buffers that are not part of the state are not compared with the file below.
    excess = byte_excess(sum(buffer.numel() * buffer.element_size() for buffer in network.buffers()))
    if excess is not None:
        raise ConfigError(f"{config_path} describes a network with tables that are too large: {excess}.")
    check_shapes(network, shapes, path)


def build(architecture: StoredNetwork, kind: str, config: Any, path: Path) -> Any:
    """Build a class of the architecture; a configuration of impossible values is the fault of the file at ``path``."""
    try:
        return architecture.load_class(kind)(config)
    except (VosZooError, TooManyParametersError):
        raise
    except (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError, MemoryError) as error:
        raise ConfigError(
            f"{path} describes no {architecture.title} that can be built: {error}. Restore the file of the checkpoint."
        ) from error


def save_checkpoint_folder(network: nn.Module, folder: str | Path, *, card: str, half: bool = True) -> Path:
    """Write a network as a checkpoint folder that :func:`vos_zoo.load_model` accepts.

    Args:
        network: A network that the registry knows; its ``config`` is stored beside its tensors.
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
        **describe_network(cast("Configured", network)),
        "weights": {"dtype": "float16" if half else "float32"},
        "vos_zoo_version": __version__,
    }
    _write(folder / CONFIG_FILE, (json.dumps(config, indent=2) + "\n").encode())
    _write(folder / CARD_FILE, card.encode())
    return folder


@contextlib.contextmanager
def _float32_on_cpu() -> Iterator[None]:
    """Build in float32 on the CPU, with weights that can be trained, whatever the caller has made PyTorch's default.

    PyTorch has one default type for all threads, so one thread at a time may change it and change it back.
    """
    with _DEFAULT_DTYPE:
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            with torch.device("cpu"), torch.inference_mode(mode=False):
                yield
        finally:
            torch.set_default_dtype(default)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


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
