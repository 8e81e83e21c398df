"""``python -m vos_zoo_runtime``: a folder of images in, a folder of masks out."""

from __future__ import annotations

import numpy as np
import pytest

from vos_zoo.media.masks import read_mask
from vos_zoo.runtime.command import main


def test_a_folder_of_images_is_segmented(rde_graphs, small_clip, tmp_path, capsys):
    words = [str(rde_graphs), str(small_clip.frames), str(small_clip.first), "--out", str(tmp_path / "masks")]
    assert main(words) == 0
    assert "8/8 frames" in capsys.readouterr().err
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == [f"{index:05d}.png" for index in range(8)]
    np.testing.assert_array_equal(read_mask(tmp_path / "masks/00000.png"), read_mask(small_clip.first))
    assert main(words) == 2
    assert "exists. Choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(("frames", "message"), [("nowhere", "There is no folder"), (".", "holds no images")])
def test_bad_input_is_one_line_and_exit_code_2(rde_graphs, small_clip, tmp_path, capsys, frames, message):
    words = [str(rde_graphs), str(tmp_path / frames), str(small_clip.first), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
