"""From the command line to a Hub on this machine, and back in another process."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testing.hub_server import READER, WRITER
from vos_zoo.cli.main import main
from vos_zoo.registry import WEIGHTS

# The client's own upload, with the release of its transport library that is newest at the time of writing.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPOSITORY = "owner/rde-tiny"
ROOT = Path(__file__).parents[2]


def run(words, environment, **options):
    search_path = os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path)
    variables = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path} | environment
    return subprocess.run(
        [sys.executable, *words], env=variables, capture_output=True, text=True, check=False, **options
    )


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["folder"],
        ["folder", "--repo-id", REPOSITORY, "--owner", "owner"],
        ["--all"],
        ["--all", "--owner", "owner", "--repo-id", REPOSITORY],
        ["folder", "--all", "--owner", "owner"],
    ],
)
def test_one_checkpoint_or_all_of_them(capsys, words):
    assert main(["publish", *words]) == 2
    assert "--all" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "checkpoints").is_dir(), reason="needs a clone")
def test_a_wheel_that_is_built_after_publishing_fetches_what_it_lacks(hub, tmp_path):
    """A clone publishes everything; the wheel of that clone, in an empty folder, finds on the Hub what it lacks."""
    clone, site, empty = tmp_path / "clone", tmp_path / "site", tmp_path / "empty"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "tests", "docs", "benchmarks")
    shutil.copytree(ROOT, clone, ignore=ignored)
    empty.mkdir()
    environment = {"PYTHONPATH": str(clone / "src"), "PYTHONSAFEPATH": "1"}
    publish = run(
        ["-m", "vos_zoo.cli.main", "publish", "--all", "--owner", "owner"],
        hub.environment(tmp_path / "writer", token=WRITER) | environment,
        cwd=empty,
    )
    assert publish.returncode == 0, publish.stderr
    pins = json.loads((clone / "src" / "vos_zoo" / "hub_pins.json").read_text())
    assert pins.keys() == {weight.name for weight in WEIGHTS.values()}
    for pin in pins.values():
        assert re.search(rf"{pin['repo_id']} +{pin['revision']}\n", publish.stdout)

    install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(site),
        str(clone),
    ]
    built = run(install, {})
    assert built.returncode == 0, built.stderr
    code = (
        "import vos_zoo\n"
        "model = vos_zoo.load_model('tsn', device='cpu')\n"
        "print(vos_zoo.__file__, model.origin.name, model.origin.revision, model.origin.sha256, model.origin.path)\n"
    )
    reader = hub.environment(tmp_path / "reader") | {"PYTHONPATH": str(site)}
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):  # the second time it comes from the cache
        loaded = run(["-c", code], reader | more, cwd=empty)
        assert loaded.returncode == 0, loaded.stderr
        file, name, revision, sha256, path = loaded.stdout.split()
        assert Path(file).is_relative_to(site)
        assert (name, revision, sha256) == ("tsn.small", pins["tsn.small"]["revision"], WEIGHTS["tsn.small"].sha256)
        assert Path(path).is_relative_to(tmp_path / "reader")
