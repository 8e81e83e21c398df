"""Tracing: shapes of inputs and outputs, by name."""

from __future__ import annotations

import torch

from testing.graphs import tiny_network
from vos_zoo.deployment.trace import Sizes, portable_verbs, trace


def test_programs_name_their_arrays_and_give_what_the_module_gives():
    finished = []
    verbs = portable_verbs(tiny_network("stcn"))
    encode, segment, memorize = trace(verbs, Sizes((48, 64), 2), finished=lambda: finished.append(1))
    assert len(finished) == 3
    assert [array.name for array in encode.inputs] == ["image"]
    assert {array.name: array.shape for array in segment.inputs}["state_values"] == ("frames", 3, 4, 2, 16)
    assert {array.name: array.shape for array in memorize.outputs} == {
        "next_keys": (3, 4, 8),
        "next_values": (3, 4, 2, 16),
    }
    image = torch.rand(1, 3, 48, 64)
    for ours, theirs in zip(encode.exported.module()(image), encode.module(image), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_sizes_that_stay_open_are_formulas():
    verbs = portable_verbs(tiny_network("stcn"))
    (encode, *_) = trace(verbs, Sizes())
    assert encode.inputs[0].shape == (1, 3, "height", "width")
    shapes = {array.name: array.shape[2:] for array in encode.outputs}
    assert shapes["key"] == ("height/16", "width/16")
    assert shapes["stride4"] == ("height/4", "width/4")
    for size in ((64, 96), (112, 80)):
        image = torch.rand(1, 3, *size)
        for ours, theirs in zip(encode.exported.module()(image), encode.module(image), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
