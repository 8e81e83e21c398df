from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import vos_zoo
from testing.results import moving_masks, write_results
from testing.videos import clip, write_frames, write_video
from vos_zoo.errors import ConfigError, MaskError, MissingFileError, OutputExistsError, VideoError, VosZooError
from vos_zoo.interchange.export_formats import EXPORT_FORMATS
from vos_zoo.interchange.export_masks import export_masks
from vos_zoo.interchange.picture_exporters import CutoutExporter
from vos_zoo.media.masks import write_mask


def place(folder, name):
    return folder / f"out{EXPORT_FORMATS[name].suffixes[0] if EXPORT_FORMATS[name].suffixes else ''}"


@pytest.fixture(params=EXPORT_FORMATS)
def kind(request):
    return request.param


def test_every_format_writes_one_place(results, tmp_path, kind):
    steps = []
    report = export_masks(
        results, to=kind, out=place(tmp_path / "new", kind), progress=lambda done, total: steps.append((done, total))
    )
    assert report.path == place(tmp_path / "new", kind)
    assert (report.frames, report.objects) == (8, (1, 2))
    assert list((tmp_path / "new").iterdir()) == [report.path]
    assert report.path.is_file() == bool(EXPORT_FORMATS[kind].suffixes)
    assert steps == [(number, 16) for number in range(1, 17)]


@pytest.mark.parametrize("case", ["odd size", "one frame", "one pixel", "empty masks", "empty now and then"])
def test_every_format_takes_unusual_masks(tmp_path, kind, case):
    size = {"odd size": (33, 47), "one pixel": (1, 1)}.get(case, (48, 64))
    count = 1 if case in ("one frame", "one pixel") else 4
    pictures = [np.full((*size, 3), 90 + number, np.uint8) for number in range(count)]
    masks = [np.ones(size, np.uint8)] * count if case == "one pixel" else moving_masks(count, size)
    if case == "empty masks":
        masks = [np.zeros(size, np.uint8)] * count
    if case == "empty now and then":
        masks[1] = masks[3] = np.zeros(size, np.uint8)
    folder = write_results(tmp_path / "masks", masks, write_frames(tmp_path / "frames", pictures))
    report = export_masks(folder, to=kind, out=place(tmp_path, kind))
    assert report.frames == count
    assert report.objects == {"empty masks": (), "one pixel": (1,)}.get(case, (1, 2))


def test_a_part_of_the_objects(results, tmp_path, masks):
    export_masks(results, to="npz", out=tmp_path / "a.npz", objects=[2])
    with np.load(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["masks"], np.where(np.array(masks) == 2, 2, 0))


@pytest.mark.parametrize("options", [{"objects": [1, 7]}, {"labels": {7: "owl"}}])
def test_an_object_that_is_not_there(results, tmp_path, options):
    with pytest.raises(MaskError, match=r"Object 7 is in no mask of .*that are there: 1, 2"):
        export_masks(results, to="npz", out=tmp_path / "a.npz", **options)


def test_an_unknown_format_names_the_known_ones(results, tmp_path):
    with pytest.raises(ConfigError, match=r"no export format 'web'\. Did you mean webm\? There are: webm, prores"):
        export_masks(results, to="web", out=tmp_path / "a.webm")


def test_a_file_has_the_ending_of_its_format(results, tmp_path):
    with pytest.raises(ConfigError, match=r"a\.mp4` must end in \.webm"):
        export_masks(results, to="webm", out=tmp_path / "a.mp4")


def test_a_format_without_soft_edges(results, tmp_path):
    with pytest.raises(ConfigError, match=r"davis has no soft edges.*webm"):
        export_masks(results, to="davis", out=tmp_path / "a", soft=True)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), 1001])
def test_a_rate_that_is_none(results, tmp_path, fps):
    with pytest.raises(ConfigError, match="above 0 and up to 1000"):
        export_masks(results, to="matte", out=tmp_path / "a.mp4", fps=fps)


def test_a_video_has_its_own_rate(results, tmp_path):
    with pytest.raises(ConfigError, match=r"clip\.mp4` has 25 frames per second and its own times"):
        export_masks(results, to="matte", out=tmp_path / "a.mp4", fps=30)


def test_results_without_probabilities(results, tmp_path):
    with pytest.raises(MissingFileError, match="--save-probabilities"):
        export_masks(results, to="webm", out=tmp_path / "a.webm", soft=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "masks"]


