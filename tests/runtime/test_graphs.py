"""ONNX Runtime behind the verbs: providers, threads, memory."""

from __future__ import annotations

import sys

import pytest

from vos_zoo.errors import ConfigError, MissingExtraError, OutOfMemoryError
from vos_zoo.runtime.graphs import OnnxGraphs
from vos_zoo.runtime.manifest import read_manifest


@pytest.fixture
def opened(rde_graphs):
    return OnnxGraphs(rde_graphs, read_manifest(rde_graphs), threads=1)


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_providers_have_short_names(rde_graphs, name):
    OnnxGraphs(rde_graphs, read_manifest(rde_graphs), provider=name, threads=1)


def test_a_provider_that_is_not_there(rde_graphs):
    with pytest.raises(ConfigError, match=r"no execution provider 'npu' in this build of ONNX Runtime. It has: .*cpu"):
        OnnxGraphs(rde_graphs, read_manifest(rde_graphs), provider="npu")


def test_without_onnx_runtime_the_command_that_installs_it_is_named(rde_graphs, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="`python -m pip install onnxruntime`"):
        OnnxGraphs(rde_graphs, read_manifest(rde_graphs))


def test_threads_are_counted_from_one(rde_graphs):
    with pytest.raises(ConfigError, match="threads is 0"):
        OnnxGraphs(rde_graphs, read_manifest(rde_graphs), threads=0)


def test_too_little_memory_has_its_own_error(opened, monkeypatch):
    class Full:
        def run_with_ort_values(self, *arguments):
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : bad allocation\nmore")

    monkeypatch.setitem(opened._sessions, "encode", Full())
    with pytest.raises(OutOfMemoryError, match="The session stays usable"):
        opened.run("encode", {"image": None})
