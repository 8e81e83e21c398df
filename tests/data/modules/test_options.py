"""Options that data modules share."""

from __future__ import annotations

import pytest

from vos_zoo.data.modules.mixed import MixedDataModule
from vos_zoo.errors import ConfigError


@pytest.mark.parametrize("area", [(0, 1), (0.5, 0.4), (0.5, 1.5)])
def test_crop_areas_out_of_range(area):
    with pytest.raises(ConfigError, match="crop_area"):
        MixedDataModule("x", crop_area=area)
