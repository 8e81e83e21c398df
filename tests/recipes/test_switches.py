"""What the papers' tables vary is a matter of configuration."""

from __future__ import annotations

import re

import pytest
import yaml
from jsonargparse import ArgumentError
from pytorch_lightning import LightningDataModule
from pytorch_lightning.cli import LightningArgumentParser

import vos_zoo.data
from testing.recipes import REPOSITORY
from vos_zoo.cli.lightning import import_nameable_classes
from vos_zoo.data.clips.compositing import PasteSettings
from vos_zoo.data.clips.motion import MotionRange
from vos_zoo.data.modules.sets import VideoSet
from vos_zoo.models.rde import RDEModule
from vos_zoo.training.module import VOSModule


@pytest.fixture(scope="module")
def configure():
    """Build a model or data module from what a recipe says, as the command line does."""
    import_nameable_classes()
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_lightning_class_args(VOSModule, "model", subclass_mode=True)
    parser.add_lightning_class_args(LightningDataModule, "data", subclass_mode=True, required=False)

    def build(part, class_path, **init_args):
        values = {"model": {"class_path": "RDEModule", "init_args": {"config": "tiny"}}}
        values[part] = {"class_path": class_path, "init_args": init_args}
        return parser.instantiate_classes(parser.parse_object(values))[part]

    return build


@pytest.fixture
def rde(configure):
    def build(**init_args):
        return configure("model", "RDEModule", **{"config": "tiny"} | init_args)

    return build


# RDE-VOS, Table 5
@pytest.mark.parametrize(
    "entries",
    [
        ["rde"],
        ["first"],
        ["first", "rde"],
        ["latest"],
        ["latest", "rde"],
        ["first", "latest"],
        ["first", "latest", "rde"],
        ["first", "first", "latest"],
        ["first", "latest", "latest"],
        ["first", "first", "latest", "rde"],
        ["all"],
    ],
    ids="+".join,
)
def test_memory_strategies_of_rde(rde, entries):
    module = rde(overrides={"memory_entries": entries})
    assert isinstance(module, RDEModule)
    assert module.network.default_policy().entries == tuple(entries)


@pytest.mark.parametrize("theta", [2, 3, 4, 5])
def test_sampling_intervals_of_rde(rde, theta):
    assert rde(overrides={"mem_every": theta}).network.default_policy().every == theta


# RDE-VOS, Table 6 and what the released code leaves open
@pytest.mark.parametrize(
    "switches",
    [
        {"weight_consistency": 0.0},
        {"weight_guidance": 0.0},
        {"weight_consistency": 0.0, "weight_guidance": 0.0},
        {"weight_consistency": 5.0, "weight_guidance": 5.0},
        {"stm_pattern_loss": False},
        {"frame_weights": "uniform"},
        {"guidance_target": "readout"},
        {"kl_reduction": "position"},
        {"detach_teacher": True},
        {"use_aggregation": False},
    ],
    ids=str,
)
def test_training_losses_of_rde(rde, switches):
    module = rde(**switches)
    assert {name: getattr(module, name) for name in switches} == switches


def test_the_defaults_are_the_papers(rde):
    module = rde()
    assert (module.weight_consistency, module.weight_guidance) == (10, 10)
    assert module.stm_pattern_loss
    assert module.frame_weights == "halving"
    assert module.network.default_policy().entries == ("rde", "latest", "first", "first")


def test_schedules_of_all_models(rde):
    module = rde(bootstrap_start=5_000, bootstrap_end=17_500, milestones=[62_500], learning_rate=2e-5)
    assert (module.cross_entropy.start, module.cross_entropy.end) == (5_000, 17_500)
    assert (module.milestones, module.learning_rate) == ((62_500,), 2e-5)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("STCNModule", {"similarity": "dot"}),
        ("STCNModule", {"cbam": False}),
        ("STCNModule", {"top_k": None}),
        ("STCNModule", {"mem_every": 3, "max_memory_frames": None}),
        ("STMModule", {"top_k": 5, "mem_every": 2}),
    ],
)
def test_switches_of_networks(configure, name, overrides):
    config = configure("model", name, config="tiny", overrides=overrides).network.config
    assert {field: getattr(config, field) for field in overrides} == overrides


def test_first_masks_are_perturbed_on_request(configure):
    data = configure("data", "SyntheticDataModule", perturb_first_mask=[0.85, 1.0], num_frames=5)
    assert data.settings.perturb_first_mask == (0.85, 1.0)
    assert data.settings.num_frames == 5


PAGE = (REPOSITORY / "docs" / "data.md").read_text()


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_examples_of_the_data_page(configure, example):
    settings = yaml.safe_load(example)["data"]
    data = configure("data", settings["class_path"], **settings["init_args"])
    assert type(data).__name__ == settings["class_path"]


@pytest.mark.parametrize("number", range(2))
def test_sets_are_read_from_configurations(configure, number):
    data = configure(
        "data",
        "MixedDataModule",
        root="x",
        video_sets=[{"path": "a", "layout": "folder", "repeat": 2}, {"path": "b", "names": ["one"]}],
        video_motion={"rotation": 20, "is_chained": False, "is_shared": True},
        paste=[{"counts": [0.5, 0.5]}, False][number],
    )
    assert data.video_sets == [VideoSet("a", layout="folder", repeat=2), VideoSet("b", names=["one"])]
    assert data.video_motion == MotionRange(rotation=20, is_chained=False, is_shared=True)
    assert data.paste == [PasteSettings(counts=(0.5, 0.5)), None][number]


def test_every_data_module_is_on_the_data_page():
    modules = [
        name
        for name in vos_zoo.data.__all__
        if name.endswith("DataModule") and name not in ("ClipDataModule", "PredictionDataModule")
    ]
    assert len(modules) == 9
    assert all(f"`{name}`" in PAGE for name in modules)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame_weights": "thirds"},
        {"guidance_target": "keys"},
        {"kl_reduction": 3},
        {"weight_guidance": "much"},
        {"stm_pattern_loss": "perhaps"},
        {"weight_guidence": 5.0},
    ],
    ids=str,
)
def test_what_is_no_switch_is_refused(rde, wrong):
    with pytest.raises(ArgumentError):
        rde(**wrong)
