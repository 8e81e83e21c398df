"""Training on pictures with masks."""

from __future__ import annotations

import pytest

from testing.data_modules import LIGHTNING_WARNINGS, SMALL, assert_equal, batches
from vos_zoo.data.modules.sets import PictureSet
from vos_zoo.data.modules.static_images import StaticImagesDataModule
from vos_zoo.errors import ConfigError

pytestmark = LIGHTNING_WARNINGS


def test_static_module_accepts_the_folder_of_pairs_itself(data_root):
    assert_equal(
        batches(StaticImagesDataModule(str(data_root), **SMALL)),
        batches(StaticImagesDataModule(str(data_root / "pairs"), **SMALL)),
    )


def test_pairs_are_held_back(data_root):
    module = StaticImagesDataModule(str(data_root), held_back=2, **SMALL)
    ((clips, _),) = module.clip_sources()
    assert len(clips.pairs) == 3
    with pytest.raises(ConfigError, match="sets and held_back"):
        StaticImagesDataModule(str(data_root), sets=[PictureSet("pairs")], held_back=2, **SMALL)
    with pytest.raises(ConfigError, match="held_back is -1"):
        StaticImagesDataModule(str(data_root), held_back=-1, **SMALL)


def test_a_mapping_where_recipes_have_one_is_refused_in_python():
    with pytest.raises(ConfigError, match=r"sets\[0\] is .*`PictureSet"):
        StaticImagesDataModule("anywhere", sets=[{"path": "pairs"}])
    with pytest.raises(ConfigError, match=r"motion is .*`MotionRange"):
        StaticImagesDataModule("anywhere", motion={"zoom": 2})
