from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import types
from importlib.metadata import entry_points

import pytest

from vos_zoo import plugins, registry
from vos_zoo.configs import config_from_dict
from vos_zoo.errors import ConfigError, UnknownModelError
from vos_zoo.registry import (
    ARCHITECTURES,
    WEIGHTS,
    Architecture,
    HubRevision,
    Weight,
    find_architecture,
    find_weight,
    known_architectures,
    list_models,
    register,
)
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
    with pytest.raises(ConfigError, match="not a pinned repository"):
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
        ("rde.r50", ["RDE-VOS in size 'r50'", "use 'rde.small'", "vos-zoo convert --from rde", "--config rde`"]),
        ("stm", ["No published weight for STM", "vos-zoo convert --from stm", "--config stm`"]),
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


# Models of other packages

TOY = Architecture(
    name="toy",
    title="Toy",
    paper=ARCHITECTURES["stm"].paper,
    config_class="vos_zoo.models.stm.config:STMConfig",
    network_class="vos_zoo.models.stm.network:STMNetwork",
    module_class="vos_zoo.models.stm.lightning_module:STMModule",
    variants=ARCHITECTURES["stm"].variants,
)


@pytest.fixture
def outside(monkeypatch):
    """A registry without models of other packages, whatever is installed here or was registered before."""
    monkeypatch.setattr(registry, "_FROM_OUTSIDE", {})
    monkeypatch.setattr(plugins, "entry_points", lambda group: [])
    plugins._found.cache_clear()
    registry._warn_once.cache_clear()
    yield registry._FROM_OUTSIDE
    plugins._found.cache_clear()


@pytest.fixture
def install(outside, monkeypatch, tmp_path):
    """Install packages of one module each: metadata and module on the path, as pip leaves them."""
    monkeypatch.setattr(plugins, "entry_points", entry_points)
    monkeypatch.syspath_prepend(tmp_path)

    def write(package, code, **points):
        (tmp_path / f"{package}.py").write_text(code)
        metadata = tmp_path / f"{package}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (metadata / "entry_points.txt").write_text("\n".join(["[vos_zoo.models]", *lines]) + "\n")

    yield write
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


GOOD = "import tests_of_the_registry\nTOY = tests_of_the_registry.TOY\n"


@pytest.fixture
def toy_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "tests_of_the_registry", types.SimpleNamespace(TOY=TOY))


def test_a_registered_architecture_is_known(outside):
    assert "toy" not in list_models()
    register(TOY)
    assert find_architecture("toy") is TOY
    assert "toy" in list_models()
    assert known_architectures()["toy"] is TOY
    assert "toy" not in ARCHITECTURES
    register(dataclasses.replace(TOY))  # equal
    assert find_architecture("toy") is TOY


@pytest.mark.parametrize("name", ["toy", "rde"])
def test_a_name_is_not_given_twice(outside, name):
    register(TOY)
    with pytest.raises(ConfigError, match=f"Architecture '{name}' exists already"):
        register(dataclasses.replace(TOY, name=name, title="Another"))
    assert known_architectures() == ARCHITECTURES | {"toy": TOY}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Toy"}, "no valid name"),
        ({"name": "toy.small"}, "no valid name"),
        ({"network_class": "toy.network.ToyNetwork"}, "network_class='toy.network.ToyNetwork'"),
        ({"variants": ()}, "no variants"),
    ],
)
def test_an_architecture_with_impossible_facts_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        dataclasses.replace(TOY, **changes)


def test_an_installed_package_brings_its_model(install, toy_module):
    install("toy_vos", GOOD, toy="toy_vos:TOY")
    assert "toy" in list_models()
    assert "toy_vos" not in sys.modules  # listing reads metadata only
    assert find_architecture("toy") is TOY
    assert known_architectures()["toy"] is TOY
    with pytest.raises(ConfigError, match="exists already: Toy, ICCV 2019"):
        register(dataclasses.replace(TOY, title="Another"))


