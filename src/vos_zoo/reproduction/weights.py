"""Which weight a row of a table runs with, and the weight in the row's configuration."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vos_zoo.errors import ConfigError, UnknownModelError
from vos_zoo.models.load import load_model
from vos_zoo.registry import WEIGHTS, describe_network, find_weight
from vos_zoo.reproduction.tables import paper_backbones
from vos_zoo.training.module import resolve_config
from vos_zoo.weights import describe_weight

if TYPE_CHECKING:
    import torch

    from vos_zoo.reproduction.tables import PaperRow
    from vos_zoo.training.module import VOSModule


@dataclass(frozen=True)
class WeightFacts:
    """What decides whether a weight fits a row.

    Attributes:
        name: What :func:`vos_zoo.load_model` takes.
        architecture: Registry name.
        config: Configuration that it was trained with.
        sha256: Checksum of its tensors, by which a continued run knows it again.
    """

    name: str
    architecture: str
    config: Any
    sha256: str


@dataclass(frozen=True)
class Assignment:
    """A row and its weight.

    Attributes:
        row: The row.
        weight: The weight, or None.
        reason: Why there is none; empty otherwise.
    """

    row: PaperRow
    weight: WeightFacts | None
    reason: str = ""


def read_weight(name: str) -> WeightFacts:
    """Load a weight and note what it is.

    Raises:
        VosZooError: As :func:`vos_zoo.load_model`.
    """
    network = load_model(name, device="cpu").network
    digest = hashlib.sha256()
    for key, tensor in sorted(network.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return WeightFacts(name, describe_network(network)["architecture"], network.config, digest.hexdigest())


def assign_weights(rows: Sequence[PaperRow], given: Sequence[str]) -> tuple[Assignment, ...]:
    """Decide on the weight of every row.

    A weight that is named for rows (``first-only=PATH``, ``f0,b1=PATH``) is taken for them, whatever it was trained on.
    Other weights, and without any the bundled one of the row's model, are taken for all rows of their model whose
    configuration they have, except for rows that need a training of their own.

    Args:
        rows: Rows to run.
        given: Names or paths of weights, alone or as ``ROW=NAME`` or ``ROW,ROW=NAME``.

    Returns:
        One entry per row, in the same order.

    Raises:
        ConfigError: If a weight is named for a row that there is not, that has another configuration, or fits no row.
        VosZooError: If a weight cannot be loaded.
    """
    named, loose = split_by_row([row.name for row in rows], given, "weight")
    facts = {name: read_weight(name) for name in {*named.values(), *loose}}
    for name in loose:
        misfits = {row.name: misfit(row, facts[name]) or _own_training(row) for row in rows}
        if all(misfits.values()):
            raise ConfigError(
                f"The weight {name!r} fits no row: {_first(misfits)}. Name the row that it was trained for as "
                f"ROW={name}, or leave it out."
            )
    defaults: dict[str, WeightFacts | None] = {}
    return tuple(_assign(row, named, [facts[name] for name in loose], facts, defaults) for row in rows)


def split_by_row(rows: Sequence[str], given: Sequence[str], kind: str) -> tuple[dict[str, str], list[str]]:
    """Tell what is named for rows from what is for any.

    Args:
        rows: Names of the rows that there are.
        given: Values, alone or as ``ROW=VALUE`` or ``ROW,ROW=VALUE``.
        kind: What a value is, for messages.

    Returns:
        Values by row, and the others.

    Raises:
        ConfigError: If a value is named for a row that there is not.
    """
    named: dict[str, str] = {}
    loose = []
    for entry in given:
        names, is_named, value = entry.partition("=")
        # A path may hold an equals sign, so only a known row in front of one makes it an assignment.
        if is_named and set(names.split(",")) <= set(rows):
            named |= dict.fromkeys(names.split(","), value)
        elif is_named and "/" not in names:
            raise ConfigError(
                f"The {kind} {entry!r} is meant for the row {names!r}, which is not among {', '.join(sorted(rows))}. "
                "Name one of these rows."
            )
        else:
            loose.append(entry)
    return named, loose


def misfit(row: PaperRow, weight: WeightFacts) -> str:
    """Say why a weight cannot stand for a row; empty if it can."""
    if weight.architecture != row.model:
        return f"it is a {weight.architecture} weight, the row is {row.model}"
    backbone = weight.config.backbone
    if backbone != row.backbone and backbone in paper_backbones(row.model):
        return f"it has backbone={backbone!r}, the row {row.backbone!r}"
    for field, value in row.architecture.items():
        found = getattr(weight.config, field)
        if (list(found) if isinstance(found, tuple) else found) != value:
            return f"it has {field}={found!r}, the row {value!r}"
    return ""


def stand_in(row: PaperRow, weight: WeightFacts) -> str:
    """Say in how far a weight that fits a row is smaller than the paper's; empty if it has the paper's backbone."""
    backbone = weight.config.backbone
    return "" if backbone == row.backbone else f"a stand-in on {backbone} for the paper's {row.backbone}"


def bundled_weights(row: PaperRow) -> tuple[WeightFacts, ...]:
    """Return the registered weights that may run in a row without being named for it; tensors are not read."""
    if row.requires or row.proposals:
        return ()
    found = (weight for weight in WEIGHTS.values() if weight.architecture == row.model)
    facts = (WeightFacts(weight.name, row.model, describe_weight(weight.name)[2], "") for weight in found)
    return tuple(weight for weight in facts if not misfit(row, weight))


def configure(weight: WeightFacts, row: PaperRow, device: str | torch.device) -> VOSModule:
    """Load a weight in a row's configuration, in eval mode.

    Raises:
        VosZooError: As :func:`vos_zoo.load_model`.
    """
    model = load_model(weight.name, device=device)
    config = resolve_config(type(model.network.config), model.network.config, row.inference)
    # A model's module takes its configuration; the base class that type checkers see takes the network.
    build: Any = type(model)
    configured: VOSModule = build(config)
    configured.network.load_state_dict(model.network.state_dict(), strict=True)
    return configured.eval().to(model.device)


def _assign(
    row: PaperRow,
    named: dict[str, str],
    loose: Sequence[WeightFacts],
    facts: dict[str, WeightFacts],
    defaults: dict[str, WeightFacts | None],
) -> Assignment:
    if row.name in named:
        weight = facts[named[row.name]]
        if reason := misfit(row, weight):
            raise ConfigError(f"The weight {weight.name!r} cannot be the row {row.name!r}: {reason}. Give another one.")
        return Assignment(row, weight)
    if row.requires:
        return Assignment(row, None, f"needs {row.requires}")
    fitting = [weight for weight in loose if not misfit(row, weight)]
    if len(fitting) > 1:
        names = ", ".join(weight.name for weight in fitting)
        raise ConfigError(f"The weights {names} all fit the row {row.name!r}. Give one, or name rows as ROW=NAME.")
    if fitting:
        return Assignment(row, fitting[0])
    if row.model not in defaults:
        defaults[row.model] = _default(row.model)
    default = defaults[row.model]
    tried = [*(weight for weight in loose if weight.architecture == row.model), *filter(None, [default])]
    if default is not None and not misfit(row, default):
        return Assignment(row, default)
    if not tried:
        return Assignment(row, None, f"no weight of {row.model} is published")
    return Assignment(row, None, f"{tried[0].name} does not fit, {misfit(row, tried[0])}")


def _default(model: str) -> WeightFacts | None:
    try:
        return read_weight(find_weight(model).name)
    except UnknownModelError:  # a model without a published weight
        return None


def _first(misfits: dict[str, str]) -> str:
    name, reason = next(iter(misfits.items()))
    return f"for {name}, {reason}"


def _own_training(row: PaperRow) -> str:
    return f"the row needs {row.requires}" if row.requires else ""
