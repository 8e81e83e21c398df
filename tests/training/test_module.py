"""The LightningModule: configuration, losses per sample, schedule, scoring."""

import dataclasses
import inspect
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from vos_zoo import VideoSession, load_model
from vos_zoo.data.clips.shapes import moving_shapes
from vos_zoo.errors import ConfigError, EvaluationError
from vos_zoo.inference.result import PendingResult
from vos_zoo.models.giel import GIELModule
from vos_zoo.models.hs2s import HS2SModule
from vos_zoo.models.stcn import STCNConfig, STCNModule
from vos_zoo.registry import ARCHITECTURES, find_architecture
from vos_zoo.testing import ignore
from vos_zoo.training.module import resolve_config
from vos_zoo.weights import save_checkpoint_folder

# Configuration


@pytest.mark.parametrize("variant", ["r50", "small", "tiny"])
def test_a_variant_is_named(variant):
    assert resolve_config(STCNConfig, variant) == getattr(STCNConfig, variant)()


def test_fields_may_be_replaced():
    config = resolve_config(STCNConfig, "tiny", {"top_k": 7, "decoder_dims": [8, 8, 8]})
    assert config == dataclasses.replace(STCNConfig.tiny(), top_k=7, decoder_dims=(8, 8, 8))
    assert resolve_config(STCNConfig, STCNConfig(key_dim=3)).key_dim == 3


@pytest.mark.parametrize("name", ["large", "_private", "top_k", "__init__", ""])
def test_an_unknown_variant_is_refused(name):
    with pytest.raises(ConfigError, match="has no variant"):
        resolve_config(STCNConfig, name)


def test_an_unknown_field_is_refused():
    with pytest.raises(
        ConfigError, match=r"unknown key 'topk'\. Did you mean 'top_k'\? STCNConfig knows: backbone, cbam"
    ):
        resolve_config(STCNConfig, "tiny", {"topk": 7})


@pytest.mark.parametrize(("field", "value"), [("top_k", "20"), ("similarity", "cosine"), ("decoder_dims", [8, 8])])
def test_a_field_of_another_type_is_refused(field, value):
    with pytest.raises(ConfigError, match=rf"overrides\.{field} .*Expected"):
        resolve_config(STCNConfig, "tiny", {field: value})


def options_of_modules():
    for name in sorted(ARCHITECTURES):
        module = find_architecture(name).load_class("module")
        for part in module.__mro__:
            for option, parameter in inspect.signature(part.__init__).parameters.items():
                hint = getattr(sys.modules[part.__module__], str(parameter.annotation), parameter.annotation)
                if "Literal[" in str(hint):
                    yield pytest.param(module, option, id=f"{name}-{option}")


@pytest.mark.parametrize(("module", "option"), list(options_of_modules()))
def test_no_module_takes_a_choice_that_it_does_not_know(module, option):
    with pytest.raises((ConfigError, EvaluationError), match="'no such choice'"):
        module("tiny", **{option: "no such choice"})


# Loss


def test_samples_choose_their_own_pixels_and_channels():
    module = STCNModule("tiny", bootstrap_start=0, bootstrap_end=0)
    module.cross_entropy.top_p = 0.25
    module.cross_entropy.end = -1
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    masks = torch.stack([torch.randint(0, count, (8, 8), generator=generator) for count in (3, 2)])
    loss = module.segmentation_loss(logits, masks, torch.tensor([[True, True], [True, False]]))
    parts = []
    for clip, channels in enumerate((3, 2)):
        pixels = F.cross_entropy(logits[clip : clip + 1, :channels].double(), masks[clip : clip + 1], reduction="none")
        parts.append(pixels.flatten().sort(descending=True).values[:16].mean())
    torch.testing.assert_close(loss.double(), torch.stack(parts).mean(), rtol=1e-5, atol=1e-6)


# Schedule


