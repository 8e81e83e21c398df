from __future__ import annotations

import numpy as np

from vos_zoo.cli.main import main
from vos_zoo.media.masks import read_mask, write_mask


def test_two_results_are_compared_object_by_object(capsys, small_clip, tmp_path):
    for path in small_clip.masks.iterdir():
        write_mask(tmp_path / "shifted" / path.name, np.roll(read_mask(path), 3, axis=1))
    arguments = ["evaluate", str(small_clip.masks), str(small_clip.masks), "--compare", str(tmp_path / "shifted")]
    assert main([*arguments, "--processes", "1", "--breakdown", "length", "--breakdown", "occlusion"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("J&F-Mean") == 2
    assert printed.count("area <= 50") == 2
    for measure in ("J&F: +", "J: +", "F: +"):
        assert measure in printed
    assert "95 % interval [+" in printed
    assert "better on 2 and worse on 0 of 2 objects" in printed
    assert "An interval from 2 objects says little" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("masks_")]
    assert {row[0] for row in rows} == {"masks_1", "masks_7"}
    assert all(float(row[1]) == 100 and float(row[3]) > 0 for row in rows)
