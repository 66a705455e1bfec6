"""The sentences of the report."""

import pandas as pd
import pytest

from analysis.provenance import commands, own_weights, without_credentials
from analysis.recovery import BESIDE, Study, matrix, recovery
from analysis.results import Results
from analysis.words import beside, better, decimals, enough, fall, heaviest, outcome, uneven
from tests.by_hand import SCORES, results

ERRORS = {recipe: [tuple(1 - value for value in seed) for seed in seeds] for recipe, seeds in SCORES.items()}


def rows(made: Results) -> pd.DataFrame:
    return heaviest(recovery(Study(made)))


def said(made: Results) -> str:
    return " ".join(outcome(rows(made).iloc[0]))


def test_a_gain_is_stated_with_its_interval_its_share_and_its_clean_cost() -> None:
    text = said(results(SCORES))
    assert "constant-5, trained at this level: 0.520 at jpeg 5 against the control's 0.370, 0.150 better." in text
    assert "It excludes zero" in text
    assert "constant-5 wins back 50 % of what compression costs the control" in text
    assert "On clean imagery, against the control: 0.040 worse" in text


def test_where_lower_is_better_a_smaller_error_is_better() -> None:
    text = said(results(ERRORS, mode="min"))
    assert "0.480 at jpeg 5 against the control's 0.630, 0.150 better." in text
    assert "On clean imagery, against the control: 0.040 worse" in text
    table = matrix(Study(results(ERRORS, mode="min")))
    assert better(table) == "lower is better"
    assert "The baseline scores 0.390 on clean and 0.690 at jpeg 5, 0.300 worse." in fall(table, "jpeg")


def test_a_difference_hidden_by_noise_is_neither_gain_nor_loss() -> None:
    text = said(results({**SCORES, "constant-5": SCORES["continued"]}, noise=0.05))
    assert "includes zero: neither gain nor loss is shown" in text


def test_a_recalibrated_network_is_compared_with_the_baseline() -> None:
    made = results({**SCORES, "recalibrated-5": SCORES["constant-5"]})
    made.trials.loc[["recalibrated-5-0", "recalibrated-5-1"], "control"] = ["baseline-0", "baseline-1"]
    first = outcome(rows(made).iloc[1])[0]
    assert first == "recalibrated-5, no weights trained: 0.520 at jpeg 5 against the baseline's 0.310, 0.210 better."


def test_one_or_two_seeds_are_called_too_few() -> None:
    one = {recipe: seeds[:1] for recipe, seeds in SCORES.items()}
    assert enough(rows(results(one))).startswith("One seed:")
    assert enough(rows(results(SCORES))).startswith("Two seeds:")


def test_three_seeds_that_agree_suffice() -> None:
    three = {recipe: [*seeds, seeds[0]] for recipe, seeds in SCORES.items()}
    assert enough(rows(results(three))) == "3 seeds suffice to tell the differences at the heaviest level from zero."


def test_without_a_retrained_network_the_report_says_so() -> None:
    assert "only scores can be shown, no recovery" in enough(rows(results({"baseline": SCORES["baseline"]})))


def test_different_numbers_of_seeds_are_reported() -> None:
    made = results({**SCORES, "constant-5": SCORES["constant-5"][:1]})
    assert "2: segnet/clean/baseline, segnet/clean/continued; 1: segnet/jpeg/constant-5" in uneven(matrix(Study(made)))
    assert uneven(matrix(Study(results(SCORES)))) == ""


def from_own_weights(made: Results) -> Results:
    """The same results with a user's own weights as the baseline."""
    baseline = made.trials["recipe"] == "baseline"
    trials = made.trials.assign(
        initial=baseline.map({True: "sha256:0123", False: "none"}), epochs=baseline.map({True: 0, False: 8})
    )
    return Results(study=made.study, trials=trials, scores=made.scores)


def test_own_weights_as_baseline_are_named_by_their_digest() -> None:
    made = results(SCORES)
    assert own_weights(Study(made)) == []
    line = "segnet on streets: the baseline is your own weights sha256:0123; seeds vary only the retraining"
    assert own_weights(Study(from_own_weights(made))) == [line]
    assert own_weights(Study(from_own_weights(results({"baseline": SCORES["baseline"]})))) == [line]
    assert commands(from_own_weights(made).trials, "hand")[0].endswith(" --baseline segnet=WEIGHTS")


