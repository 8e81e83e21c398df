from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from testing.results import moving_masks, write_results
from testing.videos import clip, write_frames, write_video
from vos_zoo.data.layouts.davis import DavisVideos
from vos_zoo.data.layouts.youtube_vos import YouTubeVosVideos
from vos_zoo.errors import ConfigError, OutputExistsError
from vos_zoo.interchange.dataset_exporters import DavisExporter
from vos_zoo.interchange.export_masks import export_masks
from vos_zoo.media.reader import open_video


def jpeg_frames(folder, pictures):
    folder.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:05d}.jpg", quality=60)
    return folder


@pytest.fixture
def bird(tmp_path):
    return write_results(tmp_path / "masks", moving_masks(4), jpeg_frames(tmp_path / "bird", clip(4)))


@pytest.mark.parametrize("kind", ["davis", "youtube-vos"])
def test_readers_of_the_data_sets_read_it(bird, tmp_path, kind):
    export_masks(bird, to=kind, out=tmp_path / "root")
    if kind == "davis":
        videos = DavisVideos(tmp_path / "root", image_set="2017/train")
        assert (tmp_path / "root" / "ImageSets" / "2017" / "val.txt").read_text() == "bird\n"
    else:
        videos = YouTubeVosVideos(tmp_path / "root")
    assert [video.name for video in videos.videos] == ["bird"]
    for number, mask in enumerate(moving_masks(4)):
        np.testing.assert_array_equal(videos.read_mask(0, number), mask)
        with Image.open(tmp_path / "bird" / f"{number:05d}.jpg") as image:
            np.testing.assert_array_equal(videos.read_frame(0, number), np.array(image))


def test_jpeg_frames_are_copied_and_masks_have_the_palette(bird, tmp_path):
    export_masks(bird, to="davis", out=tmp_path / "root")
    frames, masks = (tmp_path / "root" / part / "480p" / "bird" for part in ("JPEGImages", "Annotations"))
    for number in range(4):
        assert (frames / f"{number:05d}.jpg").read_bytes() == (tmp_path / "bird" / f"{number:05d}.jpg").read_bytes()
        with Image.open(masks / f"{number:05d}.png") as image:
            assert image.mode == "P"
            assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]


def test_frames_of_other_kinds_are_encoded_well(tmp_path):
    pictures = [np.full((33, 47, 3), (200, 60 + number, 30), np.uint8) for number in range(3)]
    turned = tmp_path / "turned"
    turned.mkdir()
    for number, picture in enumerate(pictures):
        exif = Image.Exif()
        exif[0x0112] = 6  # phones note that their pictures have to be turned, which data set tools do not look at
        Image.fromarray(np.rot90(picture)).save(turned / f"{number:05d}.jpg", exif=exif, quality=95)
    sources = [
        write_frames(tmp_path / "png", pictures),
        turned,
        write_video(tmp_path / "v.mkv", pictures, codec="ffv1"),
    ]
    for number, source in enumerate(sources):
        folder = write_results(tmp_path / f"masks{number}", moving_masks(3, (33, 47)), source)
        export_masks(folder, to="davis", out=tmp_path / f"root{number}")
        files = sorted((tmp_path / f"root{number}" / "JPEGImages" / "480p").rglob("*.jpg"))
        assert len(files) == 3
        for file, read in zip(files, open_video(source), strict=True):
            with Image.open(file) as image:
                assert image.getexif().get(0x0112, 1) == 1
                assert np.abs(np.array(image).astype(int) - read.image).max() <= 3


def test_names_that_sort_wrong_become_numbers(tmp_path):
    source = write_frames(tmp_path / "frames", clip(11), [f"f{number}.png" for number in range(11)])
    folder = write_results(tmp_path / "masks", moving_masks(11), source, names=[f"f{number}" for number in range(11)])
    export_masks(folder, to="youtube-vos", out=tmp_path / "root")
    files = sorted((tmp_path / "root" / "train" / "Annotations" / "frames").iterdir())
    assert [file.stem for file in files] == [f"{number:05d}" for number in range(11)]


