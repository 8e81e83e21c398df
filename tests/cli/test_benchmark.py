"""The short benchmark on the user's machine."""

import re

import pytest

from vos_zoo.cli.main import main
from vos_zoo.memory import BACKEND_VARIABLE


@pytest.mark.slow
def test_it_compares_the_read_and_times_a_model(tiny_model, capsys, monkeypatch):
    monkeypatch.setenv(BACKEND_VARIABLE, "cpu")
    arguments = ["--model", str(tiny_model), "--device", "cpu", "--size", "32", "--frames", "2", "--rounds", "1"]
    assert main(["benchmark", *arguments]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^ +(\d+) +(\w+) +[\d.]+ ms +[\d.]+ ms +([\d.]+)x$", printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "5", "20"]
    assert all(row[1] == "cpu" and float(row[2]) > 0 for row in rows)
    assert "s per frame" in printed
