from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Literal, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vos_zoo.configs import check_choices, config_from_dict, config_to_dict
from vos_zoo.errors import ConfigError
from vos_zoo.registry import ARCHITECTURES, find_architecture


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    depth: int
    kind: Literal["l2", "dot"] = "l2"
    top_k: int | None = 20
    pair: tuple[int, float] = (1, 2.0)
    flag: bool = True
    inner: Inner = field(default_factory=Inner)
    blocks: tuple[int, int, int] | None = None
    weights: dict[str, float] = field(default_factory=dict)
    either: int | str = 0

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ConfigError("depth has to be positive")


outers = st.builds(
    Outer,
    depth=st.integers(1, 99),
    kind=st.sampled_from(["l2", "dot"]),
    top_k=st.none() | st.integers(),
    pair=st.tuples(st.integers(), st.floats(allow_nan=False)),
    flag=st.booleans(),
    inner=st.builds(Inner, rate=st.floats(allow_nan=False), names=st.lists(st.text()).map(tuple)),
    blocks=st.none() | st.tuples(st.integers(), st.integers(), st.integers()),
    weights=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    either=st.integers() | st.text(),
)


@given(outers)
def test_a_config_survives_the_way_to_json_data_and_back(config):
    assert config_from_dict(Outer, config_to_dict(config)) == config


def test_integers_are_accepted_for_floats():
    value = config_from_dict(Outer, {"depth": 1, "pair": [1, 2], "inner": {"rate": 1}})
    assert isinstance(value.pair[1], float)
    assert isinstance(value.inner.rate, float)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param({}, ["lacks 'depth'"], id="missing key"),
        pytest.param({"depth": 1, "dept": 2}, ["unknown key 'dept'", "Did you mean 'depth'"], id="unknown key"),
        pytest.param({"depth": 1, 5: 2}, ["unknown key 5"], id="key that is not text"),
        pytest.param({"depth": "1"}, ["config.depth", "'1' (str)", "Expected int"], id="text for a number"),
        pytest.param({"depth": True}, ["True (bool)", "Expected int"], id="boolean for a number"),
        pytest.param({"depth": 1.0}, ["1.0 (float)", "Expected int"], id="float for an integer"),
        pytest.param({"depth": None}, ["None", "Expected int"], id="null for a number"),
        pytest.param({"depth": 0}, ["has to be positive"], id="refused by the class"),
        pytest.param({"depth": 1, "kind": "L2"}, ["'L2'", "one of 'l2', 'dot'"], id="wrong choice"),
        pytest.param({"depth": 1, "top_k": "all"}, ["config.top_k", "Expected int"], id="optional of a wrong type"),
        pytest.param({"depth": 1, "pair": [1]}, ["has 1 entries", "Expected 2"], id="short tuple"),
        pytest.param({"depth": 1, "pair": "ab"}, ["Expected a list"], id="text for a tuple"),
        pytest.param({"depth": 1, "blocks": [1, 2, "x"]}, ["config.blocks[2]"], id="entry of a wrong type"),
        pytest.param({"depth": 1, "inner": {"ratio": 1}}, ["config.inner", "'ratio'"], id="nested unknown key"),
        pytest.param({"depth": 1, "inner": 3}, ["config.inner is 3", "fields of Inner"], id="number for an object"),
        pytest.param({"depth": 1, "weights": {"a": "b"}}, ["config.weights.a"], id="mapping of a wrong type"),
        pytest.param({"depth": 1, "weights": []}, ["config.weights"], id="list for a mapping"),
        pytest.param({"depth": 1, "either": 0.5}, ["config.either", "int | str"], id="none of a union"),
        pytest.param([], ["is [] (list)", "fields of Outer"], id="list for the whole"),
    ],
)
def test_bad_data_is_refused_by_name(data, words):
    with pytest.raises(ConfigError) as caught:
        config_from_dict(Outer, data)
    for word in words:
        assert word in str(caught.value)


# Choices


@dataclass(frozen=True)
class Chosen:
    kind: Literal["l2", "dot"] = "l2"
    order: tuple[Literal["first", "latest"], ...] = ("first",)
    size: int | Literal["native"] | None = None
    text: str = ""

    def __post_init__(self):
        check_choices(self)


@pytest.mark.parametrize("values", [{"kind": "dot"}, {"order": ()}, {"size": 480}, {"size": "native"}, {"text": "L2"}])
def test_a_choice_that_exists_is_taken(values):
    assert vars(Chosen(**values)).items() >= values.items()


@pytest.mark.parametrize(
    "values",
    [{"kind": "L2"}, {"kind": None}, {"order": ("last",)}, {"order": "first"}, {"size": "original"}, {"size": 0.5}],
)
def test_a_choice_that_does_not_exist_is_refused(values):
    (name,) = values
    with pytest.raises(ConfigError, match=rf"Chosen\.{name}.* Expected"):
        Chosen(**values)


def choices_of_networks():
    for name in sorted(ARCHITECTURES):
        config = find_architecture(name).new_config("tiny")
        for option, hint in get_type_hints(type(config)).items():
            if "Literal[" in str(hint):
                wrong = ("no such choice",) if isinstance(getattr(config, option), tuple) else "no such choice"
                yield pytest.param(config, option, wrong, id=f"{name}-{option}")


@pytest.mark.parametrize(("config", "option", "wrong"), list(choices_of_networks()))
def test_no_network_takes_a_choice_that_it_does_not_know(config, option, wrong):
    with pytest.raises(ConfigError, match=rf"{option}.*'no such choice'.* Expected one of"):
        dataclasses.replace(config, **{option: wrong})
