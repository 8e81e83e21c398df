"""STCN's defaults are the paper's."""

from vos_zoo.models.stcn import STCNConfig, STCNNetwork
from vos_zoo.network import MemoryPolicy


def test_the_papers_defaults():
    policy = STCNNetwork(STCNConfig.tiny()).default_policy()
    assert policy == MemoryPolicy(every=5, max_frames=4)
    assert STCNConfig().top_k == 20
    # 64 frames at every 5th hold clips of 320 frames; DAVIS and YouTube-VOS have none that long.
    assert STCNConfig().max_memory_frames == 64
