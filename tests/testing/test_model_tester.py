"""The battery finds the faults that it is for."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from vos_zoo.errors import ConfigError
from vos_zoo.models.stm import STMConfig, STMNetwork
from vos_zoo.testing import ModelTester


class Battery(ModelTester):
    """STM's, run by hand on networks with one fault each."""

    name = "stm"
    paper_parameters = 38_925_570


class Ticking(STMNetwork):
    """Moves the clock, which belongs to the loop."""

    def segment(self, features, memory):
        memory.tick()
        return super().segment(features, memory)


class Mixing(STMNetwork):
    """Lets the clips of a batch see each other."""

    def encode(self, image):
        return super().encode(image - image.mean(dim=0, keepdim=True))


class Remembering(STMNetwork):
    """Keeps something of a video on the module."""

    def segment(self, features, memory):
        self.calls = getattr(self, "calls", 0) + 1
        return super().segment(features, memory) + self.calls


class Boasting(STMNetwork):
    """Says that its memory takes a tenth of what it takes."""

    def memory_cost(self, policy, size, objects):
        cost = super().memory_cost(policy, size, objects)
        return type(cost)(cost.bytes_per_frame // 10, cost.max_frames, cost.working_bytes)


def tiny(kind):
    torch.manual_seed(0)
    return kind(STMConfig.tiny()).eval()


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        (Ticking, "test_segmenting_moves_neither_the_clock_nor_the_memory"),
        (Mixing, "test_clips_of_a_batch_do_not_see_each_other"),
        (Remembering, "test_a_frame_may_be_segmented_as_often_as_one_likes"),
        (Boasting, "test_memory_does_not_grow_with_the_video"),
    ],
)
def test_a_fault_is_found(fault, test):
    check = getattr(Battery(), test)
    check(tiny(STMNetwork))
    with pytest.raises(AssertionError):
        check(tiny(fault))


def test_a_wrong_parameter_count_is_found():
    battery = Battery()
    battery.test_parameter_count("r50")
    battery.paper_parameters = 38_925_571
    with pytest.raises(AssertionError):
        battery.test_parameter_count("r50")


def test_a_network_that_nobody_registered_is_found():
    with pytest.raises(ConfigError, match=r"Register its architecture with network_class='\S+:Mixing'"):
        Battery().test_the_network_is_found_by_its_class(tiny(Mixing))


def test_without_pytest_the_error_says_what_to_install():
    code = (
        "import sys\nsys.modules['pytest'] = None\nfrom vos_zoo.errors import MissingExtraError\n"
        "try:\n    import vos_zoo.testing\nexcept MissingExtraError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install pytest" in result.stdout
