"""Pages and tables of the documentation that are made from the registry, the models' READMEs and the cards.

    python docs/site_pages.py          # renew the tables in README.md and the pages of docs/
    python docs/site_pages.py --check  # only say whether they are up to date

``conf.py`` calls :func:`write_pages` before a build. What it writes is not kept in git.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from vos_zoo.registry import ARCHITECTURES, WEIGHTS, Architecture, Weight
from vos_zoo.reproduction.tables import PaperTable, paper_tables

DOCS = Path(__file__).parent
ROOT = DOCS.parent
MODELS = ROOT / "src" / "vos_zoo" / "models"
EXAMPLES = ROOT / "examples"

#: Files of the repository that are pages of the site under another name.
_PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}


def models_table(name: str = "`{0}`") -> str:
    """Return the table of models: paper, sizes, and each weight with its size, licence and score.

    Args:
        name: How the table writes a model's name; the site links it.
    """
    rows = [("model", "paper", "sizes", "weight", "file", "licence of the weight", "J&F")]
    for architecture in sorted(ARCHITECTURES.values(), key=_best_score, reverse=True):
        weights = [weight for weight in WEIGHTS.values() if weight.architecture == architecture.name]
        paper = (
            f"[{architecture.title}, {architecture.paper.venue} {architecture.paper.year}]({architecture.paper.url})"
        )
        sizes = ", ".join(f"`{variant.name}`" for variant in architecture.variants if variant.name != "tiny")
        described = [_weight_cells(weight) for weight in weights] or [(_no_weight(architecture), "", "", "")]
        rows += [
            (*((name.format(architecture.name), paper, sizes) if number == 0 else ("", "", "")), *cells)
            for number, cells in enumerate(described)
        ]
    return _table(rows)


def _best_score(architecture: Architecture) -> float:
    scores = [
        score.j_and_f
        for weight in WEIGHTS.values()
        if weight.architecture == architecture.name
        for score in weight.scores
    ]
    return max(scores, default=0.0)


def _weight_cells(weight: Weight) -> tuple[str, str, str, str]:
    score = f"{weight.scores[0].j_and_f:.1f}" if weight.scores else "not measured"
    return f"`{weight.name}`", f"{weight.num_bytes / 2**20:.0f} MiB", weight.licence.partition(";")[0], score


def _no_weight(architecture: Architecture) -> str:
    if architecture.converter:
        return f"none; `vos-zoo convert --from {architecture.name}` reads the authors' file"
    return "none; train one"


def weights_table(architecture: Architecture) -> str:
    """Return the facts about an architecture's weights that the registry holds."""
    rows = [("weight", "size", "file", "where", "finished", "J&F", "J", "F", "measured on")]
    for weight in WEIGHTS.values():
        if weight.architecture != architecture.name:
            continue
        score = weight.scores[0] if weight.scores else None
        numbers = [f"{value:.1f}" for value in (score.j_and_f, score.j, score.f)] if score else ["", "", ""]
        on = f"{score.data}; {score.protocol}" if score else "not measured"
        file = f"{weight.num_bytes / 2**20:.1f} MiB"
        rows.append((f"`{weight.name}`", f"`{weight.variant}`", file, weight.place, weight.date, *numbers, on))
    return _table(rows)


def model_page(architecture: Architecture) -> str:
    """Return the page of one model: its README, the registry's facts, and the cards of its weights."""
    folder = MODELS / architecture.name
    parts = [site_links((folder / "README.md").read_text(encoding="utf-8"), folder).rstrip()]
    weights = [weight for weight in WEIGHTS.values() if weight.architecture == architecture.name]
    if weights:
        parts += ["## Weights in the registry", weights_table(architecture).rstrip()]
    for weight in weights:
        card_folder = ROOT / "checkpoints" / (weight.folder or "")
        card = (card_folder / "README.md").read_text(encoding="utf-8")
        card = _deeper(site_links(re.sub(r"\A---\n.*?\n---\n+", "", card, flags=re.DOTALL), card_folder))
        parts.append(f"(card-{weight.folder})=\n{card.rstrip()}")
    return "\n\n".join(parts) + "\n"


