"""Every example in a docstring runs and prints what it says, and the public names have examples."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import pkgutil

import pytest

import vos_zoo
import vos_zoo.metrics

# Folders of data that pass for packages.
DATA = ("vos_zoo.checkpoints", "vos_zoo.recipes")
MODULES = ["vos_zoo", *sorted(module.name for module in pkgutil.walk_packages(vos_zoo.__path__, "vos_zoo."))]

#: Optional packages that the examples of a module need.
NEEDS = {"vos_zoo.interchange.detections": ("supervision",)}
#: The packages whose names CONTRIBUTING.md promises examples for; docs/reference.md shows them.
PUBLIC = (vos_zoo, vos_zoo.metrics)
VERBS = sorted(
    {f"{package.__name__}.{name}" for package in PUBLIC for name in package.__all__ if callable(getattr(package, name))}
)


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(DATA)])
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # examples write files
    for extra in NEEDS.get(name, ()):
        pytest.importorskip(extra)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("name", VERBS)
def test_a_public_name_has_an_example(name):
    package, _, attribute = name.rpartition(".")
    public = getattr(importlib.import_module(package), attribute)
    if dataclasses.is_dataclass(public):
        return  # what a function of this list returns
    assert doctest.DocTestFinder(recurse=False).find(inspect.unwrap(public), name)[0].examples, (
        f"{name} is public and its docstring shows no example. Add one; it is run as a test."
    )


def test_an_example_that_is_wrong_fails():
    """The runner above counts failures; one that counted nothing would pass for every module."""
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, 0)
    assert doctest.DocTestRunner(verbose=False).run(wrong, out=lambda text: None).failed == 1
