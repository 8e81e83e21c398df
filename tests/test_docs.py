"""The documentation says what is: its commands parse, its snippets run, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

import vos_zoo
from testing.videos import clip, write_video
from vos_zoo.cli.main import build_parser
from vos_zoo.inference import unwrap
from vos_zoo.media.masks import write_mask
from vos_zoo.models.load import load_model
from vos_zoo.weights import load_network

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(program: str) -> list:
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words[:1] == [program]:
                        found.append(pytest.param(words[1:], id=f"{page.name}: {' '.join(words[1:])}"))
    return found


@pytest.mark.parametrize("words", commands("vos-zoo"))
def test_a_command_of_the_documentation_parses(words):
    assert build_parser().parse_args(words).command == words[0]


@pytest.mark.parametrize("words", commands("lightning"))
def test_a_training_command_names_an_existing_recipe(words):
    assert words[0] in {"fit", "validate", "test", "predict"}
    assert (ROOT / words[words.index("--config") + 1]).is_file()


def test_commands_are_found():
    assert len(commands("vos-zoo")) >= 5
    assert len(commands("lightning")) >= 3


def snippets() -> list:
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, "python"))
    ]


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_model):
    """A folder with the files that snippets name, and a model that is small enough for a test."""
    pictures = clip()
    mask = np.zeros((48, 64), np.uint8)
    mask[12:24, 0:16] = 1
    write_video(tmp_path / "clip.mp4", pictures)
    write_mask(tmp_path / "first.png", mask)
    monkeypatch.chdir(tmp_path)

    def check(name):
        assert name in vos_zoo.list_models() or re.fullmatch(r"hf-hub:owner/name@[0-9a-f]{40}", name)

    def load_tiny(name, device="auto"):
        check(name)
        return load_model(tiny_model, device="cpu")

    def load_tiny_network(name, device="cpu"):
        check(name)
        return load_network(tiny_model)

    monkeypatch.setattr(unwrap, "load_network", load_tiny_network)
    monkeypatch.setattr(vos_zoo, "load_model", load_tiny, raising=False)
    return {"first_frame": pictures[0], "first_mask": mask, "next_frame": pictures[1], "more_frames": pictures[1:3]}


@pytest.mark.parametrize("code", snippets())
def test_a_snippet_runs(place, code, tmp_path, tiny_model):
    if "save_file(" in code:
        for name in ("my-model", "checkpoints/rde-small"):
            shutil.copytree(tiny_model, tmp_path / name)
    if "evaluate(" in code:
        for name in ("masks", "true_masks"):
            for index in range(4):
                write_mask(tmp_path / name / f"{index:05d}.png", place["first_mask"])
    if ("session" in code or "model.push_to_hub" in code) and "load_model" not in code:
        place["model"] = vos_zoo.load_model("rde")
    exec(compile(code, "<documentation>", "exec"), dict(place))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target
