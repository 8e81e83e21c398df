"""Training recipes by their names: which there are, and what ``--config`` means."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from vos_zoo.errors import MissingFileError

__all__ = ["find_recipe", "list_recipes", "name_recipes"]

_PACKAGE = Path(__file__).parents[1]
# The installed package has the recipes as data, a source tree has them at its top.
_PLACES = (_PACKAGE / "recipes", _PACKAGE.parent.parent / "recipes")
_OPTIONS = ("-c", "--config")


def list_recipes() -> dict[str, Path]:
    """Return the files of all recipes by their names, in alphabetical order.

    Raises:
        MissingFileError: If the installation has lost them.

    Example:
        >>> list_recipes()["rde/small"].name
        'small.yaml'
    """
    folder = next((place for place in _PLACES if place.is_dir()), None)
    if folder is None:
        raise MissingFileError(f"No recipes at {' or '.join(map(str, _PLACES))}. Reinstall the package.")
    files = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    return dict(sorted(files.items()))


def find_recipe(word: str) -> str:
    """Return the path of what ``--config`` was given.

    A recipe's name wins over a file of the same name, as registry names do; ``./rde`` and ``rde.yaml`` are files.

    Args:
        word: A recipe's name, the path of a YAML file, or settings written out in YAML.

    Raises:
        MissingFileError: If it is none of them; the message lists the nearest names.

    Example:
        >>> find_recipe("rde") == str(list_recipes()["rde"])
        True
    """
    recipes = list_recipes()
    if word in recipes:
        return str(recipes[word])
    if Path(word).is_file() or re.search(r"[:{\n]", word.removeprefix(os.path.splitdrive(word)[0])):
        return word
    near = difflib.get_close_matches(re.sub(r"^(.*/)?recipes/|\.ya?ml$", "", word), recipes, n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
    raise MissingFileError(
        f"`--config {word}`: there is no such file and no recipe of that name.{hint} Give the path of a YAML file, or "
        "a name of `vos-zoo list --recipes`."
    )


def name_recipes(words: list[str]) -> list[str]:
    """Return the words of a ``lightning`` command with the names of recipes replaced by their files.

    Raises:
        MissingFileError: If ``--config`` names neither a file nor a recipe.

    Example:
        >>> name_recipes(["fit", "--config=rde"]) == ["fit", "--config", find_recipe("rde")]
        True
    """
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if found and found[-1] in _OPTIONS:
            found.append(find_recipe(word))
        elif option in _OPTIONS and equals:
            found += [option, find_recipe(value)]
        else:
            found.append(word)
    return found
