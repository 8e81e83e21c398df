"""Take the sources of the runtime out of ``src/vos_zoo`` and give them a name of their own.

What ``vos_zoo.runtime`` imports is found by reading its files, so that there is no list to keep. Wheels are built in a
clone of the repository: ``python -m pip wheel --no-deps ./runtime``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SOURCE = Path(__file__).resolve().parent.parent / "src" / "vos_zoo"
PACKAGE = "vos_zoo_runtime"
START = "vos_zoo.runtime"

FRONT = '''"""Segment videos by graphs that ``vos-zoo export-onnx`` wrote, with NumPy and ONNX Runtime alone."""

from __future__ import annotations

from vos_zoo_runtime.errors import VosZooError
from vos_zoo_runtime.runtime.manifest import Manifest, read_manifest
from vos_zoo_runtime.runtime.session import FrameResult, GraphSession
from vos_zoo_runtime.version import __version__

__all__ = ["FrameResult", "GraphSession", "Manifest", "VosZooError", "__version__", "read_manifest"]
'''
COMMAND = '''"""``python -m vos_zoo_runtime``: segment a folder of images."""

import sys

from vos_zoo_runtime.runtime.command import main

sys.exit(main())
'''


def find_file(module: str) -> Path | None:
    """Return the file of a module of ``vos_zoo``; None if it is something else."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in candidates if module.startswith("vos_zoo.") and file.is_file()), None)


def imported(tree: ast.AST) -> set[str]:
    """Return what a file imports when it runs; blocks for type checkers do not."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        found |= imported(node)
    return found


def sources() -> dict[str, Path]:
    """Return every module that the runtime needs, with its file."""
    if not SOURCE.is_dir():
        raise SystemExit(f"{SOURCE} does not exist. Build vos-zoo-runtime in a clone of the repository.")
    waiting = [START, "vos_zoo.version", *(f"{START}.{file.stem}" for file in (SOURCE / "runtime").glob("[a-z]*.py"))]
    found: dict[str, Path] = {}
    while waiting:
        module = waiting.pop()
        file = find_file(module)
        if module in found or file is None:
            continue
        found[module] = file
        waiting += imported(ast.parse(file.read_text(encoding="utf-8")))
        waiting.append(module.rpartition(".")[0])
    return found


class BuildRuntime(build_py):
    """Writes the sources under their new name."""

    def run(self) -> None:
        """Copy every module, with the names of modules that are there replaced."""
        modules = sources()
        names = "|".join(re.escape(module.partition(".")[2]) for module in sorted(modules, key=len, reverse=True))
        target = Path(self.build_lib) / PACKAGE
        for file in modules.values():
            text = re.sub(rf"\bvos_zoo\.(?=(?:{names})\b)", f"{PACKAGE}.", file.read_text(encoding="utf-8"))
            place = target / file.relative_to(SOURCE)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        (target / "__init__.py").write_text(FRONT, encoding="utf-8")
        (target / "__main__.py").write_text(COMMAND, encoding="utf-8")
        (target / "py.typed").touch()


def version() -> str:
    """Return the version of vos_zoo."""
    match = re.search(r'"(.+)"', (SOURCE / "version.py").read_text(encoding="utf-8").split("__version__")[1])
    assert match is not None
    return match[1]


setup(version=version(), packages=[PACKAGE], package_dir={PACKAGE: "."}, cmdclass={"build_py": BuildRuntime})
