from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys

import pytest

from vos_zoo import registry
from vos_zoo.configs import config_from_dict
from vos_zoo.errors import ConfigError, UnknownModelError
from vos_zoo.registry import ARCHITECTURES, WEIGHTS, HubRevision, Weight, find_architecture, find_weight, list_models
from vos_zoo.weights import checkpoints_folder, locate_weight


@pytest.fixture
def one_weight(monkeypatch):
    weight = Weight(
        name="rde.small",
        variant="small",
        folder="rde-small",
        num_bytes=1,
        sha256="0" * 64,
        date="2026-01-31",
        licence="Apache-2.0",
        trained_on=(),
    )
    monkeypatch.setattr(registry, "WEIGHTS", {weight.name: weight})
    return weight


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_an_architecture_is_described_in_full(name):
    architecture = find_architecture(name)
    assert architecture.name == name
    assert architecture.paper.url.startswith(
        ("https://arxiv.org/abs/", "https://doi.org/", "https://openaccess.thecvf.com/")
    )
    assert {variant.name for variant in architecture.variants} >= {"small", "tiny"}


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("kind", ["config", "network", "module"])
def test_the_classes_of_an_architecture_exist(name, kind):
    found = find_architecture(name).load_class(kind)
    assert found.__name__.lower().endswith(kind)


@pytest.mark.parametrize(
    ("name", "variant"),
    [(name, variant.name) for name, architecture in ARCHITECTURES.items() for variant in architecture.variants],
)
def test_every_size_has_a_config(name, variant):
    assert dataclasses.is_dataclass(find_architecture(name).new_config(variant))


def test_an_unknown_size_is_refused():
    with pytest.raises(UnknownModelError, match=r"no size 'huge'.*r50, small, tiny"):
        find_architecture("rde").new_config("huge")


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_a_weight_is_the_file_it_claims_to_be(name):
    weight = WEIGHTS[name]
    path = locate_weight(weight) / weight.file
    assert path.stat().st_size == weight.num_bytes <= (32 if weight.architecture == "hs2s" else 20) * 2**20
    assert hashlib.sha256(path.read_bytes()).hexdigest() == weight.sha256


def test_a_clone_stays_small():
    assert sum(weight.num_bytes for weight in WEIGHTS.values() if weight.folder is not None) <= 130 * 2**20


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_a_weight_has_the_config_of_its_size(name):
    weight = WEIGHTS[name]
    stored = json.loads((checkpoints_folder() / weight.folder / "config.json").read_text())
    config_class = find_architecture(weight.architecture).load_class("config")
    assert stored["architecture"] == weight.architecture
    assert config_from_dict(config_class, stored["config"]) == find_architecture(weight.architecture).new_config(
        weight.variant
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folder": None}, "lies nowhere"),
        ({"folder": None, "hub": HubRevision("owner/name", "0" * 40), "in_wheel": True}, "lies nowhere"),
        ({"file": "model.bin"}, r"\.safetensors"),
        ({"sha256": "0" * 63}, "64 hexadecimal digits"),
        ({"date": "31.1.2026"}, "YYYY-MM-DD"),
    ],
)
def test_a_weight_with_impossible_facts_is_refused(one_weight, changes, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(one_weight, **changes)


@pytest.mark.parametrize(
    ("repo_id", "revision"), [("name", "0" * 40), ("a/b/c", "0" * 40), ("owner/name", "main"), ("owner/name", "0" * 39)]
)
def test_a_revision_that_can_move_is_refused(repo_id, revision):
    with pytest.raises(ConfigError, match="no pinned repository"):
        HubRevision(repo_id, revision)


def test_a_weight_knows_its_paper_and_its_places(one_weight):
    hub = HubRevision("owner/name", "0" * 40)
    assert one_weight.paper.year == 2022
    assert one_weight.place == "clone"
    assert dataclasses.replace(one_weight, in_wheel=True, hub=hub).place == "wheel or Hub owner/name"
    assert dataclasses.replace(one_weight, folder=None, hub=hub).place == "Hub owner/name"


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_a_weight_says_what_it_was_trained_on_and_what_it_reached(name):
    weight = WEIGHTS[name]
    assert weight.name == name
    assert weight.licence
    assert weight.trained_on
    assert all(source.licence for source in weight.trained_on)
    assert weight.scores
    for score in weight.scores:
        assert score.j_and_f == pytest.approx((score.j + score.f) / 2, abs=0.11)  # each is rounded to 0.1


def test_names_are_listed_and_filtered(one_weight):
    assert list_models() == sorted(ARCHITECTURES)
    assert list_models("st*") == ["stcn", "stm"]
    assert list_models(pretrained=True) == ["rde.small"]
    assert list_models("x*") == []


@pytest.mark.parametrize("name", ["rde", "rde.small"])
def test_a_weight_is_found_by_its_name_and_as_default(one_weight, name):
    assert find_weight(name) is one_weight
    assert one_weight.architecture == "rde"
    assert one_weight.tag == "small"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rde.smal", ["Did you mean 'rde.small'", "local-dir:"]),
        ("rd", ["'rde'"]),
        ("STCN", ["Did you mean 'stcn'"]),
        ("xmem", ["Unknown model 'xmem'", "rde, rde.small, "]),
        ("", ["Unknown model ''"]),
        ("rde.", ["Unknown model 'rde.'"]),
    ],
)
def test_unknown_names_list_the_nearest(one_weight, name, words):
    with pytest.raises(UnknownModelError) as caught:
        find_weight(name)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rde.r50", ["RDE-VOS in size 'r50'", "use 'rde.small'", "vos-zoo convert --from rde", "recipes/rde.yaml"]),
        ("stm", ["No published weight for STM", "vos-zoo convert --from stm", "recipes/stm.yaml"]),
        ("rde.tiny", ["in size 'tiny'", "use 'rde.small'"]),
    ],
)
def test_a_model_without_a_weight_says_what_can_be_done(one_weight, name, words):
    with pytest.raises(UnknownModelError) as caught:
        find_weight(name)
    for word in words:
        assert word in str(caught.value)


def test_the_registry_imports_no_torch():
    code = "import sys, vos_zoo.registry; sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'timm')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
