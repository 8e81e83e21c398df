"""The engine for clusters, on a Ray of two nodes on this machine: workers and a node that die lose nothing."""

from __future__ import annotations

import csv
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from vos_zoo.errors import ConfigError, MissingExtraError
from vos_zoo.scale.many import segment_many
from vos_zoo.scale.on_ray import RayEngine
from vos_zoo.scale.worker import RunSettings


def test_without_ray_there_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vos-zoo\[cluster\]'"):
        RayEngine(RunSettings("out", "rde", {}))


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of two cores each; ``nodes`` are those beside the head."""
    pytest.importorskip("ray")
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_DEDUP_LOGS", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent.parent), *sys.path]))
        nodes = cluster_utils.Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False},
        )
        second = nodes.add_node(num_cpus=2, object_store_memory=80 * 2**20)
        ray.init(address=nodes.address, log_to_driver=False)
        nodes.nodes = [second]
        yield nodes
        ray.shutdown()
        nodes.shutdown()


def table(folder, names):
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["video", "masks"])
        rows.writerows([f"{name}.mp4", f"{name}.png"] for name in names)
    return folder / "list.csv"


def run(source, out, **options):
    from testing.ray_worker import make_stub

    return segment_many(source, out=out, engine=partial(RayEngine, workers=2, make_worker=make_stub), **options)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_lost_and_nothing_done_twice_though_workers_die(cluster, tmp_path):
    names = [f"v{number}" for number in range(20)] + ["die once", "die once more", "fail"]
    report = run(table(tmp_path, names), tmp_path / "out")
    assert [failure.video for failure in report.failures] == ["fail"]
    assert report.finished == 22
    assert sorted((tmp_path / "out" / "log.txt").read_text().splitlines()) == sorted(set(names) - {"fail"})
    report = run(table(tmp_path, [name for name in names if name != "fail"]), tmp_path / "out")
    assert (report.finished, report.found) == (0, 22)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_another_version_and_a_model_that_is_not_there_are_named(cluster, tmp_path):
    with pytest.raises(ConfigError, match=r"has vos_zoo 0\.0\.9"):
        run(table(tmp_path, ["one"]), tmp_path / "out", version="0.0.9")
    with pytest.raises(ConfigError, match=r"No worker can start: .*no-such-model"):
        segment_many(table(tmp_path, ["one"]), out=tmp_path / "other", engine="ray", workers=1, model="no-such-model")
    with pytest.raises(ConfigError, match="no node of the Ray cluster has a GPU"):
        RayEngine(RunSettings("out", "rde", {}), device="cuda")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_that_dies_loses_nothing(cluster, tmp_path):
    names = ["slow-a", "slow-b"]
    out = tmp_path / "out"
    result = []
    thread = threading.Thread(target=lambda: result.append(run(table(tmp_path, names), out)))
    thread.start()
    deadline = time.monotonic() + 300
    while not all((out / name).is_dir() for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    cluster.remove_node(cluster.nodes.pop(), allow_graceful=False)
    thread.join(400)
    assert result[0].failures == ()
    assert sorted((out / "log.txt").read_text().splitlines()) == names
