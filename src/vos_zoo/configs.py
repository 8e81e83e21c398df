"""Frozen dataclasses from and to plain JSON data, with every key and every type checked.

A configuration file is written by people and by other programs, so nothing in it is taken on trust: unknown keys,
missing keys and wrong types are refused by name instead of being ignored or converted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import reprlib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vos_zoo.errors import ConfigError

__all__ = ["check_choice", "check_choices", "check_type", "config_from_dict", "config_to_dict"]

ConfigT = TypeVar("ConfigT")

_SHORT = reprlib.Repr()  # a file may hold values of any size and depth
_SHORT.maxstring = _SHORT.maxother = 200


def config_from_dict(config_class: type[ConfigT], data: Mapping[str, Any], *, where: str = "config") -> ConfigT:
    """Build a dataclass from JSON data, strictly.

    Fields may be ``bool``, ``int``, ``float``, ``str``, ``None``, ``Literal``, unions, tuples, lists, string-keyed
    mappings and dataclasses. JSON arrays become tuples where the field is one. An integer is accepted for a float, a
    boolean is never accepted for a number.

    Args:
        config_class: The dataclass to build.
        data: What the JSON file holds.
        where: How messages name the place, for example the file.

    Raises:
        ConfigError: If a key is unknown or missing, if a value has the wrong type, or if the class itself refuses
            the values.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Size:
        ...     height: int = 480
        >>> config_from_dict(Size, {"height": 240})
        Size(height=240)
        >>> config_from_dict(Size, {"heigth": 240})
        Traceback (most recent call last):
        ...
        vos_zoo.errors.ConfigError: config has unknown key 'heigth'. Did you mean 'height'? Size knows: height.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where} is {_kind(data)}. Expected an object with the fields of {config_class.__name__}.")
    fields = {field.name: field for field in dataclasses.fields(config_class) if field.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"{where} has unknown key {key!r}. {hint}{config_class.__name__} knows: {', '.join(sorted(fields))}."
            )
    hints = get_type_hints(config_class)
    values = {key: _convert(value, hints[key], f"{where}.{key}") for key, value in data.items()}
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(
            f"{where} lacks {', '.join(map(repr, missing))}, which {config_class.__name__} needs. Add it."
        )
    return config_class(**values)


def config_to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as JSON data: tuples become lists, nested dataclasses become objects.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Grid:
        ...     sizes: tuple[int, ...] = (1, 2)
        >>> config_to_dict(Grid())
        {'sizes': [1, 2]}
    """
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}


def check_choice(name: str, value: object, choices: Any) -> None:
    """Check an option that takes one of a few values.

    Args:
        name: How the message names the option.
        value: The value given.
        choices: The ``Literal`` of the option's annotation.

    Raises:
        ConfigError: If the value is none of the choices. The message lists them.

    Example:
        >>> check_choice("color", "grey", Literal["rgb", "bgr"])
        Traceback (most recent call last):
        ...
        vos_zoo.errors.ConfigError: color is 'grey'. Expected one of 'rgb', 'bgr'.
    """
    _convert(value, choices, name)


def check_choices(config: Any) -> None:
    """Check every field of a dataclass that takes one of a few values, for its ``__post_init__``.

    Python does not check annotations, and a network would compute something with an option that it does not know.

    Args:
        config: Instance of a dataclass. Fields whose annotation names a ``Literal`` are checked, also in tuples.

    Raises:
        ConfigError: If a value is none of the field's choices. The message names the field and its choices.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Frames:
        ...     color: Literal["rgb", "bgr"] = "rgb"
        ...     def __post_init__(self):
        ...         check_choices(self)
        >>> Frames(color="grey")
        Traceback (most recent call last):
        ...
        vos_zoo.errors.ConfigError: Frames.color is 'grey'. Expected one of 'rgb', 'bgr'.
    """
    for name, hint in get_type_hints(type(config)).items():
        if _has_choices(hint):
            _convert(getattr(config, name), hint, f"{type(config).__name__}.{name}")


def check_type(name: str, value: object, kind: type) -> None:
    """Refuse what is not made by its class: only the command line turns a mapping of a recipe into one.

    Args:
        name: Name of the argument.
        value: What was handed in; None means that nothing was.
        kind: Class of the argument.

    Raises:
        ConfigError: If the value is of another type.
    """
    if value is not None and not isinstance(value, kind):
        raise ConfigError(
            f"{name} is {_kind(value)}. Expected `{kind.__name__}(…)`. Import the class from {kind.__module__}."
        )


def _has_choices(hint: Any) -> bool:
    return get_origin(hint) is Literal or any(_has_choices(argument) for argument in get_args(hint))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return config_to_dict(value)
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Check ``value`` against a type hint and return it in the hint's own containers."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise ConfigError(f"{where} is {value!r}. Expected one of {', '.join(map(repr, arguments))}.")
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, hint, where)
    if origin in (tuple, list):
        return _convert_sequence(value, origin, arguments, where)
    if origin in (dict, Mapping):
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: _convert(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return config_from_dict(hint, value, where=where)
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is None or hint is types.NoneType:
        if value is None:
            return None
    elif type(value) is hint:
        return value
    raise ConfigError(f"{where} is {_kind(value)}. Expected {_name(hint)}. Correct its value.")


def _convert_union(value: Any, arguments: tuple[Any, ...], hint: Any, where: str) -> Any:
    if value is None and types.NoneType in arguments:
        return None
    kinds = [argument for argument in arguments if argument is not types.NoneType]
    if len(kinds) == 1:  # an optional field: the message of its own type says more than that of the union
        return _convert(value, kinds[0], where)
    # An exact type wins, so that 1 stays an int in `int | float`.
    for kind in sorted(kinds, key=lambda kind: type(value) is not kind):
        with contextlib.suppress(ConfigError):
            return _convert(value, kind, where)
    raise ConfigError(f"{where} is {_kind(value)}. Expected {_name(hint)}. Correct its value.")


def _convert_sequence(value: Any, origin: Any, arguments: tuple[Any, ...], where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where} is {_kind(value)}. Expected a list. Correct its value.")
    if origin is list or (len(arguments) == 2 and arguments[1] is Ellipsis):
        items = [arguments[0]] * len(value)
    else:
        items = list(arguments)
        if len(items) != len(value):
            raise ConfigError(f"{where} has {len(value)} entries. Expected {len(items)}. Correct its value.")
    pairs = zip(value, items, strict=True)
    return origin(_convert(item, kind, f"{where}[{index}]") for index, (item, kind) in enumerate(pairs))


def _kind(value: Any) -> str:
    return f"{_SHORT.repr(value)} ({type(value).__name__})"


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
