import pytest
import torch

from vos_zoo.errors import ConfigError
from vos_zoo.registry import WEIGHTS, find_architecture
from vos_zoo.reproduction.tables import find_table
from vos_zoo.reproduction.weights import assign_weights, configure, read_weight
from vos_zoo.training.module import resolve_config
from vos_zoo.weights import save_checkpoint_folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Make untrained tiny weights of any configuration; returns the folder's path as text."""
    folder = tmp_path_factory.mktemp("weights")

    def make(model, **fields):
        path = folder / "-".join([model, *map(str, fields.values())])
        if not path.exists():
            architecture = find_architecture(model)
            config = resolve_config(architecture.load_class("config"), architecture.new_config("tiny"), fields)
            save_checkpoint_folder(architecture.load_class("network")(config), path, card="# Untrained\n")
        return str(path)

    return make


@pytest.fixture
def no_weights(monkeypatch):
    monkeypatch.setattr("vos_zoo.registry.WEIGHTS", {})


def names(assignments):
    return {entry.row.name: entry.weight and entry.weight.name for entry in assignments}


def test_one_weight_runs_in_every_inference_setting(tiny):
    rows = find_table("rde.table5").rows
    assert set(names(assign_weights(rows, [tiny("rde")])).values()) == {tiny("rde")}


def test_a_weight_stands_only_for_rows_of_its_configuration(tiny, no_weights):
    rows = find_table("hs2s.table5").rows
    found = names(assign_weights(rows, [tiny("hs2s"), tiny("hs2s", references="first")]))
    assert found == {
        "s2s-star": None,
        "hs2s-0": tiny("hs2s", references="first"),
        "hs2s-prev": None,
        "hs2s": tiny("hs2s"),
        "hs2s-sim": None,
    }


def test_a_row_without_a_weight_says_why(tiny, no_weights):
    rows = find_table("rde.table1").rows
    reasons = {entry.row.name: entry.reason for entry in assign_weights(rows, [tiny("rde")])}
    assert reasons["rde"] == ""
    assert reasons["rde-no-bl30k"] == "needs training without BL30K"
    assert reasons["giel"] == "no weight of giel is published"
    ablations = assign_weights(find_table("hs2s.table5").rows, [tiny("hs2s")])
    assert f"{tiny('hs2s')} does not fit, it has references='both', the row 'first'" in next(
        e.reason for e in ablations if e.row.name == "hs2s-0"
    )


def test_a_weight_is_named_for_a_row_that_needs_a_training_of_its_own(tiny, no_weights):
    rows = find_table("rde.table6").rows
    given = [f"no-guidance={tiny('rde')}"]
    assert names(assign_weights(rows, given))["no-guidance"] == tiny("rde")


def test_bundled_weights_are_taken_where_none_is_given():
    rows = find_table("rde.table1").rows[:1]
    default = next(name for name in WEIGHTS if name.startswith("rde."))
    assert names(assign_weights(rows, [])) == {"rde": default}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("second={rde}", "meant for the row 'second'"),
        ("{giel}", "fits no row: for rde, it is a giel weight, the row is rde"),
        ("rde={giel}", "cannot be the row 'rde': it is a giel weight"),
    ],
)
def test_weights_that_fit_nowhere_are_refused(tiny, given, message):
    text = given.format(rde=tiny("rde"), giel=tiny("giel"))
    with pytest.raises(ConfigError, match=message):
        assign_weights(find_table("rde.table5").rows, [text])


def test_two_weights_for_one_row_are_refused(tiny, no_weights):
    with pytest.raises(ConfigError, match="all fit the row"):
        assign_weights(find_table("rde.table5").rows, [tiny("rde"), tiny("rde", mem_every=5)])


def test_the_row_sets_its_inference_fields_and_keeps_the_parameters(tiny):
    weight = read_weight(tiny("rde"))
    row = next(row for row in find_table("rde.table5").rows if row.name == "first-latest")
    model = configure(weight, row, "cpu")
    policy = model.network.default_policy()
    assert (policy.entries, policy.every) == (("latest", "first"), 3)
    assert not model.training
    for name, tensor in configure(weight, find_table("rde.table5").rows[0], "cpu").network.state_dict().items():
        assert torch.equal(tensor, model.network.state_dict()[name])


def test_the_checksum_knows_the_tensors(tiny):
    assert read_weight(tiny("rde")).sha256 == read_weight(tiny("rde")).sha256
    assert read_weight(tiny("rde")).sha256 != read_weight(tiny("rde", mem_every=4)).sha256  # drawn anew
