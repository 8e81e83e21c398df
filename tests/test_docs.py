"""The documentation says what is: its commands parse, its snippets run, its links lead somewhere."""

from __future__ import annotations

import configparser
import contextlib
import importlib.metadata
import itertools
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
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import vos_zoo
from testing.videos import clip, write_video
from vos_zoo.cli.main import build_parser
from vos_zoo.cli.recipes import list_recipes
from vos_zoo.inference import unwrap
from vos_zoo.media.masks import write_mask
from vos_zoo.models.load import load_model
from vos_zoo.registry import ARCHITECTURES, WEIGHTS
from vos_zoo.reproduction.tables import paper_tables
from vos_zoo.weights import load_network

ROOT = Path(__file__).parent.parent
# Pages that are made are not kept in git: their texts are those of the repository's own files.
MADE = {"changelog.md", "code_of_conduct.md", "contributing.md", "papers.md", "security.md"}
MADE_WITH_THE_SITE = {"models/index.md"}
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "CODE_OF_CONDUCT.md", "SECURITY.md")),
    ROOT / "examples" / "README.md",
    *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in MADE),
]


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
    recipes = [value for option, value in itertools.pairwise(words) if option == "--config"]
    assert recipes
    assert set(recipes) <= list_recipes().keys()


def test_commands_are_found():
    assert len(commands("vos-zoo")) >= 5
    assert len(commands("lightning")) >= 3


def snippets() -> list:
    return [
        pytest.param(block, id=f"{page.name}-{number}")
        for page in PAGES
        if page.name != "README.md"  # test_readme.py runs it as a whole
        for number, block in enumerate(blocks(page, "python"))
    ]


@pytest.fixture
def place(tmp_path, monkeypatch, tiny_model):
    """A folder with the files that snippets name, and a model that is small enough for a test."""
    pictures = clip()
    mask = np.zeros((48, 64), np.uint8)
    mask[12:24, 0:16] = 1
    for folder, name in ((tmp_path, "clip.mp4"), (tmp_path / "vos-zoo-demo", "bird.mp4")):
        folder.mkdir(exist_ok=True)
        write_video(folder / name, pictures)
        write_mask(folder / "first.png", mask)
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
        for name in ("my-model", "checkpoints/rde-small", "checkpoints/stcn-small"):
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
        if not target.startswith(("http://", "https://")) and target not in MADE_WITH_THE_SITE:
            assert (page.parent / target).exists(), target


