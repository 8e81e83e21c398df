"""docs/add_a_model.md is a whole package: it is built, installed, trained, used and tested as the page says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from testing.videos import clip, write_video
from vos_zoo.media.masks import write_mask

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parent.parent / "docs" / "add_a_model.md"
BLOCKS = re.findall(
    r'^```\w+ title="(.+?)"\n(.*?)^```$', PAGE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
)
COMMANDS = [shlex.split(line) for title, block in BLOCKS if title == "terminal" for line in block.splitlines()]
PROGRAMS = {
    "lightning": [sys.executable, "-m", "vos_zoo.cli.lightning"],
    "vos-zoo": [sys.executable, "-m", "vos_zoo.cli.main"],
    "python": [sys.executable],
    "touch": ["touch"],
}
# No network, and into a folder of the test.
PIP_OPTIONS = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]


class Package:
    """The page's files in a folder of their own, and a folder into which they are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder / "package", folder / "site"
        for title, block in BLOCKS:
            if title != "terminal":
                path = self.folder / title
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block, encoding="utf-8")

    def run(self, words: list[str]) -> str:
        # The zoo is found where this process found it, without relative entries of the path.
        search_path = os.pathsep.join([str(self.site), *(str(Path(entry).resolve()) for entry in sys.path)])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": search_path}
        command = [*PROGRAMS[words[0]], *words[1:]]
        result = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert result.returncode == 0, f"{shlex.join(words)}\n{result.stdout}\n{result.stderr}"
        return result.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    package = Package(tmp_path_factory.mktemp("toy"))
    touch, install = COMMANDS[:2]
    assert install == ["python", "-m", "pip", "install", "."]
    package.run(touch)
    package.run([*install[:4], *PIP_OPTIONS, "--target", str(package.site), "."])
    shutil.rmtree(package.folder / "toy_vos")  # what is left can only be the installed one
    return package


def test_the_page_has_all_files():
    titles = [title for title, _ in BLOCKS if title != "terminal"]
    assert titles == [
        "toy_vos/config.py",
        "toy_vos/network.py",
        "toy_vos/lightning_module.py",
        "toy_vos/registration.py",
        "pyproject.toml",
        "test_toy.py",
        "toy.yaml",
        "use.py",
    ]


def test_the_toy_passes_the_battery(package):
    (battery,) = (words for words in COMMANDS if "pytest" in words)
    output = package.run([*battery, "-p", "no:cacheprovider"])
    assert int(re.search(r"(\d+) passed", output)[1]) >= 30
    assert "skipped" not in output


def test_the_toy_is_listed_trained_exported_and_segments(package):
    listing, *others = (words for words in COMMANDS[2:] if "pytest" not in words)
    assert re.search(r"^toy +Toy, Toy Conference 2026 +paper tiny +none published$", package.run(listing), re.MULTILINE)
    frames = clip()
    mask = np.zeros(frames[0].shape[:2], np.uint8)
    mask[12:24, 0:16] = 1
    write_video(package.folder / "clip.mp4", frames)
    write_mask(package.folder / "first.png", mask)
    fit, export, validate, segment = others
    assert [words[:2] for words in others] == [
        ["lightning", "fit"],
        ["vos-zoo", "export"],
        ["lightning", "validate"],
        ["vos-zoo", "segment"],
    ]
    package.run(fit)
    package.run(export)
    assert json.loads((package.folder / "toy-model" / "config.json").read_text())["architecture"] == "toy"
    assert "val/jf_mean" in package.run(validate)
    package.run(segment)
    assert len(list((package.folder / "masks").glob("*.png"))) == len(frames)
    name, memory = package.run(["python", "use.py"]).split()
    assert name == "ToyModule"
    assert int(memory) == 2 * 4 * 2 * 2 * 8  # frames, bytes, objects, prototypes, channels of the tiny size
