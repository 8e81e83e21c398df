import pytest

from testing.data_roots import davis_root, youtube_vos_root
from vos_zoo.errors import DataError, EvaluationError, MissingFileError
from vos_zoo.reproduction.tables import find_table
from vos_zoo.reproduction.videos import find_videos

DAVIS = find_table("rde.table5").rows[0].data
YOUTUBE_VOS = find_table("rde.table4").rows[0].data


def test_a_davis_root_has_the_videos_of_the_papers_list(tmp_path, small_clip):
    root = davis_root(tmp_path, small_clip)
    (root / "ImageSets" / "2017" / "val.txt").write_text("two\n")
    found = find_videos(root, DAVIS)
    assert [video.name for video in found.videos] == ["two"]
    assert found.videos[0].frames == root / "JPEGImages" / "480p" / "two"
    assert (found.name, found.is_papers, found.meta) == ("val", True, None)


@pytest.mark.parametrize("listed", ["dev", "2017/dev", "names.txt"])
def test_other_videos_are_not_the_papers(tmp_path, small_clip, listed, monkeypatch):
    root = davis_root(tmp_path, small_clip, lists=("2017/dev",))
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    monkeypatch.chdir(tmp_path)
    found = find_videos(root, DAVIS, listed)
    assert [video.name for video in found.videos] == ["one", "two"]
    assert not found.is_papers


def test_a_table_of_youtube_vos_runs_on_a_davis_root_too(tmp_path, small_clip):
    found = find_videos(davis_root(tmp_path, small_clip), YOUTUBE_VOS, "val")
    assert len(found.videos) == 2


def test_a_missing_list_names_those_that_exist(tmp_path, small_clip):
    root = davis_root(tmp_path, small_clip, lists=("2017/dev", "2016/val"))
    with pytest.raises(DataError, match=r"lacks ImageSets/2017/val\.txt.*2016/val, 2017/dev.*`--set`"):
        find_videos(root, DAVIS)
    with pytest.raises(EvaluationError, match="no sequence list `test`"):
        find_videos(root, DAVIS, "test")


def test_a_youtube_vos_root_has_splits(tmp_path, small_clip):
    root = youtube_vos_root(tmp_path, small_clip)
    found = find_videos(root, YOUTUBE_VOS)
    assert [video.name for video in found.videos] == ["one"]
    assert (found.name, found.is_papers) == ("valid", True)
    assert found.meta == root / "valid" / "meta.json"
    assert found.seen == root / "train" / "meta.json"
    train = find_videos(root, YOUTUBE_VOS, "train")
    assert (train.name, train.is_papers, train.seen) == ("train", False, None)


def test_part_of_a_split_is_named_by_a_file(tmp_path, small_clip):
    root = youtube_vos_root(tmp_path, small_clip)
    (tmp_path / "fifth.txt").write_text("one\n")
    data = find_table("hs2s.table3").rows[0].data
    found = find_videos(root, data, tmp_path / "fifth.txt")
    assert (found.name, found.annotations) == ("fifth", root / "train" / "Annotations")
    assert not find_videos(root, data).is_papers  # all of train is not the paper's fifth


def test_what_is_missing_is_named(tmp_path, small_clip):
    with pytest.raises(MissingFileError, match="no data root"):
        find_videos(tmp_path / "none", DAVIS)
    with pytest.raises(DataError, match="Expected a DAVIS root"):
        find_videos(tmp_path, DAVIS)
    root = davis_root(tmp_path, small_clip)
    (root / "ImageSets" / "2017" / "val.txt").write_text("one\nthree\n")
    with pytest.raises(DataError, match=r"JPEGImages/480p/three.*val lists the video 'three'"):
        find_videos(root, DAVIS)