def test_what_is_there_stays(results, tmp_path, kind):
    out = place(tmp_path, kind)
    if EXPORT_FORMATS[kind].suffixes:
        out.write_text("mine")
        with pytest.raises(OutputExistsError, match="--overwrite"):
            export_masks(results, to=kind, out=out)
        assert out.read_text() == "mine"
        export_masks(results, to=kind, out=out, overwrite=True)
        assert out.stat().st_size > 10
    else:
        (out / "mine").mkdir(parents=True)
        with pytest.raises(OutputExistsError, match="never replaced"):
            export_masks(results, to=kind, out=out, overwrite=True)
        assert list(out.iterdir()) == [out / "mine"]


def test_an_empty_folder_is_a_place(results, tmp_path):
    (tmp_path / "cut").mkdir()
    assert export_masks(results, to="cutouts", out=tmp_path / "cut").frames == 8
    assert len(list((tmp_path / "cut").iterdir())) == 8


def test_a_folder_format_does_not_replace_a_file(results, tmp_path):
    (tmp_path / "cut").write_text("mine")
    with pytest.raises(OutputExistsError, match="is a file"):
        export_masks(results, to="cutouts", out=tmp_path / "cut", overwrite=True)


@pytest.mark.parametrize("name", ["clip.mp4", "link.mp4", "masks"])
def test_an_input_is_never_replaced(results, tmp_path, name):
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    before = (tmp_path / "clip.mp4").read_bytes()
    with pytest.raises(OutputExistsError):
        export_masks(results, to="matte" if "mp4" in name else "cutouts", out=tmp_path / name, overwrite=True)
    assert (tmp_path / "clip.mp4").read_bytes() == before
    assert len(list(results.glob("*.png"))) == 8


def test_a_failure_leaves_nothing_and_keeps_what_was_there(results, tmp_path, monkeypatch):
    def fail(self, frame):
        if frame.index == 5:
            raise VideoError("broken")

    monkeypatch.setattr(CutoutExporter, "write", fail)
    with pytest.raises(VideoError, match="broken"):
        export_masks(results, to="cutouts", out=tmp_path / "new" / "cut")
    assert not list((tmp_path / "new").iterdir())


def test_a_video_that_is_damaged_leaves_nothing(tmp_path):
    source = write_video(tmp_path / "clip.mp4", clip(20))  # its index, which comes first, knows all frames
    folder = write_results(tmp_path / "masks", moving_masks(20), source)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(VideoError, match="damaged or cut short"):
        export_masks(folder, to="matte", out=tmp_path / "new" / "m.mp4")
    assert not list((tmp_path / "new").iterdir())


def test_nothing_is_written_before_all_masks_are_sound(results, tmp_path):
    Image.new("RGB", (64, 48), (3, 4, 5)).save(results / "00007.png")
    with pytest.raises(MaskError, match=r"00007\.png` has three colour channels"):
        export_masks(results, to="cutouts", out=tmp_path / "new" / "cut")
    assert not (tmp_path / "new").exists()


def test_ids_over_255(tmp_path, kind):
    masks = moving_masks(3, ids=(7, 300, 65535))
    folder = write_results(tmp_path / "masks", masks, write_frames(tmp_path / "frames", clip(3)))
    if kind in ("davis", "youtube-vos"):
        with pytest.raises(MaskError, match=r"Object 65535 cannot be stored.*1 to 254.*--objects"):
            export_masks(folder, to=kind, out=tmp_path / "out")
        assert export_masks(folder, to=kind, out=tmp_path / "out", objects=[7]).objects == (7,)
    else:
        assert export_masks(folder, to=kind, out=place(tmp_path, kind)).objects == (7, 300, 65535)


def test_the_public_name():
    assert vos_zoo.export_masks is export_masks


def test_a_folder_of_masks_by_hand(tmp_path):
    """Black-and-white masks of one object, as drawing programs save them, without a video."""
    white = np.zeros((8, 9), np.uint8)
    white[2:5, 3:6] = 255
    for number in range(3):
        (tmp_path / "drawn").mkdir(exist_ok=True)
        Image.fromarray(white).save(tmp_path / "drawn" / f"{number}.png")
    report = export_masks(tmp_path / "drawn", to="npz", out=tmp_path / "a.npz", labels={1: "cup"})
    assert report.objects == (1,)
    with np.load(tmp_path / "a.npz") as found:
        np.testing.assert_array_equal(found["masks"], [white // 255] * 3)
        assert found["labels"].tolist() == ["cup"]


def test_errors_are_ours(tmp_path):
    write_mask(tmp_path / "masks" / "00000.png", np.ones((4, 4), np.uint8))
    with pytest.raises(VosZooError):
        export_masks(tmp_path / "masks", to="webm", out=tmp_path / "a.webm", video=tmp_path / "no.mp4")