def test_the_learning_rate_falls_at_milestones():
    module = STCNModule("tiny", milestones=[10, 20])
    factors = [module.learning_rate_factor(iteration) for iteration in (0, 9, 10, 19, 20, 100)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_it_warms_up():
    module = STCNModule("tiny", warmup_steps=4)
    assert [module.learning_rate_factor(iteration) for iteration in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_it_ends_at_zero():
    module = STCNModule("tiny", final_decay=0.5)
    module._trainer = SimpleNamespace(estimated_stepping_batches=20)
    factors = [module.learning_rate_factor(iteration) for iteration in (0, 10, 15, 19, 20, 25)]
    assert factors == pytest.approx([1, 1, 0.5, 0.1, 0, 0])


def test_adam_steps_as_in_the_papers():
    module = STCNModule("tiny", learning_rate=3e-4, weight_decay=1e-7, milestones=[2])
    configured = module.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    assert schedule["interval"] == "step"
    group = optimizer.param_groups[0]
    assert type(optimizer) is torch.optim.Adam
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 1e-7)
    assert len(group["params"]) == len(list(module.network.parameters()))
    rates = []
    for _ in range(3):
        rates.append(group["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates == pytest.approx([3e-4, 3e-4, 3e-5])


def test_trunks_may_learn_more_slowly():
    module = STCNModule("tiny", learning_rate=1e-3, backbone_rate=0.1)
    fast, slow = module.configure_optimizers()["optimizer"].param_groups
    assert (fast["lr"], slow["lr"]) == pytest.approx((1e-3, 1e-4))
    network = module.network
    of_trunks = [*network.key_encoder.parameters(), *network.value_encoder.trunk.parameters()]
    assert {id(part) for part in slow["params"]} == {id(part) for part in of_trunks}
    assert len(fast["params"]) + len(slow["params"]) == len(list(network.parameters()))


def test_a_part_may_learn_faster_and_goes_before_its_trunk():
    module = STCNModule("tiny", learning_rate=1e-3, backbone_rate=0.1, part_rates={"key_projection": 30.0})
    groups = module.configure_optimizers()["optimizer"].param_groups
    projection = list(module.network.key_projection.parameters())
    (of_projection,) = [group for group in groups if any(part is projection[0] for part in group["params"])]
    assert of_projection["lr"] == pytest.approx(3e-2)
    assert {id(part) for part in of_projection["params"]} == {id(part) for part in projection}
    assert sum(len(group["params"]) for group in groups) == len(list(module.network.parameters()))


def test_a_rate_of_a_part_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"no part 'routing' .*Its parts: .*key_projection"):
        STCNModule("tiny", part_rates={"routing": 30.0})


def test_frozen_parameters_are_left_out():
    module = STCNModule("tiny")
    module.network.key_encoder.requires_grad_(False)
    trained = module.configure_optimizers()["optimizer"].param_groups[0]["params"]
    assert len(trained) == sum(parameter.requires_grad for parameter in module.network.parameters())


# Start


def fit_stage(module, root, ckpt_path=None):
    module._trainer = SimpleNamespace(ckpt_path=ckpt_path, datamodule=SimpleNamespace(root=root))
    module.setup("fit")


def test_backbone_weights_are_looked_up_below_the_data_root(tmp_path):
    source = STCNModule("tiny").network.key_encoder.state_dict()
    save_file({key: tensor.contiguous() for key, tensor in source.items()}, tmp_path / "trunk.safetensors")
    module = STCNModule("tiny", backbone_weights="trunk.safetensors")
    fit_stage(module, tmp_path)
    loaded = module.network.key_encoder.state_dict()
    assert all(torch.equal(loaded[key], source[key]) for key in source if not key.endswith("tracked"))


@pytest.mark.parametrize("option", ["backbone_weights", "initial_weights"])
def test_a_resumed_run_or_another_stage_loads_nothing(tmp_path, option):
    module = STCNModule("tiny", **{option: "missing"})
    fit_stage(module, tmp_path, ckpt_path="last.ckpt")
    module.setup("validate")


@pytest.mark.parametrize(
    ("build", "options", "is_told"),
    [
        (STCNModule, {}, True),
        (STCNModule, {"backbone_weights": "random"}, False),
        (STCNModule, {"initial_weights": "{checkpoint}"}, False),
        (GIELModule, {}, True),
        (GIELModule, {"overrides": {"kv_kernel": 3}, "stcn_weights": "{checkpoint}"}, False),
        (HS2SModule, {}, False),  # learns its batch statistics
    ],
)
def test_random_encoders_with_frozen_statistics_are_told(tmp_path, caplog, build, options, is_told):
    checkpoint = save_checkpoint_folder(STCNModule("tiny").network, tmp_path / "stcn", card="# Untrained\n")
    named = {key: str(checkpoint) if value == "{checkpoint}" else value for key, value in options.items()}
    with caplog.at_level(logging.WARNING):
        fit_stage(build("tiny", **named), tmp_path)
    assert ("--model.backbone_weights timm" in caplog.text) is is_told


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_may_be_stored_channels_last(tmp_path, channels_last):
    module = STCNModule("tiny", channels_last=channels_last)
    fit_stage(module, tmp_path)
    weight = module.network.decoder.compress.conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last


@pytest.mark.parametrize(
    ("precision", "has_bf16", "is_told"),
    [("bf16-mixed", False, True), ("bf16-mixed", True, False), ("32-true", False, False)],
)
def test_a_precision_that_the_processor_lacks_is_told(monkeypatch, caplog, precision, has_bf16, is_told):
    monkeypatch.setattr("vos_zoo.training.module.computes_in", lambda dtype, device: has_bf16)
    module = STCNModule("tiny")
    module._trainer = SimpleNamespace(precision=precision)
    with caplog.at_level(logging.INFO):
        module.on_fit_start()
    assert ("--trainer.precision 32-true" in caplog.text) is is_told


def test_batch_statistics_are_frozen_in_training_mode():
    module = STCNModule("tiny")
    module._trainer = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda seed: seed))
    module.on_train_start()
    modes = {type(part).__name__: part.training for part in module.network.modules()}
    assert modes["Conv2d"]
    norms = [part for part in module.network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(part.training for part in norms)
    assert all(parameter.requires_grad for part in norms for parameter in part.parameters())


def test_steps_draw_at_random_by_their_number_alone(monkeypatch):
    iteration = SimpleNamespace(global_step=4)
    monkeypatch.setattr(STCNModule, "global_step", property(lambda self: iteration.global_step))

    def draws(module):
        module._trainer = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda seed: seed))
        module.on_train_start()
        for _ in range(2):  # batches that are accumulated
            module.on_train_batch_start({}, 0)
            yield float(torch.rand(()))

    torch.manual_seed(1)
    first = STCNModule("tiny")
    expected = list(draws(first))
    assert expected[0] != expected[1]
    checkpoint = {}
    first.on_save_checkpoint(checkpoint)
    torch.manual_seed(2)
    resumed = STCNModule("tiny")
    resumed.on_load_checkpoint(checkpoint)
    assert list(draws(resumed)) == expected
    assert list(draws(STCNModule("tiny"))) != expected
    iteration.global_step = 5
    assert not set(draws(first)) & set(expected)


