"""Archives of torch.export and compiled packages run as sessions."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from testing.graphs import FRAME, export_tiny, tiny_network
from vos_zoo import VideoSession
from vos_zoo.deployment.archives import open_archives
from vos_zoo.errors import CheckpointError, ConfigError
from vos_zoo.runtime import GraphSession
from vos_zoo.runtime.manifest import file_entry, read_manifest
from vos_zoo.testing import VIDEO, relabel


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return export_tiny("rde", tmp_path_factory.mktemp("archives") / "rde", to="pt2", size=FRAME)


def same_as_the_network(session):
    reference, mask = VideoSession(tiny_network("rde"), size=None), relabel(VIDEO.masks[0], (1, 2))
    for index, frame in enumerate(VIDEO.frames[:6]):
        given = mask if index == 0 else None
        np.testing.assert_allclose(
            session.step(frame, given).probabilities, reference.step(frame, given).probabilities.numpy(), atol=1e-5
        )


@pytest.mark.slow
def test_archives_give_what_the_network_gives(archives):
    same_as_the_network(open_archives(archives, size=None))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # the compiler of torch 2.10 asks torch in the old way
def test_compiled_packages_give_what_the_network_gives(tmp_path):
    folder = export_tiny("rde", tmp_path / "aoti", to="aoti", size=FRAME, objects=2)
    same_as_the_network(open_archives(folder, size=None))


@pytest.mark.slow
def test_each_kind_is_opened_by_its_own_session(archives, rde_graphs):
    with pytest.raises(ConfigError, match=r"kind 'pt2'\. Expected 'onnx'"):
        GraphSession(archives)
    with pytest.raises(ConfigError, match="holds ONNX graphs"):
        open_archives(rde_graphs)


@pytest.mark.slow
def test_a_damaged_archive_is_refused(archives, tmp_path):
    from dataclasses import replace

    folder = tmp_path / "damaged"
    shutil.copytree(archives, folder)
    manifest = read_manifest(folder)
    path = folder / "segment.pt2"
    path.write_bytes(b"PK\x03\x04" + bytes(1000))
    entry = file_entry(path)
    changed = replace(manifest, graphs={**manifest.graphs, "segment": entry})
    (folder / "session.json").write_text(changed.to_json())
    with pytest.raises(CheckpointError, match="refuses the archives"):
        open_archives(folder)
