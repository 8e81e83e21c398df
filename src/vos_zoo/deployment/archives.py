"""Archives of ``torch.export`` and packages of its compiler, and the session that runs them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vos_zoo.errors import CheckpointError, ConfigError, OutOfMemoryError, is_out_of_memory
from vos_zoo.runtime.manifest import file_entry, read_manifest
from vos_zoo.runtime.session import GraphSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from vos_zoo.deployment.trace import Program
    from vos_zoo.runtime.manifest import Manifest

__all__ = ["TorchGraphs", "open_archives", "write_archives"]


def write_archives(
    folder: Path, programs: Sequence[Program], manifest: Manifest, *, finished: Callable[[], None]
) -> Manifest:
    """Write programs as archives, each with its weights, or compile them.

    Args:
        folder: Where to write.
        programs: All verbs.
        manifest: Names the kind; returned with the files.
        finished: Called after each of them.

    Raises:
        ConfigError: If nothing can be compiled here, for lack of a C++ compiler for example.
    """
    graphs = {}
    for program in programs:
        path = folder / f"{program.name}.pt2"
        if manifest.kind == "aoti":
            _compile(program, path)
        else:
            torch.export.save(program.exported, path)
        graphs[program.name] = file_entry(path, program.inputs, program.outputs)
        finished()
    return replace(manifest, graphs=graphs)


def _compile(program: Program, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package

    try:
        aoti_compile_and_package(program.exported, package_path=str(path))
    except Exception as error:  # whatever the compiler of this machine may raise
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"Packages of torch's compiler (--to aoti) need a working C++ compiler ({type(error).__name__}: {reason}). "
            "Install one (on Debian: g++ and python3-dev), or export archives with --to pt2."
        ) from error


class TorchGraphs:
    """Archives or compiled packages, run by torch on the CPU.

    Args:
        folder: What the export wrote.
        manifest: Its ``session.json``.

    Raises:
        CheckpointError: If torch refuses an archive.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._graphs = manifest.graphs
        load = _load_compiled if manifest.kind == "aoti" else _load_archive
        try:
            self._run = {verb: load(folder / entry.file) for verb, entry in manifest.graphs.items()}
        except Exception as error:  # archives are read by several parts of torch
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(
                f"torch {torch.__version__} refuses the archives of {folder}: {reason}. Export the model again with "
                "this version."
            ) from error

    def run(self, verb: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Run a verb."""
        graph = self._graphs[verb]
        try:
            with torch.inference_mode():
                results = self._run[verb](*(values[array.name] for array in graph.inputs))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                "Out of memory. The session stays usable. Use smaller frames, or track fewer objects at a time."
            ) from None
        return {array.name: result for array, result in zip(graph.outputs, results, strict=True)}

    def to_value(self, array: NDArray[np.float32]) -> Tensor:
        """Turn an array into a tensor that shares its memory."""
        return torch.from_numpy(np.ascontiguousarray(array))

    def to_array(self, value: Any) -> NDArray[np.float32]:
        """Turn a tensor into an array."""
        array: NDArray[np.float32] = value.numpy()
        return array


def open_archives(folder: str | Path, **options: Any) -> GraphSession:
    """Open archives or compiled packages as a session.

    Args:
        folder: What ``vos-zoo export-onnx --to pt2`` or ``--to aoti`` wrote.
        **options: Those of :class:`vos_zoo.runtime.GraphSession`, but ``provider`` and ``threads``.

    Raises:
        ConfigError: If the folder holds ONNX graphs.
        VosZooError: As :class:`~vos_zoo.runtime.GraphSession` says.
    """
    manifest = read_manifest(folder)
    if manifest.kind == "onnx":
        raise ConfigError(f"{folder} holds ONNX graphs. Open them with `vos_zoo.runtime.GraphSession`.")
    return GraphSession(folder, graphs=TorchGraphs(Path(folder), manifest), **options)


def _load_archive(path: Path) -> Callable[..., Sequence[Tensor]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch to itself
        return torch.export.load(path).module()


def _load_compiled(path: Path) -> Callable[..., Sequence[Tensor]]:
    from torch._inductor import aoti_load_package

    return aoti_load_package(str(path))
