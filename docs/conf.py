"""Configuration of the documentation site: ``python -m sphinx -W docs docs/_build/html``."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from site_pages import EXAMPLES, site_links, write_pages  # noqa: E402  # found by the line above

from vos_zoo.version import __version__  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "vos_zoo"
author = "the vos_zoo developers"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "live"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
# Notebooks are executed by the tests; a build shows what they hold.
nb_execution_mode = "off"

html_theme = "furo"
html_title = f"vos_zoo {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
# Nothing leads to the lists of all names, and on phones their columns are cut off; the search finds the same.
html_use_index = False
html_domain_indices = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def _turn_links(app: Sphinx, name: str, source: list[str]) -> None:
    """Pages are also read in the repository, where their links lead to files that the site shows as pages."""
    path = DOCS / f"{name}.md"
    if path.is_file():
        source[0] = site_links(source[0], path.parent)


def _trim_docstring(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Napoleon knows no section `Source:`, and a paragraph begins with it here."""
    lines[:] = [re.sub(r"^(Source|Convention): ", r"**\1:** ", line) for line in lines]


def _copy_live_page(app: Sphinx, failure: Exception | None) -> None:
    """The page that computes in the browser is not Sphinx's; until ``live/build.py`` ran, it says what it lacks."""
    if failure is None and app.builder.format == "html":
        place, built = Path(app.outdir) / "live", DOCS / "live" / "built"
        if built.is_dir():
            shutil.copytree(built, place, dirs_exist_ok=True)
        own = shutil.ignore_patterns("*.py", built.name, "__pycache__")
        shutil.copytree(DOCS / "live", place, dirs_exist_ok=True, ignore=own)


def setup(app: Sphinx) -> None:
    """Write the pages that are made; the environment names a folder of executed notebooks."""
    write_pages(DOCS, notebooks=Path(os.environ.get("VOS_ZOO_NOTEBOOKS", EXAMPLES)))
    app.connect("source-read", _turn_links)
    app.connect("build-finished", _copy_live_page)
    app.connect("autodoc-process-docstring", _trim_docstring, priority=400)
