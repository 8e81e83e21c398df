"""GIEL's configuration: its native size and contradictions."""

from __future__ import annotations

import dataclasses

import pytest

from testing.giel import tiny
from vos_zoo.errors import ConfigError
from vos_zoo.inference.session import VideoSession
from vos_zoo.models.giel import GIELConfig


def test_a_configuration_sets_the_native_size():
    assert VideoSession(tiny(working_size=64)).describe((640, 960)).working_size == (64, 96)


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"support_size": 0}, "support_size is 0"),
        ({"support_size": 1}, "use support='first'"),
        ({"variant": "fast", "global_embedding": False}, "Without the global"),
        ({"instance_embedding": False, "global_embedding": False}, "Without the global"),
        ({"variant": "fast", "instance_embedding": False}, "Without the instance"),
        ({"max_objects": 0}, "max_objects is 0"),
    ],
)
def test_contradictions_are_refused(switches, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(GIELConfig.tiny(), **switches)