@pytest.fixture(scope="module")
def site_pages():
    """The maker of pages, which lies beside them and is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs")
        import site_pages

        return site_pages


def test_the_tables_of_models_are_those_of_the_registry(site_pages):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert site_pages.renew_tables(readme) == readme, "Run `python docs/site_pages.py`."
    assert all(f"`{name}`" in readme for name in (*vos_zoo.list_models(), *vos_zoo.list_models(pretrained=True)))


def test_every_model_has_a_page_with_its_readme_its_weights_and_their_cards(site_pages, tmp_path):
    site_pages.write_pages(tmp_path)
    assert {page.stem for page in (tmp_path / "models").iterdir()} == {"index", *ARCHITECTURES}
    for architecture in ARCHITECTURES.values():
        page = (tmp_path / "models" / f"{architecture.name}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {architecture.title}\n")
        assert page.count("\n# ") - sum(block.count("\n# ") for block in re.findall(r"```.*?```", page, re.DOTALL)) == 0
        weights = [weight for weight in WEIGHTS.values() if weight.architecture == architecture.name]
        assert all(f"(card-{weight.folder})=\n## {weight.name}\n" in page for weight in weights)
        assert all(weight.date in page for weight in weights)


def test_every_table_of_a_paper_is_on_the_page(site_pages):
    page = site_pages.papers_page()
    tables = paper_tables()
    assert all(f"### `{name}`: " in page for name in tables)
    assert all(f"| {row.label} |" in page for table in tables.values() for row in table.rows if "|" not in row.label)


def test_a_link_out_of_the_site_is_refused(site_pages):
    with pytest.raises(ValueError, match="no page of the site"):
        site_pages.site_links("[a](../setup.cfg)", ROOT / "docs")
    assert site_pages.site_links("[a](../SECURITY.md#x)", ROOT / "docs") == "[a](/security.md#x)"
    assert site_pages.site_links("[a](https://example.org)", ROOT / "docs") == "[a](https://example.org)"


@pytest.mark.parametrize("notebook", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_has_no_outputs_in_git(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert f"({notebook.name})" in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


def test_every_page_is_in_a_table_of_contents():
    listed = re.findall(
        r"^```\{toctree\}\n(.*?)^```$", (ROOT / "docs" / "index.md").read_text(), flags=re.DOTALL | re.MULTILINE
    )
    names = {line for entry in listed for line in entry.splitlines() if line and not line.startswith(":")}
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= names, f"{pages - names} is in no toctree of docs/index.md."


def test_every_public_name_is_in_the_reference():
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    entries = re.findall(r"^\.\. auto(?:function|class):: ([\w.]+)$", reference, flags=re.MULTILINE)
    shown = set(entries)
    assert len(entries) == len(shown), "a name is shown twice"
    assert {f"vos_zoo.{name}" for name in vos_zoo.__all__ if not name.startswith("__")} <= shown
    assert not [name for name in shown if name.rpartition(".")[2].startswith("_")]


def requirements(text):
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def with_dependencies(named):
    """Return the names of installed distributions, with those that they require."""
    found, waiting = set(), list(named)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                waiting += map(Requirement, importlib.metadata.requires(name) or [])
                found.add(name)
    return found


@pytest.mark.slow
def test_the_reference_needs_no_more_than_the_extra_docs():
    """Sphinx imports what it shows. Modules that the package and its extra do not bring are hidden from it here."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = {name: requirements(text) for name, text in setup["options.extras_require"].items()}
    brought = with_dependencies(requirements(setup["options"]["install_requires"]) + extras["docs"])
    others = {canonicalize_name(entry.name) for entry in itertools.chain(*extras.values())} - brought
    distributions = importlib.metadata.packages_distributions()
    hidden = [module for module, owners in distributions.items() if others & set(map(canonicalize_name, owners))]
    assert {"hypothesis", "xdist"} <= set(hidden)
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\.\. auto(?:function|class|module):: ([\w.]+)$", reference, flags=re.MULTILINE)
    script = (
        f"import pkgutil, sys; sys.modules.update(dict.fromkeys({hidden})); list(map(pkgutil.resolve_name, {shown}))"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert child.returncode == 0, child.stderr


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=lambda architecture: architecture.name)
def test_every_paper_can_be_cited(architecture):
    citations = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    (entry,) = [entry for entry in citations["references"] if entry["title"] == architecture.paper.title]
    authors = ", ".join(f"{author['given-names']} {author['family-names']}" for author in entry["authors"])
    assert (authors, entry["year"], entry["url"]) == (
        architecture.paper.authors,
        architecture.paper.year,
        architecture.paper.url,
    )
    assert citations["version"] == vos_zoo.__version__


@pytest.mark.skipif(shutil.which("bash") is None, reason="the script of the page is for bash")
def test_the_batch_script_resumes_and_requeues(tmp_path):
    """It runs three times: stopped by its time limit, by a machine that fails, and not at all."""
    (script,) = [block for block in blocks(ROOT / "docs" / "cluster.md", "bash") if "scontrol requeue" in block]
    programs = {
        "srun": 'exec "$@"',
        "scontrol": 'echo "$@" >> requeued',
        "lightning": """echo "$@" >> started; mkdir -p runs/7/checkpoints
            case $(wc -l < started) in
            1) touch -d @1 runs/7/checkpoints/last.ckpt; touch -d @2 runs/7/checkpoints/interrupted.ckpt; exit 143;;
            2) touch -d @3 runs/7/checkpoints/last.ckpt; kill -9 $$;;
            esac""",
    }
    (tmp_path / "bin").mkdir()
    for name, lines in programs.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/bash\n{lines}\n")
        program.chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_NNODES": "2"}
    for _ in range(3):
        subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=False, capture_output=True)
    begun_from = [line.partition("--ckpt_path ")[2] for line in (tmp_path / "started").read_text().splitlines()]
    assert begun_from == ["", "runs/7/checkpoints/interrupted.ckpt", "runs/7/checkpoints/last.ckpt"]
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
