"""``vos-zoo export-onnx``."""

from __future__ import annotations

import argparse

import pytest

from vos_zoo.cli.export_onnx import graph_size, object_count
from vos_zoo.cli.main import main
from vos_zoo.runtime import GraphSession
from vos_zoo.testing import VIDEO, relabel


@pytest.mark.slow
def test_a_checkpoint_becomes_graphs_that_run(tiny_model, tmp_path, capsys):
    pytest.importorskip("onnxscript")
    out = tmp_path / "graphs"
    words = ["export-onnx", str(tiny_model), "--out", str(out), "--size", "48x64", "--objects", "2"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "48x64 pixels (height x width), up to 2 objects, fp32" in printed
    assert f"GraphSession('{out}')" in printed
    session = GraphSession(out, threads=1)
    session.step(VIDEO.frames[0], relabel(VIDEO.masks[0], (1, 2)))
    assert session.step(VIDEO.frames[1]).object_ids == (1, 2)
    assert main(words) == 2
    assert "already holds exported graphs" in capsys.readouterr().err


def test_a_missing_extra_is_one_line(tiny_model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    assert main(["export-onnx", str(tiny_model), "--out", str(tmp_path / "graphs")]) == 2
    assert 'pip install "vos-zoo[onnx]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("read", "text"), [(graph_size, "480"), (graph_size, "axb"), (object_count, "0"), (object_count, "-1")]
)
def test_values_that_are_none(read, text):
    with pytest.raises(argparse.ArgumentTypeError):
        read(text)
