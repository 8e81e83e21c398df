"""ONNX graphs with weights in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["to_half"]

_LEAST_BYTES = 1024  # smaller constants are shapes, scales and biases


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that stores its weights in float16, half the bytes, and computes in float32.

    Every weight is widened by a node of its own, which runtimes compute once, when they load the graph. Arithmetic in
    float16 would not be faster on most processors, and cannot tell the similarities of a memory read apart.

    Args:
        model: A graph in float32; it is changed.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        exact = numpy_helper.to_array(tensor)
        if exact.nbytes < _LEAST_BYTES:
            continue
        name, largest = tensor.name, np.finfo(np.float16).max
        half = np.clip(exact, -largest, largest).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT, name=f"{name}.widen"))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
