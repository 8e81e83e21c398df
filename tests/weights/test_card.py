from __future__ import annotations

import pytest
import yaml

from testing.hub_server import card_errors
from vos_zoo.errors import ConfigError
from vos_zoo.registry import WEIGHTS, DataSource, Score, find_architecture
from vos_zoo.weights import checkpoints_folder
from vos_zoo.weights.card import CardFacts, complete_card, is_untouched, new_card, sign_card, unsigned

FACTS = CardFacts(
    name="mine",
    architecture=find_architecture("rde"),
    licence="research only; see the card",
    trained_on=(DataSource("Oxford-IIIT Pet, 640 images", "CC BY-SA 4.0", "https://example.org"),),
    scores=(Score("seven clips", 70.0, 60.0, 80.0, "DAVIS 2017"),),
)


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_card_without_metadata_gets_all_of_them():
    card = complete_card("# Mine\n\nText.\n", FACTS, where="README.md")
    data = metadata(card)
    assert card.endswith("---\n\n# Mine\n\nText.\n")
    assert card_errors(card) == []
    assert data["library_name"] == "vos_zoo"
    assert data["pipeline_tag"] == "image-segmentation"
    assert (data["license"], data["license_name"]) == ("other", "research-only")
    assert {"video-object-segmentation", "rde"} <= set(data["tags"])
    assert data["datasets"] == ["oxford-iiit-pet"]
    result = data["model-index"][0]["results"][0]
    assert data["model-index"][0]["name"] == "mine"
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {"J&F": 70.0, "J": 60.0, "F": 80.0}
    assert result["metrics"][0]["args"]["protocol"] == "DAVIS 2017"


def test_the_results_are_read_back_by_the_client():
    from huggingface_hub import ModelCard

    card = ModelCard(complete_card("# Mine\n", FACTS, where="README.md"))
    assert [result.metric_value for result in card.data.eval_results] == [70.0, 60.0, 80.0]
    assert card.data.model_name == "mine"


def test_what_the_author_wrote_stays():
    text = "---\nlicense: mit\ntags: [cats]\nlanguage: en\npipeline_tag: mask-generation\n---\n# Mine\n"
    data = metadata(complete_card(text, FACTS, where="README.md"))
    assert data["license"] == "mit"
    assert data["language"] == "en"
    assert data["pipeline_tag"] == "mask-generation"
    assert data["tags"][0] == "cats"
    assert "video-object-segmentation" in data["tags"]


def test_a_licence_of_the_author_needs_no_name_of_ours():
    data = metadata(complete_card("---\nlicense: mit\n---\n# Mine\n", FACTS, where="README.md"))
    assert "license_name" not in data


def test_what_is_not_known_is_left_out():
    data = metadata(complete_card("# Mine\n", CardFacts("mine", find_architecture("rde")), where="README.md"))
    assert not {"license", "license_name", "datasets", "model-index", "model_name", "eval_results"} & set(data)


def test_completing_twice_changes_nothing():
    once = complete_card("# Mine\n", FACTS, where="README.md")
    assert complete_card(sign_card(once), FACTS, where="README.md") == once


@pytest.mark.parametrize(
    ("front", "words"), [("a: [", "not YAML"), ("- a\n- b", "key: value"), ("tags: cats", "tags that are not a list")]
)
def test_metadata_that_are_none_are_named(front, words):
    with pytest.raises(ConfigError, match=rf"my/README\.md.*{words}"):
        complete_card(f"---\n{front}\n---\n# Mine\n", FACTS, where="my/README.md")


@pytest.mark.parametrize("text", ["", "# Card", "# Card\n\n\n", "---\na: b\n---\n# Karte mit Ümlaut\n"])
def test_a_signature_is_invisible_and_tells_edits(text):
    signed = sign_card(text)
    assert signed.startswith(text.rstrip())
    assert is_untouched(signed)
    assert is_untouched(signed.replace("\n", "\r\n"))
    assert sign_card(signed) == signed
    assert unsigned(signed).rstrip() == text.rstrip()
    assert not is_untouched("A word. " + signed)
    assert not is_untouched(signed + "A word.")
    assert not is_untouched(text)


def test_a_new_card_says_what_is_known_and_what_is_not():
    card = new_card(FACTS, story="Trained on a rainy day.")
    for words in ("# mine", "RDE-VOS", "rainy day", "Oxford-IIIT Pet, 640 images: CC BY-SA 4.0", "| 70.0 | 60.0 |"):
        assert words in card
    assert "Not stated" in new_card(CardFacts("mine", find_architecture("rde")), story="")


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_the_cards_of_the_bundled_weights_are_valid(name):
    weight = WEIGHTS[name]
    text = (checkpoints_folder() / weight.folder / "README.md").read_text(encoding="utf-8")
    facts = CardFacts.of_weight(weight, find_architecture(weight.architecture))
    card = complete_card(text, facts, where=name)
    assert card_errors(card) == []
    data = metadata(card)
    assert {"library_name", "pipeline_tag", "license", "tags", "datasets", "model-index"} <= set(data)
    assert "licence" in text.lower()
