"""Every row of every table: what its commands train, and which weights may stand for it."""

from __future__ import annotations

import itertools

import pytest
import yaml

from testing.recipes import RECIPES, load_yaml
from vos_zoo.models.dmn_aoa import DMNAOAConfig
from vos_zoo.models.hs2s import HS2SConfig
from vos_zoo.models.tsn import TSNConfig
from vos_zoo.registry import find_architecture
from vos_zoo.reproduction.tables import find_table, long_video_figures, paper_tables
from vos_zoo.reproduction.weights import WeightFacts, misfit
from vos_zoo.training.module import resolve_config

TABLES = [*paper_tables().values(), *long_video_figures().values()]
ROWS = [pytest.param(row, id=f"{table.name}:{row.name}") for table in TABLES for row in table.rows]
# Where the paper's own numbers come from one weight, rows that need no training of their own share it.
DEFAULT = {
    "dmn_aoa": "dmn_aoa/2-main",
    "giel": "giel/full",
    "hs2s": "hs2s/video",
    "rde": "rde/3-main",
    "stcn": "stcn/3-main",
    "stm": "stm/2-main",
    "tsn": "tsn/2-main",
}


def row_of(table, name):
    return next(row for row in find_table(table).rows if row.name == name)


def merged(below, above):
    if not isinstance(above, dict) or not isinstance(below, dict):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def settings(words):
    """What the words of a command say, recipes first."""
    assert words[0] == "fit"
    found: dict = {}
    for option, value in zip(words[1::2], words[2::2], strict=True):
        if option == "--config":
            found = merged(found, load_yaml(f"recipes/{value}.yaml"))
    for option, value in zip(words[1::2], words[2::2], strict=True):
        part, _, field = option.removeprefix("--").partition(".")
        if part == "model":
            found["model"]["init_args"][field] = yaml.safe_load(value)
        elif option == "--trainer.callbacks.dirpath":
            found["trainer"]["callbacks"][-1]["init_args"]["dirpath"] = value
        else:
            assert option in ("--config", "--data.root"), option
    return found


def folder(of):
    return of["trainer"]["callbacks"][-1]["init_args"]["dirpath"]


STAGES = {
    folder(load_yaml(recipe))
    for recipe in RECIPES
    if "dirpath" in load_yaml(recipe)["trainer"].get("callbacks", [{}])[-1].get("init_args", {})
}


@pytest.mark.parametrize("row", ROWS)
def test_the_command_trains_the_rows_network(row):
    model = settings(row.training[-1])["model"]
    architecture = find_architecture(row.model)
    assert model["class_path"] == architecture.load_class("module").__name__
    config_class = architecture.load_class("config")
    values = model["init_args"]
    config = resolve_config(config_class, values["config"], values.get("overrides"))
    assert misfit(row, WeightFacts("trained", row.model, config, "")) == ""
    assert config.backbone == row.backbone


@pytest.mark.parametrize("row", ROWS)
def test_the_commands_follow_one_another(row):
    """Each starts where one before it, or a stage of the paper, has left its weights."""
    written = set(STAGES)
    for words in row.training:
        found = settings(words)
        start = found["model"]["init_args"].get("initial_weights")
        assert start is None or start.removesuffix("/last.ckpt") in written
        if start is not None and "overrides" in found["model"]["init_args"] and row.model == "dmn_aoa":
            # Another network cannot start from the paper's.
            before = settings(row.training[0])["model"]["init_args"]
            assert before["overrides"] == found["model"]["init_args"]["overrides"]
        written.add(folder(found))
    assert len({folder(settings(words)) for words in row.training}) == len(row.training)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_without_a_training_of_its_own_takes_what_the_papers_recipe_trains(row):
    words = row.training[-1]
    is_default = words == ("fit", "--config", DEFAULT[row.model], "--data.root", "ROOT")
    own = set(row.architecture.items()) - set(row_of(*SHARED[row.model]).architecture.items())
    if not row.requires and not own and not row.is_retrained:
        assert is_default
        assert len(row.training) == 1
    if not is_default:
        # Something has to keep other weights away: the network, a name, or the result says what was not retrained.
        assert row.requires or own or row.is_retrained


SHARED = {
    "dmn_aoa": ("dmn_aoa.table4", "r50"),
    "giel": ("giel.table2", "full"),
    "hs2s": ("hs2s.table1", "hs2s"),
    "rde": ("rde.table1", "rde"),
    "stcn": ("rde.table1", "stcn"),
    "stm": ("rde.table1", "stm"),
    "tsn": ("tsn.table1", "tsn-r50-2018"),
}


