from __future__ import annotations

import argparse

import pytest

from vos_zoo.scale.jobs import OPTIONS, Job, digest_of, read_option
from vos_zoo.segmentation.video import segment_video

JOB = Job(3, "cat", "cat.mp4", "cat.png", {"every": 2}, 40)
SETTINGS = {"model": "rde", "size": 480}


def test_options_are_arguments_of_segment_video():
    import inspect

    assert OPTIONS.keys() <= inspect.signature(segment_video).parameters.keys()


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("start", "12", 12),
        ("start", 12, 12),
        ("size", "256x448", (256, 448)),
        ("size", [256, 448], (256, 448)),
        ("levels", [200, 3800], (200.0, 3800.0)),
        ("void", "none", None),
        ("overlay", True, True),
        ("direction", "both", "both"),
        ("memory_budget", "2GiB", 2**31),
    ],
)
def test_options_are_read_from_text_and_json(name, value, read):
    assert read_option(name, value) == read


@pytest.mark.parametrize(
    ("name", "value"), [("start", "twelve"), ("size", {}), ("overlay", "perhaps"), ("end", 1.5), ("direction", "up")]
)
def test_other_values_are_refused(name, value):
    with pytest.raises(argparse.ArgumentTypeError, match="write"):
        read_option(name, value)


def test_what_results_depend_on_is_in_the_digest_and_nothing_else():
    digest = digest_of(JOB, SETTINGS)
    assert digest == digest_of(JOB._replace(row=9, length=0), dict(reversed(SETTINGS.items())))
    others = [
        digest_of(JOB._replace(video="dog.mp4"), SETTINGS),
        digest_of(JOB._replace(masks="dog.png"), SETTINGS),
        digest_of(JOB._replace(options={}), SETTINGS),
        digest_of(JOB._replace(prompts="cat.json"), SETTINGS),
        digest_of(JOB, SETTINGS | {"model": "stcn"}),
    ]
    assert len({digest, *others}) == 6