def test_meta_says_where_objects_appear(tmp_path):
    masks = moving_masks(4)
    masks[0][masks[0] == 2] = masks[3][masks[3] == 1] = 0
    folder = write_results(tmp_path / "masks", masks, jpeg_frames(tmp_path / "bird", clip(4)))
    export_masks(folder, to="youtube-vos", out=tmp_path / "root", labels={2: "wing"})
    assert json.loads((tmp_path / "root" / "train" / "meta.json").read_text()) == {
        "videos": {
            "bird": {
                "objects": {
                    "1": {"category": "object 1", "frames": ["00000", "00001", "00002"]},
                    "2": {"category": "wing", "frames": ["00001", "00002", "00003"]},
                }
            }
        }
    }


@pytest.mark.parametrize("kind", ["davis", "youtube-vos"])
def test_videos_are_added_to_a_root(bird, tmp_path, kind):
    other = write_results(tmp_path / "m2", moving_masks(3), write_frames(tmp_path / "frames", clip(3)))
    for folder, name in ((bird, None), (other, "owl"), (other, "wren")):
        export_masks(folder, to=kind, out=tmp_path / "root", add=True, name=name)
    root = tmp_path / "root"
    videos = DavisVideos(root, image_set="2017/train") if kind == "davis" else YouTubeVosVideos(root)
    assert sorted(video.name for video in videos.videos) == ["bird", "owl", "wren"]
    assert sorted(len(video.frames) for video in videos.videos) == [3, 3, 4]
    for number, video in enumerate(videos.videos):
        for frame in range(len(video.frames)):
            np.testing.assert_array_equal(videos.read_mask(number, frame), moving_masks(4)[frame])
    assert not list(tmp_path.rglob(".*"))


def content(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["davis", "youtube-vos"])
def test_a_video_of_this_name_stays(bird, tmp_path, kind):
    export_masks(bird, to=kind, out=tmp_path / "root")
    before = content(tmp_path / "root")
    with pytest.raises(OutputExistsError, match=r"has a video 'bird'.*--name"):
        export_masks(bird, to=kind, out=tmp_path / "root", add=True)
    with pytest.raises(OutputExistsError, match="never replaced"):
        export_masks(bird, to=kind, out=tmp_path / "root", name="owl")
    assert content(tmp_path / "root") == before


@pytest.mark.parametrize("meta", ["", "[]", '{"videos": []}', "{}", None])
def test_a_root_of_another_kind_stays(bird, tmp_path, meta):
    root = tmp_path / "root"
    export_masks(bird, to="youtube-vos", out=root)
    (root / "train" / "meta.json").unlink()
    if meta is not None:
        (root / "train" / "meta.json").write_text(meta)
    before = content(root)
    with pytest.raises(OutputExistsError, match=r"meta\.json` is not a list of videos"):
        export_masks(bird, to="youtube-vos", out=root, add=True, name="owl")
    with pytest.raises(OutputExistsError, match="has no folder `JPEGImages/480p`"):
        export_masks(bird, to="davis", out=root, add=True)
    assert content(root) == before


def test_an_addition_that_fails_leaves_the_root_as_it_was(bird, tmp_path, monkeypatch):
    root = tmp_path / "root"
    export_masks(bird, to="davis", out=root)
    before = content(root)

    def fail(staged, root):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DavisExporter, "_list", fail)
    with pytest.raises(OSError, match="No space left"):
        export_masks(bird, to="davis", out=root, add=True, name="owl")
    assert content(root) == before
    assert sorted(path.name for path in (root / "JPEGImages" / "480p").iterdir()) == ["bird"]


def test_formats_of_one_video_take_no_other(bird, tmp_path):
    with pytest.raises(ConfigError, match=r"Format npz holds one video.*are davis, youtube-vos"):
        export_masks(bird, to="npz", out=tmp_path / "a.npz", add=True)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", ".hidden", "a\\b"])
def test_a_name_that_leads_elsewhere(bird, tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be called"):
        export_masks(bird, to="davis", out=tmp_path / "root", name=name)
