"""ONNX graphs in half precision."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["to_half"]

#: The memory read compares similarities, which half precision cannot tell apart.
_EXACT = ("MatMul", "Gemm", "TopK", "ScatterElements", "Softmax", "Pow", "ReduceSum", "ReduceMax", "Where", "Resize")


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with float16 weights and convolutions, whose inputs and outputs stay float32.

    Processors without float16 arithmetic compute it in float32, on weights of half the bytes.

    Args:
        model: A graph in float32.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights too small for float16 become zero
        half = convert_float_to_float16(
            model, keep_io_types=True, disable_shape_infer=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_EXACT]
        )
    _sort_nodes(half.graph)
    return half


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node behind those whose results it takes; the converter leaves its own at the end."""
    known = {value.name for value in (*graph.input, *graph.initializer)} | {""}
    waiting, ordered = list(graph.node), []
    while waiting:
        ready = [node for node in waiting if known.issuperset(node.input)]
        assert ready, "the graph has a circle"
        ordered += ready
        known.update(name for node in ready for name in node.output)
        waiting = [node for node in waiting if not known.issuperset(node.output)]
    del graph.node[:]
    graph.node.extend(ordered)
