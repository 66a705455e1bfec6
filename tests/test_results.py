"""The parquet export, and which trials are seeds of one contrast."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.recovery import Study, recovery
from analysis.results import Results, export, load_export, with_setups
from analysis.tracking import load
from tests.by_hand import SCORES, results
from tests.tiny import Launched


@pytest.mark.slow
def test_the_export_reads_back_equal_to_mlflow(launched: Launched, tmp_path: Path) -> None:
    read = load(launched.uri, "tiny")
    export(read, tmp_path)
    again = load_export(tmp_path)
    assert again.study == "tiny"
    pd.testing.assert_frame_equal(again.trials, read.trials)
    pd.testing.assert_frame_equal(again.scores, read.scores)


def test_tables_from_the_export_are_those_from_the_results(tmp_path: Path) -> None:
    made = results(SCORES)
    export(made, tmp_path)
    pd.testing.assert_frame_equal(recovery(Study(load_export(tmp_path))), recovery(Study(made)))


def test_lists_and_dicts_come_back_as_they_were(tmp_path: Path) -> None:
    export(results(SCORES), tmp_path)
    trial = load_export(tmp_path).trials.loc["constant-5-0"]
    assert trial["ladder"] == {"jpeg": [75, 5]}
    assert trial["training_levels"] == [5]
    assert trial["parents"] == ["baseline-0"]


def test_an_export_of_another_format_is_one_line(tmp_path: Path) -> None:
    export(results(SCORES), tmp_path)
    table = pq.read_table(tmp_path / "scores.parquet")
    pq.write_table(table.replace_schema_metadata({"format": "7", "study": "hand"}), tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=r"scores.parquet: its format is 7, this version reads 1; write it anew") as raised:
        load_export(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_without_an_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trials.parquet: no such file; `study report` writes it"):
        load_export(tmp_path)


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    export(results(SCORES), tmp_path)
    (tmp_path / "trials.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ValueError, match=r"trials.parquet: no parquet file"):
        load_export(tmp_path)


def test_files_of_two_studies_are_refused(tmp_path: Path) -> None:
    made = results(SCORES)
    export(made, tmp_path)
    export(Results(study="other", trials=made.trials, scores=made.scores), tmp_path / "other")
    (tmp_path / "other" / "scores.parquet").replace(tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=r"trials.parquet is of study 'hand', scores.parquet of 'other'"):
        load_export(tmp_path)


def test_networks_retrained_from_other_weights_are_no_seeds_of_one_contrast() -> None:
    made = results(SCORES)
    own = made.trials[made.trials["seed"] == 0].rename(index=lambda key: f"own-{key}")
    own = own.assign(
        parents=own["parents"].map(lambda parents: [f"own-{parent}" for parent in parents]),
        control=[control and f"own-{control}" for control in own["control"]],
        initial=["sha256:0123" if recipe == "baseline" else "none" for recipe in own["recipe"]],
        ended=2 * made.trials["ended"].max(),
    )
    own.loc["own-baseline-0", "epochs"] = 0
    scores = made.scores.assign(trial="own-" + made.scores["trial"])
    both = Results(study="hand", trials=with_setups(pd.concat([made.trials, own])), scores=pd.concat([made.scores, scores]))
    assert set(recovery(Study(both))["seeds"]) == {1}
    assert {cell.retrained for cell in Study(both).retrained} == {("own-constant-5-0",)}
