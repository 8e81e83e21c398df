"""DMN-AOA's memory: which frames of an object are kept, and its references."""

import pytest
import torch

from testing.dmn_aoa import band, tiny
from vos_zoo.errors import EmptyMemoryError, MemoryBudgetError, ShapeError
from vos_zoo.models.dmn_aoa import DMNAOANetwork
from vos_zoo.models.dmn_aoa.memory import DMNPolicy
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import VIDEO


@pytest.mark.parametrize(
    ("keeps", "expected"),
    [
        ("first", {0}),
        ("previous", {7}),
        ("first+previous", {0, 7}),
        ("every", {0, 3, 6, 7}),
        ("all", {0, 1, 2, 3, 4, 5, 6, 7}),
    ],
)
@torch.no_grad()
def test_memory_keeps_what_the_policy_says(keeps, expected):
    network = tiny().network.eval()
    memory = network.new_memory(DMNPolicy(every=3, keeps=keeps))
    for time in range(8):
        features = network.encode(torch.rand(1, 3, 32, 32))
        if time:
            memory.tick()
            network.segment(features, memory)
        network.memorize(features, band(1, (32, 32)), memory, reference=time == 0)
    assert {stored.frame for stored in memory.banks[0][0].frames} == expected


@torch.no_grad()
def test_frames_without_the_object_are_not_remembered():
    network = tiny().network.eval()
    memory = network.new_memory(DMNPolicy(keeps="all"))
    masks = [band(1, (32, 32)), torch.zeros(1, 1, 32, 32), band(1, (32, 32)).flip(2)]
    boxes = []
    for time, mask in enumerate(masks):
        features = network.encode(torch.rand(1, 3, 32, 32))
        if time:
            memory.tick()
            assert network.segment(features, memory).isfinite().all()
        network.memorize(features, mask, memory, reference=time == 0)
        boxes.append(memory.objects["box"].clone())
    assert [stored.frame for stored in memory.banks[0][0].frames] == [0, 2]
    assert torch.equal(boxes[0], boxes[1])


def test_an_object_gone_for_good_leaves_no_ghost(monkeypatch):
    session = tiny().session(size=None)
    session.step(VIDEO.frames[0], VIDEO.masks[0])
    finish = DMNAOANetwork.finish
    monkeypatch.setattr(DMNAOANetwork, "finish", lambda *arguments: finish(*arguments) - 100)
    memory = session._memory
    kept, boxes = memory.nbytes, memory.objects["box"].clone()
    for index in range(1, 14):
        result = session.step(VIDEO.frames[index % 10])
        assert result.probabilities.isfinite().all()
        assert not result.mask.any()
    # What was seen last stays, for when the object comes back; what was not seen adds nothing.
    assert torch.equal(memory.objects["box"], boxes)
    assert memory.nbytes <= kept + sum(part.numel() * 4 for part in memory.previous)


def test_late_objects_refer_to_their_own_first_frame():
    session = tiny().session(size=None)
    session.step(VIDEO.frames[0], (VIDEO.masks[0] == 1).astype("int32"))
    session.step(VIDEO.frames[1])
    session.step(VIDEO.frames[2], 2 * (VIDEO.masks[2] == 2).astype("int32"))
    memory = session._memory
    early, late = (plane.reference for plane in memory.planes)
    assert late - early == 2
    assert set(memory.references) == {early, late}
    session.remove(1)
    assert set(memory.references) == {late}
    assert session.step(VIDEO.frames[3]).object_ids == (2,)


@torch.no_grad()
def test_misuse_is_named():
    network = tiny().network.eval()
    features = network.encode(torch.rand(1, 3, 32, 32))
    with pytest.raises(EmptyMemoryError):
        network.segment(features, network.new_memory())
    memory = network.new_memory()
    with pytest.raises(ShapeError, match=r"\[0, 1\] are new"):
        network.memorize(features, band(2, (32, 32)), memory)
    network.memorize(features, band(2, (32, 32)), memory, reference=True)
    with pytest.raises(ShapeError, match="the memory knows 2"):
        network.memorize(features, band(1, (32, 32)), memory)
    with pytest.raises(MemoryBudgetError, match="budget"):
        network.memorize(features, band(2, (32, 32)), network.new_memory(MemoryPolicy(max_bytes=1000)), reference=True)
