"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import vos_zoo

MODULES = ["vos_zoo", *sorted(module.name for module in pkgutil.walk_packages(vos_zoo.__path__, "vos_zoo."))]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("vos_zoo.checkpoints")])
def test_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0