def test_register_does_not_hide_an_entry_point(install):
    install("toy_vos", "raise AssertionError('not imported')", toy="toy_vos:TOY")
    with pytest.raises(ConfigError, match=r"by the entry point `toy_vos:TOY` of the package toy_vos 1\.0"):
        register(TOY)


def test_entry_points_are_looked_for_once(outside, monkeypatch):
    calls = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: calls.append(group) or [])
    for _ in range(2):
        list_models()
        known_architectures()
        with pytest.raises(UnknownModelError):
            find_architecture("toy")
    assert calls == ["vos_zoo.models"]


@pytest.mark.parametrize("name", ["rde", "rde.small"])
def test_own_names_look_for_no_entry_points(outside, monkeypatch, name):
    monkeypatch.setattr(plugins, "entry_points", None)
    assert find_weight(name).name == "rde.small"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("def", "SyntaxError"),
        ("OTHER = 1", "AttributeError"),
        ("TOY = 1", "which is int ''. Expected an Architecture"),
        ("import tests_of_the_registry as t, dataclasses\nTOY = dataclasses.replace(t.TOY, name='mine')", "'mine'"),
    ],
)
def test_a_broken_package_breaks_its_own_model_only(install, toy_module, caplog, code, words):
    install("toy_vos", code, toy="toy_vos:TOY")
    with pytest.raises(ConfigError) as caught:
        find_architecture("toy")
    assert words in str(caught.value)
    assert "`toy_vos:TOY` of the package toy_vos 1.0" in str(caught.value)
    for _ in range(2):
        assert known_architectures() == ARCHITECTURES
    (record,) = caplog.records
    assert words in record.getMessage()
    assert find_architecture("rde") is ARCHITECTURES["rde"]
    with pytest.raises(UnknownModelError, match="xmem"):
        find_weight("xmem")


def test_a_package_cannot_take_a_name_of_the_zoo(install, toy_module, caplog):
    install("toy_vos", GOOD, rde="toy_vos:TOY")
    assert find_architecture("rde") is ARCHITECTURES["rde"]
    assert known_architectures() == ARCHITECTURES
    assert "Ignored the model 'rde' that `toy_vos:TOY`" in caplog.text


def test_two_packages_with_one_name_are_both_named(install, toy_module):
    install("toy_vos", GOOD, toy="toy_vos:TOY")
    install("other_toy", GOOD, toy="other_toy:TOY")
    with pytest.raises(ConfigError, match=r"two models: `\w+:TOY` of the package \w+ 1\.0 and `\w+:TOY`"):
        find_architecture("toy")


def test_a_class_that_is_not_there_is_named(outside):
    register(dataclasses.replace(TOY, network_class="no_such_package.network:ToyNetwork"))
    with pytest.raises(ConfigError, match=r"'toy' is registered with network_class='no_such_package\.network"):
        find_architecture("toy").load_class("network")


@pytest.mark.parametrize("name", ["toy", "toy.r50"])
def test_a_model_of_another_package_without_a_weight_says_what_can_be_done(outside, name):
    register(TOY)
    with pytest.raises(UnknownModelError, match=r"No published weight for Toy.*--model STMModule.*hf-hub:owner/name"):
        find_weight(name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no pins"),
        ("{", "holds no pins"),
        ('{"rde.small": {"repo_id": "owner/name"}}', "revision"),
        ('{"rde.small": {"repo_id": "owner/name", "revision": "main"}}', "commit of 40 hexadecimal digits"),
    ],
)
def test_pins_are_commits(tmp_path, content, message):
    path = tmp_path / "pins.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        registry.read_pins(path)


def test_every_pin_is_of_a_weight():
    assert registry.read_pins().keys() <= registry.WEIGHTS.keys()
    assert all(weight.hub == registry.read_pins().get(weight.name) for weight in registry.WEIGHTS.values())
