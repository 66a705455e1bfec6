"""The paper's tables and the figures that its text quotes; expected values are read from the paper or computed by hand."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from analysis.paper.__main__ import main
from analysis.paper.quotes import QUOTES, Checked, Quote, Relation, check
from analysis.paper.tables import COCO_KILOBYTES, LevelCell, level_cells, paper_series, paper_tables

COLUMNS = ["table", "task", "architecture", "dataset", "metric", "better", "codec", "level", "condition", "value"]


def _cell(metric: str, level: int) -> LevelCell:
    return next(c for c in level_cells(paper_series()) if (c.series.metric, c.level) == (metric, level))


def _checked(words: str) -> Checked:
    """The only quote that contains the words, checked."""
    (quote,) = (q for q in QUOTES if words in q.words)
    return check(quote, paper_series())


# --- the tables -------------------------------------------------------------------------------------------------------


def test_the_tables_have_126_rows_and_the_documented_columns() -> None:
    tables = paper_tables()
    assert list(tables.columns) == COLUMNS
    assert len(tables) == 126
    assert tables["value"].notna().all()


@pytest.mark.parametrize(
    ("table", "metric", "level", "value"),
    [
        ("IA", "global_accuracy", 5, 0.782),
        ("IB", "miou", 15, 0.420),
        ("IIA", "rmse", 5, 0.0749),
        ("IIB", "sq_rel", 50, 0.0029),
        ("IIIA", "map", 15, 0.545),
        ("IVB", "oks_map", 5, 0.454),
        ("VA", "top1_motion", 25, 44.9225),
        ("VB", "top1_fusion", 50, 56.2279),
    ],
)
def test_a_figure_is_as_printed(table: str, metric: str, level: int, value: float) -> None:
    tables = paper_tables()
    rows = tables[(tables["table"] == table) & (tables["metric"] == metric) & (tables["level"] == level)]
    assert rows["value"].tolist() == [value]


def test_tables_a_are_pretrained_and_tables_b_retrained() -> None:
    tables = paper_tables()
    assert (tables["condition"] == tables["table"].str[-1].map({"A": "pretrained", "B": "retrained"})).all()


def test_each_ladder_starts_at_the_mildest_level_which_was_not_retrained() -> None:
    for series in paper_series().values():
        assert list(series.levels) == sorted(series.levels, reverse=series.codec == "jpeg")
        assert series.mildest == {"jpeg": 95, "h264": 23}[series.codec]
        assert series.retrained[series.mildest] == series.reference


def test_trailing_zeros_count_as_printed_digits() -> None:
    decimals = {metric: series.decimals for metric, series in paper_series().items()}
    assert decimals == {
        **dict.fromkeys(("global_accuracy", "mean_class_accuracy", "miou", "map", "oks_map"), 3),
        **dict.fromkeys(("abs_rel", "sq_rel", "rmse", "top1_spatial", "top1_motion", "top1_fusion"), 4),
    }


# --- cells ------------------------------------------------------------------------------------------------------------


def test_63_pairs_of_figures_less_11_references_are_52_cells() -> None:
    series = paper_series().values()
    assert sum(len(s.levels) for s in series) == 63
    assert len(series) == 11
    assert len(level_cells(paper_series())) == 52


def test_the_cell_of_pose_at_jpeg_5_by_three_definitions() -> None:
    cell = _cell("oks_map", 5)
    assert cell.points == pytest.approx(0.356)
    assert round(100 * cell.gap_closed, 1) == 58.1
    assert round(100 * cell.share_of_score, 1) == 78.4


def test_an_error_metric_gains_when_it_falls() -> None:
    cell = _cell("rmse", 5)
    assert cell.points == pytest.approx(0.0150)
    assert cell.gap_closed == pytest.approx(150 / 161)
    assert cell.share_of_score == pytest.approx(150 / 599)


def test_the_range_by_rounding_agrees_with_a_hand_calculation() -> None:
    # mAP at 75: R 0.694, B 0.686, reference 0.703, each +- 0.0005; the extremes are at corners
    cell = _cell("map", 75)
    corners = [
        (0.694 + r - 0.686 - b) / (0.703 + f - 0.686 - b)
        for r in (-0.0005, 0.0005)
        for b in (-0.0005, 0.0005)
        for f in (-0.0005, 0.0005)
    ]
    assert (cell.gap_low, cell.gap_high) == pytest.approx((min(corners), max(corners)))
    assert (cell.gap_low, cell.gap_high) == pytest.approx((7 / 17, 9 / 17))


def test_a_gap_of_one_unit_in_the_last_place_is_too_small() -> None:
    flagged = [(c.series.metric, c.level) for c in level_cells(paper_series()) if c.gap_too_small]
    assert flagged == [("sq_rel", 75), ("sq_rel", 50), ("sq_rel", 15), ("rmse", 75), ("rmse", 50)]


def test_where_the_gap_is_too_small_there_are_points_but_no_gap_closed() -> None:
    cell = _cell("rmse", 75)
    assert cell.points == pytest.approx(0.0029)
    assert math.isnan(cell.gap_closed)
    assert math.isnan(cell.gap_low)


# --- quotes -----------------------------------------------------------------------------------------------------------


def test_78_4_percent_is_the_largest_share_of_score_not_a_gap_closed() -> None:
    best = max(level_cells(paper_series()), key=lambda cell: cell.share_of_score)
    assert (best.series.task, best.level) == ("pose", 5)
    found = _checked("78.4%")
    assert found.verdict == "yes"
    assert found.value == pytest.approx((0.454 - 0.098) / 0.454)
    assert "58.1 %" in found.note


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("reduce by 14%", (0.911 - 0.782) / 0.911),
        ("reduced to 3.5%", (0.911 - 0.879) / 0.911),
        ("more than 1.9%", (0.0599 - 0.0588) / 0.0588),
        ("as much as 20%", (0.0749 - 0.0599) / 0.0749),
        ("22.5% drop", (0.703 - 0.545) / 0.703),
        ("73.4%", (0.703 - 0.187) / 0.703),
        ("only 10.8%", (0.703 - 0.627) / 0.703),
        ("falling by 41.9%", (0.711 - 0.413) / 0.711),
        ("under 0.0600", 0.0599),
        ("above 0.6", 0.627),
        ("exceeds 10%", 15),
        ("delayed from", 5),
    ],
)
def test_a_quoted_figure_follows_from_the_tables(words: str, value: float) -> None:
    found = _checked(words)
    assert found.value == pytest.approx(value)
    assert found.verdict == "yes"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("five higher levels", 4),  # the H.264 tables have four beyond CRF 23
        ("(CRF) of 40", 0),  # fusion falls by 5.0 points per unit of CRF from 23 to 25, by 2.9 from 40 to 50
        ("CRF factor 50", 1),  # motion too (12.6, 2.4); only the spatial stream falls most at 50
        ("across all domains", 4),  # retrained fusion loses 14.1 % at CRF 25 already
    ],
)
def test_a_quoted_figure_does_not_follow_from_the_tables(words: str, value: float) -> None:
    found = _checked(words)
    assert found.value == value
    assert found.verdict == "no"


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("95% less storage", 1 - 9.3 / 160.9),
        ("10-fold", 160.9 / 13.9),
        ("reach as high as 85%", 1 - 18.0 / 160.9),
        ("twentieth", 160.9 / 9.3),
    ],
)
def test_storage_figures_are_computed_from_measured_sizes_not_from_the_tables(words: str, value: float) -> None:
    found = _checked(words)
    assert found.value == pytest.approx(value)
    assert (found.verdict, found.agrees) == ("not from the tables", False)


def test_figures_of_other_papers_have_no_value() -> None:
    others = [check(q, paper_series()) for q in QUOTES if q.section == "II"]
    assert len(others) == 4
    assert {(o.value, o.verdict) for o in others} == {(None, "not from the tables")}


def test_a_verdict_is_computed_from_the_tables() -> None:
    quote = next(q for q in QUOTES if "14%" in q.words)
    paper = paper_series()
    assert check(replace(quote, claimed="14.1 %"), paper).verdict == "no"
    assert check(replace(quote, claimed="14.2 %"), paper).verdict == "yes"
    changed = {**paper, "global_accuracy": replace(paper["global_accuracy"], pretrained={95: 0.911, 5: 0.8})}
    assert check(quote, changed).verdict == "no"


@pytest.mark.parametrize(("relation", "verdict"), [("below", "no"), ("at most", "yes"), ("above", "no")])
def test_equality_counts_as_at_most_but_not_as_below_or_above(relation: Relation, verdict: str) -> None:
    quote = Quote(section="", words="", formula="", claimed="0.06", relation=relation, value=lambda _: 0.06)
    assert check(quote, paper_series()).verdict == verdict


def test_file_sizes_fall_with_quality() -> None:
    assert list(COCO_KILOBYTES.values()) == sorted(COCO_KILOBYTES.values(), reverse=True)


# --- output -----------------------------------------------------------------------------------------------------------


def test_the_text_has_a_line_per_cell_fits_120_columns_and_ends_with_the_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 120
    assert len([line for line in lines if re.match(r" +\d+ +\d", line)]) == 52
    assert sum("gap too small" in line for line in lines) == 5
    assert lines[-1].startswith("36 figures: 23 follow from the tables, 4 do not, 9 have other sources")


def test_the_json_is_valid_and_uses_the_terms_of_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1
    assert told["reference"] == "mildest"
    assert len(told["cells"]) == 52
    words = {"task", "architecture", "metric", "mode", "codec", "level", "baseline", "retrained", "reference"}
    assert words | {"points", "gap_closed", "gap_too_small", "share_of_score"} <= set(told["cells"][0])
    assert [cell["gap_closed"] for cell in told["cells"] if cell["gap_too_small"]] == [None] * 5
    assert sum(told["counts"].values()) == len(told["quotes"]) == len(QUOTES)