def deciding(row):
    return row.backbone, row.architecture, row.inference, row.requires, row.proposals, row.frames, row.size


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_rows_of_different_numbers_differ_in_something_that_is_told_apart(table):
    for one, other in itertools.combinations(table.rows, 2):
        if (one.model, one.data) == (other.model, other.data) and deciding(one) == deciding(other):
            assert one.scores == other.scores, (one.name, other.name)


@pytest.mark.parametrize("table", paper_tables().values(), ids=lambda table: table.name)
def test_rows_that_are_trained_alike_share_their_commands(table):
    for one, other in itertools.combinations(table.rows, 2):
        alike = (one.model, one.backbone, one.architecture, one.requires, one.is_retrained) == (
            other.model, other.backbone, other.architecture, other.requires, other.is_retrained
        )  # fmt: skip
        if alike and not one.is_retrained:
            assert one.training == other.training, (one.name, other.name)


def facts(model, config):
    return WeightFacts("given", model, config, "")


@pytest.mark.parametrize(
    ("table", "name", "model", "config"),
    [
        ("dmn_aoa.table4", "r50", "dmn_aoa", DMNAOAConfig.r101()),
        ("dmn_aoa.table3", "f0", "dmn_aoa", DMNAOAConfig.r101()),
        ("dmn_aoa.table1", "r101", "dmn_aoa", DMNAOAConfig.r50()),
        ("tsn.table1", "tsn-r50-2018", "tsn", TSNConfig.swin_b()),
        ("tsn.table1", "tsn-swin-b-2018", "tsn", TSNConfig.small()),
        ("hs2s.table5", "s2s-star", "hs2s", HS2SConfig.s2s_plain()),
        ("hs2s.table5", "hs2s", "hs2s", HS2SConfig.hs2s_sim()),
    ],
)
def test_another_network_is_no_row(table, name, model, config):
    assert misfit(row_of(table, name), facts(model, config))


def test_a_smaller_network_stands_in_for_the_papers_first_one():
    assert misfit(row_of("dmn_aoa.table4", "r50"), facts("dmn_aoa", DMNAOAConfig.small())) == ""


@pytest.mark.parametrize(
    ("table", "names", "words"),
    [
        ("rde.table6", ["full"], "without BL30K"),
        ("rde.table6", ["no-consistency", "no-guidance"], "without BL30K and without the"),
        ("tsn.table1", ["stcn-2018"], "without BL30K"),
        ("tsn.table3", None, "on videos alone"),
        ("tsn.table4", None, "on videos alone"),
        ("tsn.table5", None, "on videos alone"),
        ("dmn_aoa.table1", ["r50", "r101", "r101-test"], "on YouTube-VOS before DAVIS"),
        ("dmn_aoa.table2", ["r50", "r101"], "on YouTube-VOS before DAVIS"),
        ("dmn_aoa.table3", ["f0", "a1", "b1", "b2", "b3", "b4", "d1", "d2"], "without YouTube-VOS"),
        ("hs2s.table3", None, "on the other four fifths"),
        ("hs2s.table4", None, "on the other four fifths"),
    ],
)
def test_what_a_weight_was_trained_on_decides(table, names, words):
    rows = [row for row in find_table(table).rows if names is None or row.name in names]
    assert rows
    assert all(words in row.requires for row in rows)


@pytest.mark.parametrize(
    ("table", "name", "expected"),
    [
        ("rde.figure3", "stcn", {"mem_every": 60, "max_memory_frames": None}),
        ("giel.table2", "full", {"support_size": 5, "max_memory_frames": None}),
        ("giel.table1", "support-2", {"support_size": 2, "max_memory_frames": None}),
        ("dmn_aoa.table3", "b4", {"memory": "all", "max_memory_frames": None}),
        ("rde.table2", "stcn", {"mem_every": 3}),
    ],
)
def test_inference_is_as_in_the_paper(table, name, expected):
    inference = row_of(table, name).inference
    assert {key: inference[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("table", "name"), [("rde.table2", "stm"), ("dmn_aoa.table1", "stm-test"), ("giel.table3", "stm")]
)
def test_stm_sees_600_pixels_of_the_full_resolution_on_test_dev(table, name):
    row = row_of(table, name)
    assert (row.frames, row.size) == ("Full-Resolution", 600)


def test_the_stage_without_consistency_comes_first():
    first, second = (settings(words)["model"]["init_args"] for words in row_of("rde.table6", "no-consistency").training)
    assert first["weight_consistency"] == second["weight_consistency"] == 0
    assert len(row_of("rde.table6", "no-guidance").training) == 1
