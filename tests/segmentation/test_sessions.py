"""Sessions of one run share the model, and each is told which frames it sees."""

from __future__ import annotations

import pytest

from vos_zoo.errors import UnknownModelError
from vos_zoo.segmentation.inputs import open_inputs
from vos_zoo.segmentation.passes import plan_passes
from vos_zoo.segmentation.sessions import Sessions

CHOICES = {"start": None, "end": None, "every": 1, "levels": None, "resize_mask": False, "void": "auto"}


@pytest.fixture
def inputs(small_clip):
    return open_inputs(small_clip.frames, small_clip.given, **CHOICES)


def test_the_model_is_loaded_once(inputs, tiny_model):
    sessions = Sessions(tiny_model, "cpu", 32)
    passes = plan_passes("both", inputs.annotated, len(inputs.reader))
    (first, seen), (second, others) = (sessions.open(one, inputs) for one in passes)
    assert first is not second
    assert seen == others == []
    assert seen is not others
    assert sessions.model is not tiny_model
    assert next(first.network.parameters()).device.type == "cpu"
    assert first.num_frames == 0


def test_side_inputs_are_wanted_for_the_frames_after_the_first_mask_of_the_pass(inputs, tiny_model, monkeypatch):
    wanted = []

    def opened(network, paths, frames, *, needed, size):
        wanted.append(list(needed))
        return {}

    monkeypatch.setattr("vos_zoo.segmentation.sessions.open_side_inputs", opened)
    sessions = Sessions(tiny_model, "cpu", 32, side_inputs={"proposals": "folder"})
    for one in plan_passes("both", [0, 3], len(inputs.reader)):
        sessions.open(one, inputs)
    assert wanted == [["00002", "00001", "00000"], [f"{index:05d}" for index in range(1, 8)]]


def test_a_wrong_name_is_named(inputs):
    (one,) = plan_passes("forward", inputs.annotated, len(inputs.reader))
    with pytest.raises(UnknownModelError):
        Sessions("no such model").open(one, inputs)
