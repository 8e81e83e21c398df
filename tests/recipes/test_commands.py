"""The commands that are printed for the papers' rows are understood as they stand."""

from __future__ import annotations

import shlex
import sys

import pytest
import yaml

from testing.recipes import REPOSITORY
from vos_zoo.cli import lightning
from vos_zoo.reproduction.tables import long_video_figures, paper_tables

TABLES = [*paper_tables().values(), *long_video_figures().values()]
COMMANDS = sorted({words for table in TABLES for row in table.rows for words in row.training})


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: shlex.join(words[2:]))
def test_a_printed_command_is_understood(words, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setattr(sys, "argv", ["lightning", *words, "--print_config"])
    with pytest.raises(SystemExit) as stopped:
        lightning.main()
    assert stopped.value.code == 0
    settings = yaml.safe_load(capsys.readouterr().out)
    model = settings["model"]["init_args"]
    for option, value in zip(words[1::2], words[2::2], strict=True):
        if option.startswith("--model."):
            assert model[option.removeprefix("--model.")] == yaml.safe_load(value)
    assert settings["data"]["init_args"]["root"] == "ROOT"
    (keeper,) = [entry for entry in settings["trainer"]["callbacks"] if entry["class_path"].endswith("ModelCheckpoint")]
    if "--trainer.callbacks.dirpath" in words:
        assert keeper["init_args"]["dirpath"] == words[words.index("--trainer.callbacks.dirpath") + 1]
    assert keeper["init_args"]["save_last"]
