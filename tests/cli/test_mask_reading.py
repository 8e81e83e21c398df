from __future__ import annotations

import pytest

from vos_zoo.cli.main import build_parser
from vos_zoo.cli.mask_reading import mask_reading
from vos_zoo.interchange.reading import MaskReading


def parsed(*words: str):
    return mask_reading(build_parser().parse_args(["segment", "clip", "a.json", "--out", "out", *words]))


def test_nothing_is_said_by_default():
    assert parsed() == MaskReading()


def test_every_argument_arrives():
    found = parsed(
        *("--mask-format", "yolo", "--first-frame-number", "1"), *("--objects-by", "order", "--background", "ffffff")
    )
    assert found == MaskReading("yolo", 1, "order", "ffffff")


@pytest.mark.parametrize("words", [("--mask-format", "voc"), ("--objects-by", "size"), ("--first-frame-number", "x")])
def test_other_values_are_refused(words, capsys):
    with pytest.raises(SystemExit):
        parsed(*words)
    assert words[0] in capsys.readouterr().err
