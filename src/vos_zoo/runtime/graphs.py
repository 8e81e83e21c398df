"""What runs graphs: the interface that a session needs, and ONNX Runtime behind it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vos_zoo.errors import CheckpointError, ConfigError, MissingExtraError, OutOfMemoryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from vos_zoo.runtime.manifest import Manifest

__all__ = ["Graphs", "OnnxGraphs"]

_OUT_OF_MEMORY = ("failed to allocate", "bad allocation", "out of memory", "bad_alloc")


class Graphs(Protocol):
    """The verbs of a model. Values stay in the form and on the device of whatever runs them."""

    def run(self, verb: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Run a verb.

        Args:
            verb: ``encode``, ``segment`` or ``memorize``.
            values: Those that the verb takes, by name, and any others.

        Returns:
            Its outputs by name.

        Raises:
            OutOfMemoryError: If there is too little memory.
        """

    def to_value(self, array: NDArray[np.float32]) -> Any:
        """Turn an array into a value."""

    def to_array(self, value: Any) -> NDArray[np.float32]:
        """Turn a value into an array."""


class OnnxGraphs:
    """Graphs in ONNX Runtime.

    Args:
        folder: What the export wrote.
        manifest: Its ``session.json``.
        provider: ``cpu``, ``cuda``, ``coreml``, or another execution provider of this build of ONNX Runtime.
        threads: Threads that one operation may use; None leaves it to ONNX Runtime.

    Raises:
        MissingExtraError: If ONNX Runtime is not installed.
        ConfigError: If there is no such provider.
        CheckpointError: If ONNX Runtime refuses a graph.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, provider: str = "cpu", threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError(
                "Running exported graphs needs ONNX Runtime, which is not installed. Install it with "
                "`python -m pip install onnxruntime`."
            ) from error
        if manifest.kind != "onnx":
            raise ConfigError(
                f"{folder} holds graphs of kind {manifest.kind!r}. Expected 'onnx'. Open them with "
                "`vos_zoo.deployment.open_archives`, which needs torch, or export them with `vos-zoo export-onnx`."
            )
        self._runtime = onnxruntime
        providers = _providers(provider, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            if threads < 1:
                raise ConfigError(f"threads is {threads}. Expected at least 1, or None for all cores.")
            options.intra_op_num_threads = threads
        try:
            self._sessions = {
                verb: onnxruntime.InferenceSession(str(folder / entry.file), options, providers=providers)
                for verb, entry in manifest.graphs.items()
            }
        except Exception as error:  # its exceptions share no class
            raise CheckpointError(
                f"ONNX Runtime {onnxruntime.__version__} refuses the graphs of {folder}: {_first_line(error)}. Export "
                "the model again, or update onnxruntime."
            ) from error
        self._graphs = manifest.graphs

    def run(self, verb: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Run a verb."""
        graph = self._graphs[verb]
        feeds = {array.name: values[array.name] for array in graph.inputs}
        names = [array.name for array in graph.outputs]
        with _memory_errors():
            results = self._sessions[verb].run_with_ort_values(names, feeds)
        return dict(zip(names, results, strict=True))

    def to_value(self, array: NDArray[np.float32]) -> Any:
        """Turn an array into a value of ONNX Runtime; on a CPU both share their memory."""
        with _memory_errors():
            return self._runtime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))

    def to_array(self, value: Any) -> NDArray[np.float32]:
        """Turn a value of ONNX Runtime into an array."""
        array: NDArray[np.float32] = value.numpy()
        return array


def _providers(name: str, available: list[str]) -> list[str]:
    known = {full.removesuffix("ExecutionProvider").lower(): full for full in available}
    full = known.get(name.lower().removesuffix("executionprovider"))
    if full is None:
        raise ConfigError(
            f"There is no execution provider {name!r} in this build of ONNX Runtime. It has: {', '.join(known)}. "
            "Choose one of them, or install a build that has it (onnxruntime-gpu for cuda, for example)."
        )
    cpu = known.get("cpu")
    return [full] if cpu in (None, full) else [full, cpu]


@contextmanager
def _memory_errors() -> Iterator[None]:
    failure: str | None = None
    try:
        yield
    except Exception as error:  # ONNX Runtime has no class for it
        if not isinstance(error, MemoryError) and not any(sign in str(error).lower() for sign in _OUT_OF_MEMORY):
            raise
        failure = _first_line(error)
    if failure is not None:
        raise OutOfMemoryError(
            f"Out of memory: {failure}. The session stays usable. Use smaller frames, track fewer objects at a time, "
            "or export with fewer memory frames."
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(". ")
