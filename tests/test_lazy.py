"""Names that load on first use."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that shows one name of a slow part."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from vos_zoo.lazy import lazy_names\n\nplain = 1\n"
        '__getattr__, __dir__ = lazy_names(__name__, {"answer": "shop.slow"})\n'
    )
    (folder / "slow.py").write_text("answer = [42]\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shop")
    for name in ("shop", "shop.slow"):
        sys.modules.pop(name, None)


def test_a_name_loads_when_it_is_asked_for(package):
    assert "shop.slow" not in sys.modules
    assert package.answer == [42]
    assert "shop.slow" in sys.modules


def test_a_loaded_name_is_the_packages_own(package):
    assert "answer" not in vars(package)
    assert vars(package)["plain"] == 1
    assert package.answer is package.answer
    assert vars(package)["answer"] is sys.modules["shop.slow"].answer


def test_names_are_listed_before_they_load(package):
    assert {"answer", "plain"} <= set(dir(package))
    assert "shop.slow" not in sys.modules


def test_an_unknown_name_is_refused_with_those_there_are(package):
    with pytest.raises(AttributeError, match=r"'shop' has no attribute 'question'; it has answer"):
        package.question  # noqa: B018
    assert not hasattr(package, "question")
    with pytest.raises(ImportError, match="question"):
        from shop import question  # noqa: F401
