"""Weights in half precision: half the bytes, results in float32 that are those of rounded weights."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.deployment.half import to_half

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def convolution(weight, bias):
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 9, 9]), ("y", [1, 16, 7, 7]))
    ]
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w", "b"], ["y"])], "g", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model, image):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": image})[0]


def test_weights_are_rounded_and_nothing_else():
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((16, 3, 3, 3)).astype(np.float32), np.full(16, 1e-3, np.float32)
    half = to_half(convolution(weight, bias))
    onnx.checker.check_model(half, full_check=True)
    assert [tensor.data_type for tensor in half.graph.initializer] == [onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT]
    image = rng.standard_normal((1, 3, 9, 9)).astype(np.float32)
    rounded = weight.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(run(half, image), run(convolution(rounded, bias), image))


def test_weights_beyond_float16_stay_finite():
    weight = np.full((16, 3, 3, 3), 1e6, np.float32)
    half = to_half(convolution(weight, np.zeros(16, np.float32)))
    assert np.isfinite(onnx.numpy_helper.to_array(half.graph.initializer[0])).all()
