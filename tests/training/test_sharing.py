"""What a module does with published weights."""

from __future__ import annotations

import pytest

from testing.hub_server import WRITER, card_errors
from vos_zoo.errors import ConfigError
from vos_zoo.models.load import load_model
from vos_zoo.models.rde import RDEModule
from vos_zoo.models.stm import STMModule
from vos_zoo.registry import DataSource, Score

# The client's own upload, with the release of its transport library that is newest at the time of writing.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPOSITORY = "owner/rde-tiny"


def test_a_module_says_what_it_was_trained_on(hub, tiny_model, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITER)
    model = load_model(tiny_model, device="cpu")
    published = model.push_to_hub(
        REPOSITORY,
        licence="apache-2.0",
        trained_on=[DataSource("My clips", "mine", "https://example.org")],
        scores=[Score("my clips", 70.0, 60.0, 80.0, "DAVIS 2017")],
    )
    for words in (
        "license: apache-2.0",
        "- my-clips",
        "# rde-tiny",
        "| my clips | 70.0 |",
    ):
        assert words in published.card
    assert str(tiny_model) not in published.card  # where a file lay is nobody else's business
    assert card_errors(published.card) == []


def test_a_module_loads_as_its_own_class_only(tiny_model):
    assert isinstance(RDEModule.from_pretrained(tiny_model, "cpu"), RDEModule)
    with pytest.raises(ConfigError, match="no STMModule"):
        STMModule.from_pretrained(tiny_model, "cpu")


def test_a_module_of_nowhere_has_no_origin():
    assert RDEModule("tiny").origin is None