def papers_page() -> str:
    """Return every table of the papers, with the paper's numbers and what this project has measured beside them."""
    parts = [
        "# The papers' results",
        "Every table of the papers in which the models here have rows, as printed there. This project trains small\n"
        "networks on few data and has run none of the rows in the paper's setting yet, so there is no difference to\n"
        "show: what the small weights reach on other videos is in [Results](results.md). `vos-zoo reproduce NAME\n"
        "--data ROOT` runs a table and prints our number, the paper's, and the difference\n"
        "([Reproduce a table](reproduce.md)).",
    ]
    by_model: dict[str, list[PaperTable]] = {}
    for table in paper_tables().values():
        by_model.setdefault(table.model, []).append(table)
    for name, tables in by_model.items():
        parts.append(f"## {ARCHITECTURES[name].title}")
        for table in tables:
            parts += [f"### `{table.name}`: {table.title}", f"{table.source}."]
            # What a paper draws and does not print has no numbers here.
            printed = [m for m in table.measures if any(row.scores.get(m) is not None for row in table.rows)]
            if not printed:
                parts.append("The paper draws these values and prints no numbers.")
                continue
            rows = [("row", *printed)]
            rows += [(row.label.replace("|", "\\|"), *(_number(row.scores, m) for m in printed)) for row in table.rows]
            parts.append(_table(rows).rstrip())
    return "\n\n".join(parts) + "\n"


def _number(scores: Mapping[str, float | None], measure: str) -> str:
    value = scores.get(measure)
    return "" if value is None else str(value)


def site_links(text: str, folder: Path) -> str:
    """Turn links to files of the repository into links between pages of the site.

    Args:
        text: Markdown.
        folder: Where the file lies that it comes from.
    """

    def turned(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if re.match(r"[a-z]+:", target):
            return match[0]
        path = (folder / target).resolve()
        if not path.is_relative_to(ROOT):
            return match[0]
        place = path.relative_to(ROOT)
        if place.parts[0] == "checkpoints":
            architecture = next(w.architecture for w in WEIGHTS.values() if w.folder == place.parts[1])
            return f"](/models/{architecture}.md#card-{place.parts[1]})"
        if place.parts[:3] == ("src", "vos_zoo", "models") and place.name == "README.md":
            return f"](/models/{place.parts[3]}.md{anchor})"
        if place.parts[0] == "docs":
            return f"](/{Path(*place.parts[1:]).as_posix()}{anchor})"
        if place.parts[0] == "examples":
            return f"](/examples/{'index.md' if place.suffix != '.ipynb' else place.name}{anchor})"
        if place.as_posix() in _PAGES:
            return f"](/{_PAGES[place.as_posix()]}{anchor})"
        raise ValueError(
            f"A page in {folder} links to {target}, which is no page of the site. Name the file in `code`."
        )

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", turned, text)


def write_pages(out: Path, *, notebooks: Path = EXAMPLES) -> None:
    """Write all pages that are made.

    Args:
        out: Folder of the site's sources.
        notebooks: Folder of the notebooks; executed ones show their results.
    """
    (out / "models").mkdir(exist_ok=True)
    (out / "examples").mkdir(exist_ok=True)
    for architecture in ARCHITECTURES.values():
        _write(out / "models" / f"{architecture.name}.md", model_page(architecture))
    names = [architecture.name for architecture in ARCHITECTURES.values()]
    _write(
        out / "models" / "index.md",
        f"# Models\n\n{models_table('[`{0}`]({0}.md)')}\n{_score_note()}\n" + _toctree(names),
    )
    _write(out / "papers.md", papers_page())
    for source, page in _PAGES.items():
        _write(out / page, site_links((ROOT / source).read_text(encoding="utf-8"), ROOT))
    found = sorted(notebooks.glob("*.ipynb"))
    for notebook in found:
        _write(out / "examples" / notebook.name, site_links(notebook.read_text(encoding="utf-8"), EXAMPLES))
    overview = site_links((EXAMPLES / "README.md").read_text(encoding="utf-8"), EXAMPLES)
    _write(out / "examples" / "index.md", overview + _toctree([notebook.stem for notebook in found]))


def _score_note() -> str:
    score = WEIGHTS["rde.small"].scores[0]
    protocol = score.protocol.partition(", short side")[0]
    return (
        f"J&F in percent on {score.data} ({protocol}); [Results](/results.md) says on\n"
        "which, and what two training-free baselines reach there."
    )


def renew_tables(text: str) -> str:
    """Return a page with the text between ``<!-- models -->`` and ``<!-- end of models -->`` made anew."""
    return re.sub(
        r"(<!-- models.*? -->\n).*?(<!-- end of models -->)",
        lambda match: f"{match[1]}\n{models_table()}\n{match[2]}",
        text,
        flags=re.DOTALL,
    )


def _deeper(text: str) -> str:
    """Return Markdown with every heading one level lower; code blocks stay as they are."""
    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else re.sub(r"^(#+ )", r"#\1", part, flags=re.M) for part in parts)


def _toctree(names: list[str]) -> str:
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(names) + "\n```\n"


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not built anew
        path.write_text(text, encoding="utf-8")


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = [rows[0], tuple("---" for _ in rows[0]), *rows[1:]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> int:
    """Renew the tables of README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table is out of date")
    is_check = parser.parse_args().check
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    renewed = renew_tables(text)
    if renewed == text:
        return 0
    if is_check:
        return 1
    page.write_text(renewed, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
