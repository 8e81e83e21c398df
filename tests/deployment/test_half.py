"""Half precision: small weights, inputs and outputs in float32, nodes in order."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.deployment.half import to_half

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def test_weights_become_half_and_results_stay_close():
    helper, rng = onnx.helper, np.random.default_rng(0)
    weight = rng.standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("Softmax", ["y"], ["z"], axis=1)]
    values = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 3, 9, 9]), ("z", [1, 8, 7, 7]))
    ]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [onnx.numpy_helper.from_array(weight, "w")])
    exact = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    half = to_half(onnx.ModelProto.FromString(exact.SerializeToString()))
    onnx.checker.check_model(half)  # refuses nodes out of order
    assert [tensor.data_type for tensor in half.graph.initializer] == [onnx.TensorProto.FLOAT16]
    image = {"x": rng.standard_normal((1, 3, 9, 9)).astype(np.float32)}
    results = [onnxruntime.InferenceSession(each.SerializeToString()).run(None, image)[0] for each in (exact, half)]
    assert results[1].dtype == np.float32
    np.testing.assert_allclose(*results, atol=1e-2)
