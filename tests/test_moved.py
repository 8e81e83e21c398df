"""Old paths of moved modules."""

import importlib
import sys

import pytest

from vos_zoo.moved import MOVED, redirect_moved_modules


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_gives_what_the_new_one_has(old):
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is {MOVED[old]} now"):
        module = importlib.import_module(old)
    new = importlib.import_module(MOVED[old])
    names = [name for name in vars(new) if not name.startswith("_")]
    assert names
    assert all(getattr(module, name) is getattr(new, name) for name in names)
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_names_are_imported_from_old_paths():
    sys.modules.pop("vos_zoo.data.masks", None)
    with pytest.warns(DeprecationWarning, match="is vos_zoo.media.masks now"):
        from vos_zoo.data.masks import write_mask
    from vos_zoo.media import masks

    assert write_mask is masks.write_mask


def test_other_names_are_not_found():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("vos_zoo.inference.nothing")


def test_the_finder_is_there_once():
    before = list(sys.meta_path)
    redirect_moved_modules()
    assert sys.meta_path == before
