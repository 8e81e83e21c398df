import json

import pytest
from PIL import Image

from vos_zoo.reproduction.long_video import LongVideoPoint
from vos_zoo.reproduction.results import LongVideoResult, LongVideoRow, RowResult, TableResult
from vos_zoo.reproduction.tables import find_table


def table_result(**options):
    table = find_table("tsn.table5")
    values = {"J&F": 80.04, "J seen": 79.0, "J unseen": 81.0, "frames/s": 2.345}
    rows = (
        RowResult(table.rows[0], "measured", "tsn.small", values),
        RowResult(table.rows[1], "no weight", note="no weight of tsn is published"),
        RowResult(table.rows[2], "unscored", "mine", {"frames/s": 12.0}, masks="out/equal/masks"),
    )
    settings = {"measured_on": "2 videos of the list dev", "device": "a CPU", "is_papers_data": False}
    return TableResult(table, rows, **{**settings, **options})


def test_ours_the_papers_and_the_difference():
    result = table_result(is_papers_data=True)
    row = result.rows[0]
    assert result.difference(row, "J&F") == pytest.approx(-3.76)
    assert result.difference(row, "frames/s") == pytest.approx(2.345 - 17.2)
    assert result.difference(result.rows[1], "J&F") is None
    assert result.difference(result.rows[2], "J&F") is None


def test_other_videos_have_no_difference_to_the_papers(tmp_path):
    result = table_result(is_papers_data=False)
    assert result.difference(result.rows[0], "J&F") is None
    assert "difference " not in result.text()
    assert "no differences are shown" in result.text()
    assert "diff." not in result.markdown()
    result.to_json(tmp_path / "table.json")
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {value for row in rows for value in row["difference"].values()} == {None}


def test_the_text_has_three_lines_per_row():
    text = table_result(is_papers_data=True).text()
    lines = [line.split() for line in text.splitlines()]
    assert ["weight", "J&F", "J", "seen", "J", "unseen", "frames/s"] in lines
    assert ["Fused", "by", "the", "routing", "map", "tsn.small", "80.0", "79.0", "81.0", "2.35"] in lines
    assert ["paper", "83.8", "82.8", "78.4", "17.2"] in lines
    assert ["difference", "-3.8", "-3.8", "+2.6", "-14.9"] in lines
    assert "Our speed is that of a CPU." in text
    recipes = "--config tsn/2-main --config tsn/ablations/pixel_only"
    assert f"lightning fit {recipes} --data.root ROOT" in text
    assert "--weights pixel=FOLDER" in text
    assert "server has to score" in text
    assert "out/equal/masks" in text


def test_the_paper_s_own_videos_need_no_warning():
    assert "are not the paper's" not in table_result(is_papers_data=True).text()


def test_markdown_has_three_columns_per_measure():
    lines = table_result(is_papers_data=True).markdown().splitlines()
    assert lines[0].startswith("# tsn.table5: ")
    row = next(line for line in lines if line.startswith("| Fused"))
    assert row == (
        "| Fused by the routing map | `tsn.small` | 80.0 | 83.8 | -3.8 | 79.0 | 82.8 | -3.8 | 81.0 | 78.4 | +2.6 "
        "| 2.35 | 17.2 | -14.9 |"
    )
    head = next(line for line in lines if "weight" in line)
    assert head.count("|") == row.count("|")


def test_markdown_keeps_signs():
    table = find_table("hs2s.table4")
    rows = tuple(RowResult(row, "measured", "w", {"J&F": 1.0}) for row in table.rows)
    markdown = TableResult(table, rows, "x", "", is_papers_data=True).markdown()
    assert "S2S\\*" in markdown
    assert "J&F area\\<=0" in markdown


def test_j_and_f_stands_in_where_no_score_of_the_table_exists():
    table = find_table("rde.table4")
    bare = RowResult(table.rows[0], "measured", "rde.small", {"J&F": 70.0, "frames/s": 3.0})
    assert TableResult(table, (bare,), "x", "", is_papers_data=False).measures[-1] == "J&F"
    scored = RowResult(table.rows[1], "measured", "rde.small", {"J&F": 70.0, "G": 70.0})
    assert TableResult(table, (bare, scored), "x", "", is_papers_data=False).measures == table.measures


def test_json_holds_everything(tmp_path):
    table_result(is_papers_data=True).to_json(tmp_path / "table.json")
    content = json.loads((tmp_path / "table.json").read_text())
    assert [row["status"] for row in content["rows"]] == ["measured", "no weight", "unscored"]
    assert content["rows"][0]["measured"]["J&F"] == 80.04
    assert content["rows"][0]["paper"]["J&F"] == 83.8
    assert content["rows"][0]["difference"]["J&F"] == pytest.approx(-3.76)
    assert content["rows"][1]["measured"] is None


def colours(path):
    image = Image.open(path).convert("RGB")
    return (image.height, image.width), {colour for _, colour in image.getcolors(maxcolors=image.width * image.height)}


def test_the_plot_shows_both_numbers(tmp_path):
    assert table_result().plot(tmp_path / "table.png")
    shape, found = colours(tmp_path / "table.png")
    assert shape[0] > 200
    assert {(0, 114, 178), (213, 94, 0)} <= found  # ours and the paper's


def test_nothing_measured_gives_no_plot(tmp_path):
    result = table_result()
    assert not TableResult(result.table, result.rows[1:], "x", "", is_papers_data=True).plot(tmp_path / "table.png")
    assert not (tmp_path / "table.png").exists()


def long_video_result():
    figure = find_table("rde.figure3")
    points = tuple(LongVideoPoint(n, 40 * n, 0.6, 0.7, 5.0 / n, 4.0 / n, n << 20) for n in (1, 10))
    rows = (
        LongVideoRow(figure.rows[0], "rde.small", points),
        LongVideoRow(figure.rows[1], None, (), "no weight of stcn is published"),
    )
    return LongVideoResult(figure, rows, "cows", "a CPU")


def test_long_video_results_are_laid_out(tmp_path):
    result = long_video_result()
    lines = [line.split() for line in result.text().splitlines()]
    assert ["RDE-VOS", "rde.small", "10", "400", "65.0", "60.0", "70.0", "0.50", "0.40", "10.0"] in lines
    assert "no weight of stcn is published. Convert the authors' file" in result.text()
    assert "| RDE-VOS | rde.small | 1 | 40 | 65.0 |" in result.markdown()
    result.to_json(tmp_path / "table.json")
    points = json.loads((tmp_path / "table.json").read_text())["rows"][0]["points"]
    assert [point["j_and_f"] for point in points] == pytest.approx([0.65, 0.65])
    assert result.plot(tmp_path / "table.png")
    assert not LongVideoResult(result.figure, result.rows[1:], "cows", "").plot(tmp_path / "none.png")
