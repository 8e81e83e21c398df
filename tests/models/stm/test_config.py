"""STM's defaults are the paper's."""

from vos_zoo.models.stm import STMConfig, STMNetwork
from vos_zoo.network import MemoryPolicy


def test_the_papers_defaults():
    policy = STMNetwork(STMConfig.tiny()).default_policy()
    assert policy == MemoryPolicy(every=5, max_frames=4, keep_latest=True)
    assert STMConfig().top_k is None
    assert STMConfig().max_memory_frames == 64