def test_unannotated_frames_are_not_scored(monkeypatch):
    module = STCNModule("tiny", evaluation_size=None).eval()
    item = video(frames=5) | {"annotated": [0, 3]}
    item["masks"][[1, 2, 4]] = 0
    made = module.validation_step(item, 0)
    assert made["frames"] == [0, 3]
    assert made["masks"].shape == (2, 32, 48)
    np.testing.assert_array_equal(made["masks"][1], predicted(module, item)[3])
    module.evaluation_frames = "annotated"
    steps = []
    submit = VideoSession.submit
    monkeypatch.setattr(VideoSession, "submit", lambda self, *args: steps.append(1) or submit(self, *args))
    module.validation_step(item, 1)
    assert len(steps) == 2


@pytest.mark.parametrize("frames", ["all", "annotated"])
def test_a_device_that_works_ahead_scores_the_same_masks(monkeypatch, frames):
    module = STCNModule("tiny", evaluation_size=None, evaluation_frames=frames).eval()
    item = video(frames=6) | {"annotated": [0, 2, 5]}
    events = []
    submit, fetch = VideoSession.submit, PendingResult.result

    def submitted(self, *args):
        events.append(("given", self.num_frames))
        return submit(self, *args)

    def fetched(self):
        events.append(("fetched", self.index))
        return fetch(self)

    monkeypatch.setattr(VideoSession, "submit", submitted)
    monkeypatch.setattr(PendingResult, "result", fetched)
    expected = module.validation_step(item, 0)
    events.clear()
    monkeypatch.setattr(VideoSession, "works_ahead", True)
    found = module.validation_step(item, 0)
    assert found["frames"] == expected["frames"] == [0, 2, 5]
    np.testing.assert_array_equal(found["masks"], expected["masks"])
    wanted = [0, 2, 5] if frames == "all" else [0, 1, 2]
    assert [number for kind, number in events if kind == "fetched"] == wanted
    for number in wanted[:-1]:
        assert events[events.index(("fetched", number)) - 1] == ("given", number + 1)


