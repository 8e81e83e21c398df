"""Tuning of the detector."""

from __future__ import annotations

import pytest
import torch

from vos_zoo.models.dmn_aoa.detector_training import DetectorModule
from vos_zoo.testing import ignore, training_batch


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    made = DetectorModule(None, min_size=64)
    made.log = ignore
    return made.train()


def test_batch_normalisation_keeps_its_statistics(module):
    norms = [part for part in module.detector.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert module.detector.training


def test_the_rate_is_the_papers(module):
    (group,) = module.configure_optimizers().param_groups
    assert group["lr"] == 1e-6


def test_every_object_is_what_the_detector_takes_it_for(module, monkeypatch):
    """In COCO's categories; a predictor that favours one by the box's width shows which box it saw."""

    def predict(pooled):
        logits = torch.zeros(len(pooled), 91)
        logits[:, 0] = 9.0  # background is no answer
        logits[torch.arange(len(pooled)), torch.tensor([17, 3, 40])] = 5.0
        return logits, torch.zeros(len(pooled), 91 * 4)

    monkeypatch.setattr(module.detector.roi_heads.box_predictor, "forward", predict)
    images = [torch.rand(3, 64, 96), torch.rand(3, 48, 64)]
    boxes = [torch.tensor([[2.0, 3.0, 30.0, 40.0], [50.0, 8.0, 90.0, 60.0]]), torch.tensor([[1.0, 1.0, 20.0, 30.0]])]
    assert [labels.tolist() for labels in module.likely_labels(images, boxes)] == [[17, 3], [40]]


def test_frames_with_objects_train_and_others_are_left_out(module, monkeypatch):
    seen = []
    detector = module.detector

    def record(images, targets):
        seen.append((images, targets))
        return {"loss_mask": torch.ones((), requires_grad=True), "loss_classifier": torch.ones(())}

    monkeypatch.setattr(detector, "forward", record)
    batch = training_batch(frames=2, size=64)
    batch["masks"][1] = 0
    assert module.training_step(batch, 0) == 2
    ((images, targets),) = seen
    assert len(images) == len(targets) == 2
    assert all(float(image.min()) >= 0 and float(image.max()) <= 1 for image in images)
    for target, mask in zip(targets, batch["masks"][0], strict=True):
        assert target["masks"].shape[0] == len(target["boxes"]) == len(target["labels"]) == len(mask.unique()) - 1
        rows, columns = (mask == mask.unique()[1]).nonzero().unbind(1)
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert target["boxes"][0].tolist() == [float(value) for value in expected]
    batch["masks"][:] = 0
    assert module.training_step(batch, 0) is None
