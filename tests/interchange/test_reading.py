from __future__ import annotations

import pytest

from vos_zoo.errors import ConfigError
from vos_zoo.interchange.reading import MaskReading


def test_settings_name_what_was_said_only():
    assert MaskReading().settings() == {}
    assert MaskReading(format="yolo", first_frame_number=0).settings() == {"format": "yolo", "first_frame_number": 0}


@pytest.mark.parametrize(
    "wrong",
    [{"format": "voc"}, {"objects_by": "colour"}, {"first_frame_number": -1}, {"first_frame_number": True},
     {"background": "white"}, {"background": "#12345"}],
)  # fmt: skip
def test_values_out_of_range_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"{name} is {value!r}"):
        MaskReading(**wrong)
