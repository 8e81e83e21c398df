"""The tensors of a checkpoint: read a safetensors file and fill a network with it, without a second copy in memory."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from vos_zoo.errors import CheckpointError
from vos_zoo.files import file_kind, parse_json

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TensorFile", "describe_file", "fill", "without_storage"]

_SHOWN_KEYS = 5  # keys named in a message before it says how many more there are
# What the functions of torch.nn.init end in; orthogonal_ takes signs too, for which torch 2.10 loads as much.
_DRAWS = (torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.sign)
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


class TooManyParametersError(ValueError):
    """Modules have more parameters than they were allowed; never reaches users."""


class TensorFile(Mapping[str, "Tensor"]):
    """The tensors of a safetensors file by their names, read from the disk each time one is asked for.

    Args:
        path: The file.

    Attributes:
        path: As given.
        shapes: Shape of every tensor, as the file's header says.

    Raises:
        CheckpointError: If it is not a complete safetensors file; the message says what it is instead.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shapes = _read_header(path)
        with self._open() as file:
            self._keys = dict.fromkeys(file.keys())  # in order, and quick to look up

    def __getitem__(self, key: str) -> Tensor:
        # Opened again for every tensor: the library maps the file into memory, and what was read of it stays resident
        # until the mapping goes, which would be a second copy of all weights.
        with self._open() as file:
            tensor: Tensor = file.get_tensor(key)
        return tensor

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="pt", device="cpu") as file:
                yield file
        except (SafetensorError, ValueError, TypeError, KeyError, OSError) as error:
            raise CheckpointError(
                f"{self.path} is not a valid safetensors file: {error}. It is damaged; fetch it again."
            ) from error


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a network; every key and every shape has to fit.

    The network's own tensors need no storage (see :func:`without_storage`); they are replaced one at a time.

    Args:
        network: The network to fill.
        tensors: Its state by the names of ``state_dict``, in any precision.
        path: The file, for messages.

    Raises:
        CheckpointError: If a key is missing or unknown, a shape differs, or a value is not a finite number of the
            expected kind. The network is then as it was.
    """
    check_shapes(network, shapes_of(tensors), path)
    filled: dict[str, Tensor] = {}
    broken: list[str] = []
    for key, wanted in network.state_dict().items():
        stored = tensors[key]
        if not _is_sound(stored, wanted):
            broken.append(key)
        elif not broken:
            # Always a copy: what the file's reader hands out is only valid as long as the file stays as it is.
            filled[key] = torch.empty(wanted.shape, dtype=wanted.dtype).copy_(stored)
        del stored  # which keeps its part of the file in memory, before the next one is read
    if broken:
        raise CheckpointError(
            f"{path} has values that are not finite numbers of the expected kind in {_listed(broken)}. Fetch it again, "
            "or go back to an earlier checkpoint of the training run."
        )
    network.load_state_dict(filled, strict=True, assign=True)


def shapes_of(tensors: Mapping[str, Tensor]) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of tensors; those of a file are not read for it."""
    if isinstance(tensors, TensorFile):
        return tensors.shapes
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def check_shapes(network: nn.Module, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Make sure that every tensor of a network is in a file, with its shape, and nothing else.

    Args:
        network: The network; its tensors need no storage.
        shapes: Of the file's tensors, by their names.
        path: The file, for messages.

    Raises:
        CheckpointError: If a key is missing or unknown, or a shape differs.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in shapes]
    surplus = [key for key in shapes if key not in expected]
    if missing or surplus:
        found = [f"{verb} {_listed(keys)}" for verb, keys in (("lacks", missing), ("has the unknown", surplus)) if keys]
        raise CheckpointError(
            f"{path} {' and '.join(found)}. Expected the {len(expected)} tensors of {type(network).__name__} as "
            "config.json describes it. Use the config.json that came with the file."
        )
    wrong = [
        f"{key} {tuple(shapes[key])} instead of {tuple(wanted.shape)}"
        for key, wanted in expected.items()
        if tuple(shapes[key]) != tuple(wanted.shape)
    ]
    if wrong:
        raise CheckpointError(
            f"{path} has wrong shapes: {_listed(wrong)}. They have to fit {type(network).__name__} as config.json "
            "describes it. Use the config.json that came with the file."
        )


@contextlib.contextmanager
def at_most(parameters: int) -> Iterator[None]:
    """Stop the building of modules in this thread that have more than a number of parameters.

    Raises:
        TooManyParametersError: From within the block.
    """
    count = 0

    def note(parameter: nn.Parameter) -> None:
        nonlocal count
        count += 1
        if count > parameters:
            raise TooManyParametersError(f"more than {parameters:,} parameters")

    with _BUILDER.watching(note):
        yield


@contextlib.contextmanager
def without_storage() -> Iterator[None]:
    """Build modules whose parameters have shapes and types but no memory and no initial values.

    Buffers are built as usual: they are small, and some are no part of the state that a file could bring back.
    Modules that other threads build at the same time are not affected.

    Example:
        >>> with without_storage():
        ...     layer = nn.Linear(3, 2)
        >>> layer.weight.device
        device(type='meta')
    """

    def drop(parameter: nn.Parameter) -> nn.Parameter | None:
        if parameter.is_meta:
            return None
        return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)

    with _BUILDER.watching(drop), _WithoutDraws():
        yield


class _Builder(threading.local):
    """A thread that builds modules, and what is done with each of their parameters."""

    def __init__(self) -> None:
        self._watchers: list[Callable[[nn.Parameter], nn.Parameter | None]] = []

    @contextlib.contextmanager
    def watching(self, watcher: Callable[[nn.Parameter], nn.Parameter | None]) -> Iterator[None]:
        """Show a function every new parameter of this thread; what it returns, if anything, replaces the parameter."""
        self._watchers.append(watcher)
        try:
            yield
        finally:
            self._watchers.remove(watcher)

    def show(self, module: nn.Module, name: str, parameter: nn.Parameter) -> nn.Parameter:
        for watcher in self._watchers:
            replaced = watcher(parameter)
            parameter = parameter if replaced is None else replaced
        return parameter


# One hook that stays: PyTorch keeps all hooks in one dictionary, which other threads may be walking through whenever
# they build a module. A hook that came and went would make them fail.
_BUILDER = _Builder()
# The type stub claims that the hook returns nothing; the documentation says that it may return a parameter.
register_module_parameter_registration_hook(_BUILDER.show)  # type: ignore[arg-type]


class _WithoutDraws(TorchFunctionMode):
    """Draw no random numbers for tensors without memory: torch would load its whole compiler for it, in seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _DRAWS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


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


def _is_sound(stored: Tensor, wanted: Tensor) -> bool:
    if stored.is_floating_point() != wanted.is_floating_point():
        return False
    if not stored.is_floating_point() or stored.numel() == 0:
        return True
    # Extremes instead of torch.isfinite, which makes two copies of the tensor; NaN comes through as either.
    return all(bool(extreme.isfinite()) for extreme in torch.aminmax(stored))


def _read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a safetensors file; say what is wrong with one that is none, or not a whole one."""
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
        entries: dict[str, Any] = parse_json(header)
        entries.pop("__metadata__", None)
        shapes = {key: tuple(entry["shape"]) for key, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        is_short = end > size - 8 - header_bytes
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a valid safetensors file: {error}. It is damaged; fetch it again."
        ) from error
    if is_short:
        raise CheckpointError(
            f"{path} is cut off: it has {size} bytes and its header promises {end + 8 + header_bytes}. Fetch it again."
        )
    return shapes


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN_KEYS
    return ", ".join(names[:_SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")
