"""DMN-AOA's configuration: its native size and contradictions."""

import pytest

from testing.dmn_aoa import tiny
from vos_zoo.errors import ConfigError
from vos_zoo.models.dmn_aoa import DMNAOAConfig


@pytest.mark.parametrize("wrong", [{"groups": 7}, {"widths": (32, 32, 33)}, {"roi_size": 0}, {"box_expand": 0.0}])
def test_contradicting_configurations_are_refused(wrong):
    with pytest.raises(ConfigError):
        DMNAOAConfig(**wrong)


def test_a_configuration_sets_the_native_size():
    assert tiny(working_size=64).session().describe((640, 960)).working_size == (64, 96)
