"""The tables of the analysis on results made by hand."""

import numpy as np
import pandas as pd
import pytest

from analysis.paper import paper_tables
from analysis.recovery import Study, beside_paper, matrix, ordered, recovery
from analysis.results import Results
from tests.by_hand import SCORES, results


def row(table: pd.DataFrame, condition: str) -> pd.Series:
    found = table[table["condition"] == condition]
    assert len(found) == 1
    return found.iloc[0]


def test_points_and_ratios_come_out_as_worked_by_hand() -> None:
    at_5 = row(recovery(Study(results(SCORES))), "jpeg-5")
    assert at_5["baseline"] == pytest.approx(0.31)
    assert at_5["total"] == pytest.approx(0.21)
    assert at_5["longer_training"] == pytest.approx(0.06)
    assert at_5["compression"] == pytest.approx(0.15)
    assert at_5["attributable_gap_closed_clean"] == pytest.approx(0.15 / 0.30)
    assert at_5["gap_closed_clean"] == pytest.approx(0.21 / 0.30)
    assert at_5["gap_closed_mildest"] == pytest.approx(0.21 / 0.28)
    assert at_5["share_of_score"] == pytest.approx(0.21 / 0.52)
    assert at_5["clean_cost"] == pytest.approx(-0.04)


def test_total_is_longer_training_plus_compression_in_every_row() -> None:
    table = recovery(Study(results(SCORES)))
    assert np.allclose(table["total"], table["longer_training"] + table["compression"])


def test_seeds_spread_is_the_sample_deviation() -> None:
    assert row(recovery(Study(results(SCORES))), "jpeg-5")["retrained_sd"] == pytest.approx(np.std([0.51, 0.53], ddof=1))


def test_matched_is_the_training_level_alone_and_seen_says_what_occurred() -> None:
    table = recovery(Study(results(SCORES)))
    assert list(table["matched"]) == [False, False, True]
    assert list(table["seen"]) == [False, False, True]


def test_a_gap_that_noise_hides_is_flagged_and_its_ratio_left_out() -> None:
    at_75 = row(recovery(Study(results(SCORES, noise=0.05))), "jpeg-75")
    assert at_75["gap_closed_clean_too_small"]
    assert np.isnan(at_75["gap_closed_clean"])


def test_lower_is_better_turns_every_difference() -> None:
    higher = row(recovery(Study(results(SCORES))), "jpeg-5")
    lower = row(recovery(Study(results(SCORES, mode="min"))), "jpeg-5")
    assert lower["compression"] == pytest.approx(-higher["compression"])
    assert lower["gap_closed_clean"] == pytest.approx(higher["gap_closed_clean"])


def test_one_seed_gives_these_networks_and_several_this_recipe() -> None:
    one = {recipe: seeds[:1] for recipe, seeds in SCORES.items()}
    assert set(recovery(Study(results(one)))["interval"]) == {"these networks"}
    assert set(recovery(Study(results(SCORES)))["interval"]) == {"this recipe"}


def test_holm_is_over_the_coded_conditions_of_the_primary_metric() -> None:
    table = recovery(Study(results(SCORES)))
    assert np.isnan(row(table, "clean")["p_holm"])
    assert row(table, "jpeg-5")["p_holm"] >= row(table, "jpeg-5")["p"]


def test_a_seed_whose_control_is_not_finished_is_left_out() -> None:
    made = results(SCORES)
    kept = Results(
        study=made.study,
        trials=made.trials.drop("continued-1"),
        scores=made.scores[made.scores["trial"] != "continued-1"],
    )
    assert set(recovery(Study(kept))["seeds"]) == {1}


def test_without_a_whole_contrast_the_table_is_empty_and_has_its_columns() -> None:
    empty = recovery(Study(results({"baseline": SCORES["baseline"]})))
    assert empty.empty
    assert list(empty.columns) == list(recovery(Study(results(SCORES))).columns)
    assert empty[empty["primary"] & empty["matched"]].empty


def test_no_figure_is_left_out_of_the_tables_columns() -> None:
    table = recovery(Study(results(SCORES)))
    assert not table.loc[table["level"] == 5].isna().all().any()


def test_the_matrix_has_every_cell_under_every_condition() -> None:
    table = matrix(Study(results(SCORES)))
    assert len(table) == 3 * 3
    assert set(table["seeds"]) == {2}


def test_only_the_newest_setup_of_a_cell_is_reported() -> None:
    made = results(SCORES)
    older = made.trials.loc[["constant-5-0"]].rename(index={"constant-5-0": "older"}).assign(setup="other", ended=0)
    scores = made.scores[made.scores["trial"] == "constant-5-0"].assign(trial="older", value=0.0)
    both = Results(study="hand", trials=pd.concat([older, made.trials]), scores=pd.concat([scores, made.scores]))
    assert row(recovery(Study(both)), "jpeg-5")["retrained"] == pytest.approx(0.52)


def test_the_papers_table_stands_beside_ours_level_by_level() -> None:
    table = beside_paper(Study(results(SCORES)), paper_tables())
    at_5 = table[(table["metric"] == "miou") & (table["level"] == 5)].iloc[0]
    assert (at_5["table"], at_5["paper_baseline"], at_5["paper_retrained"]) == ("I", 0.265, 0.374)
    assert at_5["retrained"] == pytest.approx(0.52)
    at_75 = table[(table["metric"] == "miou") & (table["level"] == 75)].iloc[0]
    assert at_75["retrained_at_this_level"] == "not in this study"


def of_action(streams: str) -> Results:
    """The results by hand as a fusion's, under H.264."""
    made = results(SCORES)
    made.trials["architecture"], made.trials["task"], made.trials["metric"] = "two_stream", "action", "top1"
    made.trials["codec"] = made.trials["codec"].replace("jpeg", "h264")
    made.trials["ladder"] = pd.Series([{"h264": [23, 50]}] * len(made.trials), made.trials.index)
    made.trials["training_levels"] = [[50] if levels == [5] else levels for levels in made.trials["training_levels"]]
    made.trials["streams"] = streams
    made.scores["codec"] = made.scores["codec"].replace("jpeg", "h264")
    made.scores["level"] = made.scores["level"].replace({75: 23, 5: 50})
    made.scores["metric"] = "top1"
    return made


def test_the_papers_percentages_stand_beside_ours_as_fractions() -> None:
    table = beside_paper(Study(of_action("spatial")), paper_tables())
    assert set(table["metric"]) == {"top1_fusion"}
    assert table["paper_baseline"].tolist() == pytest.approx([0.83549, 0.41478], abs=1e-5)
    at_50 = table.iloc[-1]
    assert (at_50["streams"], at_50["retrained"]) == ("spatial", pytest.approx(0.52))


def test_networks_are_ordered_by_how_they_were_made() -> None:
    shuffled = dict.fromkeys(("uniform", "constant-5", "continued", "baseline"), SCORES["constant-5"])
    table = ordered(matrix(Study(results(shuffled))))
    assert list(dict.fromkeys(table["recipe"])) == ["baseline", "continued", "constant-5", "uniform"]
