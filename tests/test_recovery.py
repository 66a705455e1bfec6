"""The tables of the analysis on hand-made results."""

import numpy as np
import pandas as pd
import pytest

from analysis.paper import paper_tables
from analysis.recovery import Study, beside_paper, matrix, ordered, recovery
from analysis.results import Results
from analysis.words import dropped
from tests.by_hand import LADDER, OTHER_LADDER, OTHER_SCORES, SCORES, results


def row(table: pd.DataFrame, condition: str) -> pd.Series:
    found = table[table["condition"] == condition]
    assert len(found) == 1
    return found.iloc[0]


def test_points_and_ratios_agree_with_a_hand_calculation() -> None:
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


def test_the_spread_over_seeds_is_the_sample_standard_deviation() -> None:
    assert row(recovery(Study(results(SCORES))), "jpeg-5")["retrained_sd"] == pytest.approx(np.std([0.51, 0.53], ddof=1))


def test_matched_marks_the_only_training_level_and_seen_every_training_level() -> None:
    table = recovery(Study(results(SCORES)))
    assert list(table["matched"]) == [False, False, True]
    assert list(table["seen"]) == [False, False, True]


def test_a_gap_hidden_by_noise_is_flagged_and_its_ratio_is_nan() -> None:
    at_75 = row(recovery(Study(results(SCORES, noise=0.05))), "jpeg-75")
    assert at_75["gap_closed_clean_too_small"]
    assert np.isnan(at_75["gap_closed_clean"])


def test_where_lower_is_better_every_difference_changes_sign() -> None:
    higher = row(recovery(Study(results(SCORES))), "jpeg-5")
    lower = row(recovery(Study(results(SCORES, mode="min"))), "jpeg-5")
    assert lower["compression"] == pytest.approx(-higher["compression"])
    assert lower["gap_closed_clean"] == pytest.approx(higher["gap_closed_clean"])


def test_one_seed_gives_these_networks_and_several_give_this_recipe() -> None:
    one = {recipe: seeds[:1] for recipe, seeds in SCORES.items()}
    assert set(recovery(Study(results(one)))["interval"]) == {"these networks"}
    assert set(recovery(Study(results(SCORES)))["interval"]) == {"this recipe"}


def test_holm_adjusts_over_the_coded_conditions_of_the_primary_metric() -> None:
    table = recovery(Study(results(SCORES)))
    assert np.isnan(row(table, "clean")["p_holm"])
    assert row(table, "jpeg-5")["p_holm"] >= row(table, "jpeg-5")["p"]


def test_a_seed_without_a_finished_control_is_left_out() -> None:
    made = results(SCORES)
    kept = Results(
        study=made.study,
        trials=made.trials.drop("continued-1"),
        scores=made.scores[made.scores["trial"] != "continued-1"],
    )
    assert set(recovery(Study(kept))["seeds"]) == {1}


def test_without_a_complete_contrast_the_table_is_empty_but_has_its_columns() -> None:
    empty = recovery(Study(results({"baseline": SCORES["baseline"]})))
    assert empty.empty
    assert list(empty.columns) == list(recovery(Study(results(SCORES))).columns)
    assert empty[empty["primary"] & empty["matched"]].empty


def test_every_column_of_the_table_is_filled() -> None:
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


def test_the_papers_table_is_shown_beside_ours_per_level() -> None:
    table = beside_paper(Study(results(SCORES)), paper_tables())
    at_5 = table[(table["metric"] == "miou") & (table["level"] == 5)].iloc[0]
    assert (at_5["table"], at_5["paper_baseline"], at_5["paper_retrained"]) == ("I", 0.265, 0.374)
    assert at_5["retrained"] == pytest.approx(0.52)
    at_75 = table[(table["metric"] == "miou") & (table["level"] == 75)].iloc[0]
    assert at_75["retrained_at_this_level"] == "not in this study"


def of_action(streams: str) -> Results:
    """The hand-made results as those of a fusion under H.264."""
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


def test_the_papers_percentages_are_shown_as_fractions() -> None:
    table = beside_paper(Study(of_action("spatial")), paper_tables())
    assert set(table["metric"]) == {"top1_fusion"}
    assert table["paper_baseline"].tolist() == pytest.approx([0.83549, 0.41478], abs=1e-5)
    at_50 = table.iloc[-1]
    assert (at_50["streams"], at_50["retrained"]) == ("spatial", pytest.approx(0.52))


def test_networks_are_ordered_by_role_and_training_levels() -> None:
    shuffled = dict.fromkeys(("uniform", "constant-5", "continued", "baseline"), SCORES["constant-5"])
    table = ordered(matrix(Study(results(shuffled))))
    assert list(dict.fromkeys(table["recipe"])) == ["baseline", "continued", "constant-5", "uniform"]