# Videos


def video(frames=4, objects=2, **options):
    made = moving_shapes(frames, 32, 48, num_objects=objects, **options)
    return {"frames": made.frames, "masks": made.masks, "annotated": list(range(frames)), "name": "shapes"}


def predicted(module, item):
    session = VideoSession(module, size=None)
    return [
        session.step(frame, item["masks"][0].astype(np.int32) if index == 0 else None).mask
        for index, frame in enumerate(item["frames"])
    ]


@pytest.mark.parametrize(("protocol", "is_scored"), [("davis2017", False), ("youtube-vos", True)])
def test_videos_without_a_frame_that_counts_are_told(protocol, is_scored, recwarn):
    module = STCNModule("tiny", evaluation_size=None, evaluation_protocol=protocol).eval()
    module.log = lambda *_, **__: None
    module.validation_step(video(frames=2), 0)
    module.on_validation_epoch_end()
    told = [str(warning.message) for warning in recwarn if "no frame that counts" in str(warning.message)]
    assert len(told) == (0 if is_scored else 1)


@pytest.mark.parametrize("stage", ["val", "test"])
def test_a_perfect_prediction_scores_one_and_is_logged(stage):
    module = STCNModule("tiny", evaluation_size=None).eval()
    logged = {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})
    item = video()
    item["masks"] = np.stack(predicted(module, item)).astype(np.uint8)
    step, end = {
        "val": (module.validation_step, module.on_validation_epoch_end),
        "test": (module.test_step, module.on_test_epoch_end),
    }[stage]
    step(item, 0)
    end()
    assert set(logged) == {f"{stage}/jf_mean", f"{stage}/j_mean", f"{stage}/f_mean"}
    assert logged[f"{stage}/jf_mean"] == pytest.approx(1)
    logged.clear()
    end()  # scores start anew
    assert logged == {}


def test_late_objects_are_given_when_they_appear(monkeypatch):
    module = STCNModule("tiny", evaluation_size=None).eval()
    given = []
    submit = VideoSession.submit

    def watched(self, frame, mask=None):
        given.append(None if mask is None else set(np.unique(mask)))
        return submit(self, frame, mask)

    monkeypatch.setattr(VideoSession, "submit", watched)
    module.log = ignore
    module.validation_step(video(frames=5, objects=2, late_frame=2), 0)
    assert given[0] == {0, 1}
    assert given[1] is None
    assert given[2] == {0, 2}
    assert given[3:] == [None, None]


def test_a_module_starts_sessions(tmp_path):
    module = STCNModule("tiny").eval()
    session = module.session(size=None, precision="bf16")
    assert isinstance(session, VideoSession)
    folder = module.save_pretrained(tmp_path / "saved", card="# Untrained\n")
    assert load_model(folder, device="cpu").network.config == module.network.config
