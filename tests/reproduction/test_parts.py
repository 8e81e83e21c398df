"""The parts of a network are timed one by one."""

from __future__ import annotations

import time
from types import MappingProxyType

import pytest
import torch
from torch import nn

from testing.data_roots import davis_root
from vos_zoo.metrics.protocols import get_protocol
from vos_zoo.models.dmn_aoa import DMNAOAModule
from vos_zoo.reproduction.parts import time_parts
from vos_zoo.reproduction.runs import RowRun, measured_values
from vos_zoo.reproduction.tables import find_table, of_part
from vos_zoo.reproduction.videos import find_videos


class Parts(nn.Linear):
    """Two parts, one of two methods."""

    timed_parts = MappingProxyType({"A": ("one", "other"), "B": ("fail",)})

    def one(self, seconds):
        time.sleep(seconds)
        return seconds

    def other(self):
        return self.one.__name__

    def fail(self):
        raise ValueError


def test_the_methods_of_a_part_count_together(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 13.0, 20.0, 24.0])
    monkeypatch.setattr("vos_zoo.reproduction.parts.time.perf_counter", lambda: next(clock))
    network = Parts(1, 1)
    with time_parts(network) as seconds:
        assert network.one(0) == 0
        assert network.other() == "one"
        with pytest.raises(ValueError, match=r"^$"):
            network.fail()
        assert seconds == {"A": 5.0, "B": 4.0}
    assert not {"one", "other", "fail"} & vars(network).keys()
    assert network(torch.zeros(1)).shape == (1,)


def test_dmn_aoas_parts_are_those_of_its_table_4(tmp_path, small_clip):
    videos = find_videos(
        davis_root(tmp_path / "root", small_clip, names=("one",)), find_table("rde.table5").rows[0].data
    )
    model = DMNAOAModule("tiny").eval()
    run = RowRun(tmp_path / "row", {})
    run.segment(
        model, videos, get_protocol("davis2017"), options={"size": 32}, times_parts=True, progress=lambda _: None
    )
    record = run.records["one"]
    assert [of_part(part) for part in record.parts] == list(find_table("dmn_aoa.table4").measures)
    assert all(seconds > 0 for seconds in record.parts.values())
    assert 0.3 * record.seconds < sum(record.parts.values()) < record.seconds
    values = measured_values(None, list(run.records.values()))
    assert values["MRN s/frame"] == record.parts["MRN"] / 8
    assert RowRun(tmp_path / "row", {}).records == run.records
    assert not {name for names in model.network.timed_parts.values() for name in names} & vars(model.network).keys()
