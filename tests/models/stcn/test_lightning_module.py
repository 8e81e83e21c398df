"""STCN's training step."""

import torch

from vos_zoo.models.stcn import STCNModule
from vos_zoo.network import MemoryPolicy
from vos_zoo.testing import ignore, training_batch
from vos_zoo.training.unroll import aggregate_objects, object_planes


def test_the_training_step_is_the_papers_unroll():
    torch.manual_seed(0)
    module = STCNModule("tiny", bootstrap_start=5, bootstrap_end=6)
    module.log = ignore
    module.train()
    batch = training_batch(frames=3)
    loss = module.training_step(batch, 0)
    network, masks, valid = module.network, batch["masks"], batch["valid_objects"]
    frames = [network.encode(image) for image in batch["images"].unbind(1)]
    memory = network.new_memory(MemoryPolicy(every=1))
    network.memorize(frames[0], object_planes(masks[:, 0], valid), memory, reference=True)
    total = 0.0
    for time in (1, 2):
        memory.tick()
        logits = aggregate_objects(network.segment(frames[time], memory), valid)
        for clip, objects in enumerate((2, 1)):  # the second clip has one object: two channels
            chosen = logits[clip : clip + 1, : 1 + objects]
            target = masks[clip : clip + 1, time].long()
            total += torch.nn.functional.cross_entropy(chosen, target) / 2
        network.memorize(frames[time], logits.softmax(1)[:, 1:], memory)
    torch.testing.assert_close(loss, total)
