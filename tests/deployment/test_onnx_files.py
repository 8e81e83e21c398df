"""One weight file: equal tensors lie in it once, at page boundaries."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.deployment.onnx_files import WEIGHTS_FILE, write_models
from vos_zoo.runtime.manifest import Array

onnx = pytest.importorskip("onnx")


def model(weight, small):
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    inner = helper.make_node("Add", ["x", "weight"], ["y"])
    outer = helper.make_node("Add", ["y", "small"], ["z"])
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [400]) for name in ("x", "z")]
    tensors = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(small, "small")]
    graph = helper.make_graph([inner, outer], "graph", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_equal_tensors_share_their_place_and_small_ones_stay(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    shared, own = np.arange(400, dtype=np.float32), np.ones(400, np.float32)
    small = np.full(1, 2, np.float32)
    arrays = ((Array("x", (400,)),), (Array("z", (400,)),))
    models = {"encode": model(shared, small), "segment": model(shared, small), "memorize": model(own, small)}
    graphs, weights = write_models(tmp_path, models, dict.fromkeys(models, arrays))
    assert weights.num_bytes == 4096 + 1600 == (tmp_path / WEIGHTS_FILE).stat().st_size
    for verb, expected in (("encode", shared), ("segment", shared), ("memorize", own)):
        assert graphs[verb].num_bytes < 1600
        session = onnxruntime.InferenceSession(str(tmp_path / graphs[verb].file))
        (result,) = session.run(None, {"x": np.zeros(400, np.float32)})
        np.testing.assert_array_equal(result, expected + 2)