def test_cells_that_start_from_another_baseline_are_named() -> None:
    made = from_own_weights(results({**SCORES, "uniform": SCORES["constant-5"], "older": SCORES["baseline"]}))
    made.trials.loc[["uniform-0", "uniform-1"], "baseline"] = ["older-0", "older-1"]
    assert own_weights(Study(made))[0].endswith(". These start from another baseline: segnet/jpeg/uniform")


def test_own_weights_that_are_only_initial_weights_are_not_the_baseline() -> None:
    made = results(SCORES)
    assert own_weights(Study(Results(study="hand", trials=made.trials.assign(initial="sha256:0123"), scores=made.scores))) == []


def test_the_command_names_cells_seeds_and_data() -> None:
    assert commands(results(SCORES).trials, "hand") == [
        "study run hand 'segnet/jpeg/constant-5' --seeds 2 --data segmentation=streets"
    ]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://user:secret@mlflow.example.org:5000/x?token=secret", "https://mlflow.example.org:5000/x"),
        ("postgresql://user:secret@db/mlflow", "postgresql://db/mlflow"),
        ("sqlite:////data/runs/mlflow.db", "sqlite:////data/runs/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_the_tracking_store_is_named_without_credentials(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


@pytest.mark.parametrize(("largest", "digits"), [(0.512, 3), (0.0735, 4), (70.1, 1), (4.96, 2), (1.0, 2), (0.0, 3)])
def test_scores_have_three_significant_digits(largest: float, digits: int) -> None:
    assert decimals([largest, largest / 3]) == digits


NAN = float("nan")


def besides(*rows: tuple[str, str, int, str, float, float, float, float]) -> pd.DataFrame:
    """Rows of `beside_paper` from (metric, our metric, level, streams, paper's retrained, baseline, continued, retrained)."""
    return pd.DataFrame(
        [
            ("V", metric, own, level, "net", streams, "data", 0.5, paper, baseline, continued, retrained, "not retrained")
            for metric, own, level, streams, paper, baseline, continued, retrained in rows
        ],
        columns=BESIDE,
    )


def test_our_scores_are_columns_beside_the_papers() -> None:
    headings, lines = beside(besides(("miou", "miou", 95, "", NAN, 0.5, 0.6, NAN), ("miou", "miou", 5, "", 0.4, 0.2, 0.25, 0.3)))
    assert headings == ("metric", "level", "paper A", "paper B", "baseline", "continued", "retrained")
    assert lines == [
        ("miou", "95", "0.500", "not retrained", "0.500", "0.600", "not retrained"),
        ("miou", "5", "0.500", "0.400", "0.200", "0.250", "0.300"),
    ]


def test_each_choice_of_retrained_streams_has_its_own_columns_beside_one_baseline() -> None:
    headings, lines = beside(
        besides(
            ("top1", "top1", 40, "spatial + motion", 0.7, 0.6, 0.61, 0.62), ("top1", "top1", 40, "spatial", 0.7, 0.6, 0.63, 0.64)
        )
    )
    both, alone = "spatial + motion\n", "spatial\n"
    assert headings[4:] == (f"{both}baseline", f"{both}continued", f"{both}retrained", f"{alone}continued", f"{alone}retrained")
    assert lines == [("top1", "40", "0.500", "0.700", "0.600", "0.610", "0.620", "0.630", "0.640")]


def test_a_tuned_metric_has_its_own_columns_beside_the_untuned_one() -> None:
    headings, lines = beside(
        besides(("oks_map", "oks_map", 5, "", 0.4, 0.2, 0.25, 0.3), ("oks_map", "oks_map_tuned", 5, "", 0.4, 0.22, 0.26, 0.31))
    )
    assert headings[4:7] == ("oks_map\nbaseline", "oks_map\ncontinued", "oks_map\nretrained")
    assert headings[7:] == ("oks_map_tuned\nbaseline", "oks_map_tuned\ncontinued", "oks_map_tuned\nretrained")
    assert lines == [("oks_map", "5", "0.500", "0.400", "0.200", "0.250", "0.300", "0.220", "0.260", "0.310")]
