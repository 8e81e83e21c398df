"""The export: what is written, and what is refused before any work."""

from __future__ import annotations

import json

import numpy as np
import pytest

from testing.graphs import tiny_network
from vos_zoo import VideoSession
from vos_zoo.deployment.export import export_model
from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.runtime import GraphSession, read_manifest
from vos_zoo.testing import VIDEO, relabel

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


def test_the_folder_holds_three_graphs_one_weight_file_and_the_manifest(rde_graphs):
    assert sorted(path.name for path in rde_graphs.iterdir()) == [
        "encode.onnx",
        "memorize.onnx",
        "segment.onnx",
        "session.json",
        "weights.bin",
    ]
    manifest = read_manifest(rde_graphs)
    assert (manifest.kind, manifest.precision, manifest.opset) == ("onnx", "fp32", 18)
    assert (manifest.size, manifest.objects) == (None, None)
    assert manifest.memory.kind == "recurrent"
    assert manifest.mean == (0.485, 0.456, 0.406)
    assert manifest.palette[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    for graph in manifest.graphs.values():  # a graph without its weights is small
        assert graph.num_bytes < 100_000


def test_graphs_are_valid_and_say_their_sizes(rde_graphs):
    onnx = pytest.importorskip("onnx")
    for verb in ("encode", "segment", "memorize"):
        path = rde_graphs / f"{verb}.onnx"
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(str(path), load_external_data=False)
        assert b"/src/" not in model.SerializeToString()  # no traces of this machine
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == [1, 3, "height", "width"]


@pytest.mark.parametrize("size", [(64, 80), (96, 64), (70, 111)])
def test_graphs_take_any_size(rde_graphs, size):
    network, rng = tiny_network("rde"), np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, *size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[8:40, 8:30], mask[8:40, 34:60] = 1, 2
    ours, theirs = GraphSession(rde_graphs, size=None, threads=1), VideoSession(network, size=None)
    for index, frame in enumerate(frames):
        given = mask if index == 0 else None
        np.testing.assert_allclose(
            ours.step(frame, given).probabilities, theirs.step(frame, given).probabilities.numpy(), atol=1e-5
        )


def test_an_earlier_export_is_not_replaced_unasked(rde_graphs):
    before = (rde_graphs / "session.json").read_bytes()
    with pytest.raises(OutputExistsError, match="already holds exported graphs"):
        export_model(tiny_network("rde"), rde_graphs)
    assert (rde_graphs / "session.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (100, 160)}, r"100x160 .* multiples of 16; the next such size is 112x160"),
        ({"objects": 0}, "objects is 0"),
        ({"to": "pt2", "precision": "int8"}, "'int8' belongs to ONNX graphs"),
    ],
)
def test_what_is_out_of_range_is_refused_before_any_work(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        export_model(tiny_network("rde"), tmp_path / "graphs", **options)
    assert not (tmp_path / "graphs").exists()


def test_the_models_own_folder_is_no_place(tiny_model):
    with pytest.raises(OutputExistsError, match="is an input of this command"):
        export_model(tiny_model, tiny_model)


@pytest.mark.slow
def test_an_export_replaces_an_earlier_one_as_a_whole(tmp_path):
    folder, steps = tmp_path / "graphs", []
    export_model(tiny_network("rde"), folder, size=(48, 64), to="pt2")
    (folder / "notes.txt").write_text("mine")
    manifest = export_model(
        tiny_network("rde"), folder, size=(48, 64), overwrite=True, progress=lambda *step: steps.append(step)
    )
    assert sorted(path.name for path in folder.iterdir()) == [
        "encode.onnx",
        "memorize.onnx",
        "notes.txt",
        "segment.onnx",
        "session.json",
        "weights.bin",
    ]
    assert json.loads((folder / "session.json").read_text())["model"] == "RDENetwork"
    assert steps == [(done, 6) for done in range(1, 7)]
    assert manifest.num_bytes == sum(entry.num_bytes for entry in manifest.files)


@pytest.mark.slow
def test_half_precision_and_8_bits_are_close(tmp_path, rde_graphs):
    network, mask = tiny_network("rde"), relabel(VIDEO.masks[0], (1, 2))
    exact = VideoSession(network, size=None)
    expected = [exact.step(frame, mask if index == 0 else None) for index, frame in enumerate(VIDEO.frames[:6])]
    whole = read_manifest(rde_graphs).num_bytes
    for precision, error, share in (("fp16", 2e-2, 0.62), ("int8", 0.2, 0.6)):
        folder = tmp_path / precision
        manifest = export_model(network, folder, size=(48, 64), precision=precision)
        assert manifest.precision == precision
        assert manifest.num_bytes < share * whole
        session = GraphSession(folder, size=None, threads=1)
        for index, reference in enumerate(expected):
            result = session.step(VIDEO.frames[index], mask if index == 0 else None)
            assert np.abs(result.probabilities - reference.probabilities.numpy()).max() < error
