"""``session.json``: damaged, cut and foreign folders are refused by name."""

from __future__ import annotations

import json
import shutil

import pytest

from vos_zoo.errors import CheckpointError, ConfigError, MissingFileError
from vos_zoo.runtime.manifest import Array, read_manifest


@pytest.fixture
def folder(rde_graphs, tmp_path):
    return shutil.copytree(rde_graphs, tmp_path / "graphs")


def change(folder, **values):
    path = folder / "session.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_whole_folder_is_read(folder):
    manifest = read_manifest(folder)
    assert set(manifest.graphs) == {"encode", "segment", "memorize"}
    assert manifest == read_manifest(str(folder))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version(folder, version):
    change(folder, format_version=version)
    with pytest.raises(CheckpointError, match=r"has format_version .*; this runtime reads 1. Export the model again"):
        read_manifest(folder)


def test_a_truncated_weight_file(folder):
    path = folder / "weights.bin"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match=r"weights\.bin has .* bytes instead of .*: it was cut"):
        read_manifest(folder)


def test_a_weight_file_with_other_content(folder):
    path = folder / "weights.bin"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="another checksum"):
        read_manifest(folder)


def test_a_missing_graph(folder):
    (folder / "segment.onnx").unlink()
    with pytest.raises(MissingFileError, match=r"segment\.onnx does not exist, but session\.json names it"):
        read_manifest(folder)


def test_a_folder_without_a_session(tmp_path):
    with pytest.raises(MissingFileError, match="Expected a folder that `vos-zoo export-onnx` wrote"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"stride": "16"}, "stride is '16'"), ({"extra": 1}, "unknown key 'extra'"), ({"graphs": {}}, "Expected encode")],
)
def test_a_damaged_session(folder, values, message):
    change(folder, **values)
    with pytest.raises(ConfigError, match=message):
        read_manifest(folder)


def test_text_that_is_no_json(folder):
    (folder / "session.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        read_manifest(folder)


def test_names_that_leave_the_folder(folder):
    data = json.loads((folder / "session.json").read_text())
    data["weights"]["file"] = "../weights.bin"
    change(folder, **data)
    with pytest.raises(ConfigError, match="Expected a name without folders"):
        read_manifest(folder)


def test_formulas_of_shapes():
    array = Array("values", ("frames", "height/16", "width/8", "objects", 128))
    assert array.resolve(height=480, width=864, objects=2, frames=5) == (5, 30, 108, 2, 128)
    assert (array.axis("objects"), array.axis("nothing")) == (3, None)
