"""ONNX graphs in half precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["to_half"]

#: The memory read compares similarities, which half precision cannot tell apart.
_EXACT = ("MatMul", "Gemm", "TopK", "ScatterElements", "Softmax", "Pow", "ReduceSum", "Sigmoid", "Where", "Resize")


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with float16 weights and convolutions, whose inputs and outputs stay float32.

    Processors without float16 arithmetic compute it in float32, on weights of half the bytes.

    Args:
        model: A graph in float32.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    return convert_float_to_float16(
        model,
        keep_io_types=True,
        disable_shape_infer=False,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *_EXACT],
    )
