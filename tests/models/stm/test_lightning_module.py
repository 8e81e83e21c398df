"""STM's training step and what it starts from."""

from __future__ import annotations

import torch

from vos_zoo.models.stm import STMModule
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import ignore, training_batch
from vos_zoo.training.unroll import aggregate_objects, object_planes


def test_a_step_sums_the_losses_of_frames_that_see_all_earlier_ones():
    torch.manual_seed(0)
    module = STMModule("tiny", bootstrap_start=5, bootstrap_end=6)
    module.log = ignore
    module.train()
    batch = training_batch(frames=4)
    loss = module.training_step(batch, 0)
    network, masks, valid = module.network, batch["masks"], batch["valid_objects"]
    memory, total = network.new_memory(MemoryPolicy(every=1)), 0.0
    network.memorize(network.encode(batch["images"][:, 0]), object_planes(masks[:, 0], valid), memory, reference=True)
    for time in (1, 2, 3):
        memory.tick()
        assert memory.num_frames == time
        frame = network.encode(batch["images"][:, time])
        logits = aggregate_objects(network.segment(frame, memory), valid)
        for clip, objects in enumerate((2, 1)):  # the second clip has one object
            chosen, target = logits[clip : clip + 1, : 1 + objects], masks[clip : clip + 1, time].long()
            total += torch.nn.functional.cross_entropy(chosen, target) / 2
        network.memorize(frame, logits.softmax(1)[:, 1:], memory)
    torch.testing.assert_close(loss, total)


def test_gradients_reach_the_first_frames_memory():
    torch.manual_seed(0)
    module = STMModule("tiny")
    module.log = ignore
    batch = training_batch(frames=2)
    batch["images"].requires_grad_()
    module.training_step(batch, 0).backward()
    assert batch["images"].grad[:, 0].abs().max() > 0
