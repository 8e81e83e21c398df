"""DMN-AOA in its smallest size, masks and proposals, for tests."""

import torch

from vos_zoo.models.dmn_aoa import DMNAOAModule
from vos_zoo.models.dmn_aoa.proposals import ProposalRequest


def tiny(**overrides):
    torch.manual_seed(0)
    return DMNAOAModule("tiny", overrides)


def band(objects=2, size=(48, 64)):
    masks = torch.zeros(1, objects, *size)
    for plane in range(objects):
        masks[:, plane, 8:40, 4 + 30 * plane : 24 + 30 * plane] = 1
    return masks


def request(previous, boxes=None, index=1):
    boxes = torch.zeros(len(previous), 4) if boxes is None else torch.tensor(boxes, dtype=torch.float32)
    return ProposalRequest(index, 0, torch.zeros(3, *previous.shape[1:]), previous, boxes)
