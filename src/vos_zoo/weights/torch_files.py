"""Files of ``torch.save``: weights that authors released, and checkpoints of training runs.

They are pickles. All of them are opened here, with ``weights_only=True``, which builds tensors and plain containers and
refuses everything else. A file of a few kilobytes can still describe tensors of many gigabytes, so what was read is
judged by its description before any number is touched.
"""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vos_zoo.errors import CheckpointError
from vos_zoo.weights.tensors import describe_file

if TYPE_CHECKING:
    pass

__all__ = ["plain_tensors", "read_torch_file", "unpickling_error"]

# Tensors may share their numbers, as tied weights do, but not so many of them.
_MOST_SHARED = 4
# What torch.load and zipfile raise for files that were cut off or altered, depending on where the damage is.
_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OverflowError,
    MemoryError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)


def read_torch_file(path: Path) -> Any:
    """Read a file of ``torch.save`` onto the CPU without running anything in it.

    Args:
        path: An existing file.

    Raises:
        CheckpointError: If it is no such file, is damaged, wants to run code, or unpacks into more than it holds.
    """
    kind = describe_file(path)
    if "torch.save" not in kind:
        raise CheckpointError(f"{path} is {kind}. Expected a file written by torch.save. Fetch it again.")
    try:
        if zipfile.is_zipfile(path):
            _check_members(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the format, which is the authors' choice
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise unpickling_error(error, str(path)) from error
    except _DAMAGE as error:
        raise CheckpointError(
            f"{path} is {kind}, cut off or damaged ({path.stat().st_size} bytes). Fetch it again."
        ) from error


def unpickling_error(error: pickle.UnpicklingError, place: str) -> CheckpointError:
    """Say what PyTorch's safe reader refused.

    Args:
        error: What it raised.
        place: Path or address of the file.
    """
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    if name is None:
        return CheckpointError(
            f"{place} is a damaged pickle, or one that holds more than tensors. It was not executed. Fetch it again "
            "from the authors."
        )
    return CheckpointError(
        f"{place} is a pickle that asks for {name.group(1)!r} while it loads. That can run code, so it was not "
        "executed. A weight file holds tensors only; fetch it from the authors, or save its state dict alone."
    )


def plain_tensors(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """Make sure that a mapping of a file holds tensors alone, and only such as have their numbers in the file.

    Args:
        state: Names and tensors, as :func:`read_torch_file` returned them.
        path: The file, for messages.

    Raises:
        CheckpointError: If it holds something else; tensors that are sparse, quantised, nested, or without numbers;
            or tensors that have more numbers than the file.
    """
    total = 0
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds a {type(value).__name__} under {key!r}. Expected tensors alone, by their names."
            )
        oddity = _oddity(value)
        if oddity is not None:
            raise CheckpointError(
                f"{path} holds {oddity} under {key!r}. Expected plain tensors whose numbers are in the file. Fetch the "
                "file that the authors released, or save the state dict of the network itself."
            )
        total += value.numel() * value.element_size()
    size = path.stat().st_size
    if total > _MOST_SHARED * size:
        raise CheckpointError(
            f"{path} has {size:,} bytes and describes tensors of {total:,}, which share their numbers. Expected "
            "tensors with numbers of their own. Fetch the file that the authors released."
        )
    return dict(state)


def _check_members(path: Path) -> None:
    """Refuse archives that unpack into more than they hold; ``torch.save`` compresses nothing."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    size, total = path.stat().st_size, sum(member.file_size for member in members)
    packed = next((member for member in members if member.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None or total > size:
        found = f"compressed members ({packed.filename})" if packed else "members that overlap"
        raise CheckpointError(
            f"{path} has {size:,} bytes and {found}, which unpack into {total:,}. Expected a file of torch.save, which "
            "compresses nothing. Fetch the file that the authors released."
        )


def _oddity(tensor: Tensor) -> str | None:
    """Say in a few words what keeps a tensor from being numbers in memory, one after the other; None if nothing does.

    Only its description is looked at.
    """
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"a {type(tensor).__name__}"
    if tensor.layout != torch.strided:
        return f"a sparse tensor ({tensor.layout})"
    if tensor.is_nested:
        return "a nested tensor"
    if tensor.is_quantized:
        return "a quantised tensor"
    if tensor.device.type != "cpu":
        return f"a tensor without numbers (on {tensor.device.type})"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"a tensor of shape {tuple(tensor.shape)} that repeats the few numbers it has"
    return None
