"""From programs to ONNX graphs with one weight file."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from typing import TYPE_CHECKING, Any

from vos_zoo.errors import MissingExtraError
from vos_zoo.runtime.manifest import Array, GraphFile, file_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx

    from .trace import Program

__all__ = ["OPSET", "WEIGHTS_FILE", "check_extra", "to_model", "write_models"]

OPSET = 18
"""Version of the operators: the oldest that the exporter writes without conversion, which most runtimes read."""

WEIGHTS_FILE = "weights.bin"
_LEAST_BYTES = 1024  # smaller constants stay in the graph, where shape inference needs them
_ALIGNMENT = 4096  # runtimes map the file page by page
_logger = logging.getLogger(__name__)


def check_extra() -> None:
    """Make sure that what writes ONNX is there.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"Exporting to ONNX needs {error.name}, which is not installed. Install it with "
            '`python -m pip install "vos-zoo[onnx]"`.'
        ) from error
    del onnx, onnxruntime


def to_model(program: Program) -> onnx.ModelProto:
    """Translate a program; names of inputs, outputs and sizes are those of the program."""
    import torch

    with _quiet():
        translated = torch.onnx.export(
            program.exported,
            dynamo=True,
            opset_version=OPSET,
            input_names=[array.name for array in program.inputs],
            output_names=[array.name for array in program.outputs],
            verbose=False,
        )
    assert translated is not None
    model = translated.model_proto
    del model.graph.metadata_props[:]
    for node in model.graph.node:  # traces of the source code, with paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        value.doc_string = ""
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.value_info[:]
    _name_sizes(model.graph.input, program.inputs)
    _name_sizes(model.graph.output, program.outputs)
    return model


def write_models(
    folder: Path,
    models: Mapping[str, onnx.ModelProto],
    arrays: Mapping[str, tuple[Sequence[Array], Sequence[Array]]],
) -> tuple[dict[str, GraphFile], GraphFile]:
    """Write graphs, and the weights of all of them into one file; equal tensors once.

    Args:
        folder: Where to write.
        models: By verb; their tensors are moved out.
        arrays: Inputs and outputs of each.

    Returns:
        What to note in the manifest.
    """
    import onnx

    places: dict[bytes, tuple[int, int]] = {}
    path = folder / WEIGHTS_FILE
    with path.open("wb") as file:
        for model in models.values():
            for tensor in _tensors(model.graph):
                content = _bytes(tensor)
                if len(content) < _LEAST_BYTES:
                    continue
                if content not in places:
                    file.write(bytes(-file.tell() % _ALIGNMENT))
                    places[content] = (file.tell(), len(content))
                    file.write(content)
                _point_to(tensor, *places[content])
    entries = {}
    for verb, model in models.items():
        graph = folder / f"{verb}.onnx"
        graph.write_bytes(model.SerializeToString())
        inputs, outputs = arrays[verb]
        entries[verb] = file_entry(graph, tuple(inputs), tuple(outputs))
        onnx.checker.check_model(str(graph))
    return entries, file_entry(path)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _tensors(attribute.g)


def _bytes(tensor: onnx.TensorProto) -> bytes:
    from onnx import numpy_helper

    return tensor.raw_data if tensor.HasField("raw_data") else numpy_helper.to_array(tensor).tobytes()


def _point_to(tensor: onnx.TensorProto, offset: int, length: int) -> None:
    """Replace a tensor's numbers by their place in the weight file."""
    from onnx import TensorProto

    for field in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(field)
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in (("location", WEIGHTS_FILE), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _name_sizes(values: Any, arrays: Sequence[Array]) -> None:
    for value, array in zip(values, arrays, strict=True):
        dims = value.type.tensor_type.shape.dim
        for dim, part in zip(dims, array.shape, strict=True):
            dim.Clear()
            if isinstance(part, int):
                dim.dim_value = part
            else:
                dim.dim_param = part


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter tells its developers from the user."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")
    levels = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
