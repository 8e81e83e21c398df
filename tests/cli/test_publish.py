"""From the command line to a Hub on this machine, and back in another process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from testing.hub_server import READER, WRITER
from vos_zoo.cli.main import main

# The client's own upload, with the release of its transport library that is newest at the time of writing.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPOSITORY = "owner/rde-tiny"


def run(words, environment, **options):
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path} | environment
    return subprocess.run(
        [sys.executable, *words], env=variables, capture_output=True, text=True, check=False, **options
    )


def test_the_command_publishes_and_a_new_process_loads_by_revision(hub, tiny_model, tmp_path):
    publish = ["-m", "vos_zoo.cli.main", "publish", str(tiny_model), "--repo-id", REPOSITORY, "--private"]
    written = run(publish, hub.environment(tmp_path / "writer", token=WRITER))
    assert written.returncode == 0, written.stderr
    revision = re.search(r"Revision to pin: ([0-9a-f]{40})\n", written.stdout)[1]
    assert revision == hub.repositories[REPOSITORY].head

    code = (
        "import sys, torch, vos_zoo\n"
        "model, original = vos_zoo.load_model(sys.argv[1], 'cpu'), vos_zoo.load_model(sys.argv[2], 'cpu')\n"
        "pairs = zip(model.state_dict().values(), original.state_dict().values(), strict=True)\n"
        "assert all(torch.equal(*pair) for pair in pairs)\n"
        "print(model.origin)\n"
    )
    name = f"hf-hub:{REPOSITORY}@{revision}"
    environment = hub.environment(tmp_path / "reader", token=READER)
    first = run(["-c", code, name, str(tiny_model)], environment)
    assert (first.returncode, first.stdout) == (0, f"{name}\n"), first.stderr
    again = run(["-c", code, name, str(tiny_model)], environment | {"HF_HUB_OFFLINE": "1"})
    assert (again.returncode, again.stdout) == (0, f"{name}\n"), again.stderr


def test_the_command_shows_the_card_first(hub, tiny_model, capsys):
    assert main(["publish", str(tiny_model), "--repo-id", REPOSITORY, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "library_name: vos_zoo" in printed
    assert "Nothing was sent." in printed
    assert hub.requests == []


def test_the_command_says_that_it_kept_a_card(hub, tiny_model, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    hub.add(REPOSITORY)
    hub.repositories[REPOSITORY].commit({"README.md": b"# My own words\n"})
    assert main(["publish", str(tiny_model), "--repo-id", REPOSITORY]) == 0
    assert "--overwrite-card" in capsys.readouterr().out
    assert main(["publish", str(tiny_model), "--repo-id", "name"]) == 2
    assert "owner/name" in capsys.readouterr().err