def test_a_study_on_another_ladder_reports_that_ladder() -> None:
    study = Study(results(OTHER_SCORES, ladder=OTHER_LADDER))
    table = recovery(study)
    uniform = table[table["recipe"] == "uniform"]
    assert list(uniform["condition"]) == ["clean", "jpeg-90", "jpeg-60", "jpeg-30"]
    assert list(dict.fromkeys(matrix(study)["condition"])) == list(uniform["condition"])
    assert list(table.loc[table["matched"], "condition"]) == ["jpeg-30"]
    assert list(table.loc[table["seen"], "condition"]) == ["jpeg-30", "jpeg-90", "jpeg-60", "jpeg-30"]
    assert beside_paper(study, paper_tables()).empty


def test_the_mildest_reference_is_the_first_level_of_the_ladder() -> None:
    table = recovery(Study(results(OTHER_SCORES, ladder=OTHER_LADDER)))
    at_30 = table[table["matched"]].iloc[0]
    assert at_30["gap_closed_mildest"] == pytest.approx(0.21 / (0.59 - 0.31))
    assert at_30["attributable_gap_closed_mildest"] == pytest.approx(0.15 / (0.65 - 0.37))


def test_scores_off_the_ladder_are_not_reported() -> None:
    made = results(OTHER_SCORES, ladder=OTHER_LADDER)
    trials = made.trials.assign(ladder=made.trials["ladder"].map(lambda _: {"jpeg": [90, 30]}))
    study = Study(Results(study="hand", trials=trials, scores=made.scores))
    assert set(recovery(study)["level"]) == {0, 90, 30}
    assert set(matrix(study)["level"]) == {0, 90, 30}


def test_levels_are_in_the_order_of_the_ladder_whatever_the_order_of_the_scores() -> None:
    made = results(SCORES)
    reversed_scores = Results(study="hand", trials=made.trials, scores=made.scores.iloc[::-1])
    table = matrix(Study(reversed_scores))
    assert list(dict.fromkeys(table["condition"])) == ["clean", *(f"jpeg-{level}" for level in LADDER)]
    pd.testing.assert_frame_equal(recovery(Study(reversed_scores)), recovery(Study(made)))


def test_after_a_change_of_the_ladder_only_trials_on_the_newest_ladder_are_reported() -> None:
    old, new = results(SCORES), results(OTHER_SCORES, ladder=OTHER_LADDER)
    old_trials = old.trials.assign(
        control=[control and f"old-{control}" for control in old.trials["control"]],
        baseline=[baseline and f"old-{baseline}" for baseline in old.trials["baseline"]],
        ended=0,
    )
    both = Results(
        study="hand",
        trials=pd.concat([old_trials.rename(index=lambda key: f"old-{key}"), new.trials]),
        scores=pd.concat([old.scores.assign(trial="old-" + old.scores["trial"]), new.scores]),
    )
    pd.testing.assert_frame_equal(recovery(Study(both)), recovery(Study(new)))
    pd.testing.assert_frame_equal(matrix(Study(both)), matrix(Study(new)))


def test_a_seed_that_was_tested_on_an_older_ladder_is_left_out() -> None:
    made = results(OTHER_SCORES, ladder=OTHER_LADDER)
    trials = made.trials.assign(
        ladder=made.trials["seed"].map({0: {"jpeg": list(OTHER_LADDER)}, 1: {"jpeg": list(LADDER)}}),
        ended=-made.trials["seed"],
    )
    assert set(recovery(Study(Results(study="hand", trials=trials, scores=made.scores)))["seeds"]) == {1}


def test_resamples_without_a_value_are_counted_in_the_rows_whose_intervals_leave_them_out() -> None:
    whole, made = recovery(Study(results(SCORES))), results(SCORES)
    assert set(whole["dropped"]) == {0}
    at_5 = made.scores.index[(made.scores["trial"] == "constant-5-1") & (made.scores["level"] == 5)]
    made.scores.loc[at_5[0], "replicates"][[3, 8]] = np.nan
    table = recovery(Study(made))
    assert table.set_index("condition")["dropped"].to_dict() == {"clean": 0, "jpeg-75": 0, "jpeg-5": 2}
    assert table["compression"].tolist() == whole["compression"].tolist()
    assert np.isfinite(table["compression_low"]).all()
    assert dropped(table) == "Intervals leave out up to 2 bootstrap resamples without ground truth to score (miou)."
    assert dropped(whole) == ""
