"""Results from MLflow, their parquet export, and which trials are seeds of one contrast."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.recovery import Study, recovery
from analysis.results import Results, export, load_export, no_scores, with_setups
from analysis.tracking import load, studies
from tests.by_hand import SCORES, results

if TYPE_CHECKING:
    from tests.tiny import Launched

PARAMS = ("architecture", "task", "codec", "recipe", "dataset", "seed", "epochs", "initial")
TAGS = ("cell", "metric", "role", "baseline", "control", "data_fingerprint", "git_commit")
JSON_TAGS = ("ladder", "training_levels", "recalibrated", "parents", "codec_identity", "versions")


def with_validation(made: Results) -> Results:
    """The results with validation scores 0.02 below the test scores."""
    return replace(made, validation=made.scores.assign(value=made.scores["value"] - 0.02))


def log(made: Results, uri: str, folder: Path, *, splits: bool = True) -> None:
    """Log hand-made results as a study does: one run per trial and one summary run, side by side in one experiment.

    Without `splits`, the artifacts are those of an older version, which scored test alone.
    """
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient  # after analysis.tracking, which switches MLflow's usage reports off

    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment(made.study, artifact_location=(folder / "artifacts").as_uri())
    for kind, stage in (("summary", "final"), ("trial", "search")):
        run = client.create_run(experiment, tags={"kind": kind, "stage": stage, "trial": f"{kind} {stage}"})
        client.set_terminated(run.info.run_id, "FINISHED")
    for key, trial in made.trials.iterrows():
        run_id = client.create_run(experiment, tags={"kind": "trial", "stage": "final", "trial": str(key)}).info.run_id
        params = {name: trial[name] for name in PARAMS}
        params |= {f"{group}.{name}": value for group in ("hyper", "numerics") for name, value in trial[group].items()}
        tags = {name: trial[name] for name in TAGS} | {name: json.dumps(trial[name]) for name in JSON_TAGS} | {"streams": "[]"}
        tags["group_sizes"] = json.dumps(Counter(trial["group_sizes"]))
        client.log_batch(
            run_id,
            metrics=[Metric(f"test/clean/{trial['metric']}", 0.5, trial["scored"], 0)],
            params=[Param(name, str(value)) for name, value in params.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )
        test, validation = (frame[frame["trial"] == key] for frame in (made.scores, made.validation))
        table = artifact(pd.concat([validation.assign(split="val"), test.assign(split="test")], ignore_index=True))
        pq.write_table(table if splits else table.drop_columns("split"), folder / "scores.parquet")
        client.log_artifact(run_id, str(folder / "scores.parquet"))
        client.set_terminated(run_id, "FINISHED", trial["ended"])


def artifact(scores: pd.DataFrame) -> pa.Table:
    """The artifact `scores.parquet` of one trial."""
    rows = scores.drop(columns="trial").assign(
        codec=scores["codec"].mask(scores["codec"] == ""),
        level=scores["level"].mask(scores["level"] == 0),
        stream_bits_per_pixel=scores["bits_per_pixel"],
    )
    fields = {"level": pa.int64(), "value": pa.float64(), "replicates": pa.list_(pa.float32())}
    text = dict.fromkeys(("codec", "metric", "mode", "split"), pa.string())
    rates = dict.fromkeys(("bits_per_pixel", "stream_bits_per_pixel", "bytes_per_item"), pa.float64())
    schema = pa.schema(list((text | fields | rates).items()), metadata={"format": "1"})
    return pa.Table.from_pandas(rows, schema, preserve_index=False).replace_schema_metadata(schema.metadata)


def test_mlflow_returns_the_scores_of_the_finished_final_trials_by_split(tmp_path: Path) -> None:
    made = with_validation(results({recipe: seeds[:1] for recipe, seeds in SCORES.items()}))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    log(made, uri, tmp_path)
    assert studies(uri) == ["hand"]
    read = load(uri, "hand")
    pd.testing.assert_frame_equal(read.trials, with_setups(made.trials), check_like=True)
    columns = ["trial", "codec", "level", "metric", "mode", "value", "bits_per_pixel"]
    for found, given in ((read.scores, made.scores), (read.validation, made.validation)):
        assert "split" not in found
        pd.testing.assert_frame_equal(found[columns], given[columns])
        assert np.allclose(np.stack(list(found["replicates"])), np.stack(list(given["replicates"])))


def test_studies_that_were_scored_on_test_alone_have_no_validation_scores(tmp_path: Path) -> None:
    made = results({recipe: seeds[:1] for recipe, seeds in SCORES.items()})
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    log(made, uri, tmp_path, splits=False)
    read = load(uri, "hand")
    assert read.scores["value"].tolist() == made.scores["value"].tolist()
    assert (len(read.validation), list(read.validation)) == (0, list(read.scores))


@pytest.mark.slow
def test_the_export_equals_the_results_from_mlflow(launched: "Launched", tmp_path: Path) -> None:
    read = load(launched.uri, "tiny")
    export(read, tmp_path)
    again = load_export(tmp_path)
    assert again.study == "tiny"
    pd.testing.assert_frame_equal(again.trials, read.trials)
    pd.testing.assert_frame_equal(again.scores, read.scores)
    pd.testing.assert_frame_equal(again.validation, read.validation)
    assert len(again.validation) == len(again.scores)


def test_the_export_gives_the_same_tables_as_the_results(tmp_path: Path) -> None:
    made = results(SCORES)
    export(made, tmp_path)
    pd.testing.assert_frame_equal(recovery(Study(load_export(tmp_path))), recovery(Study(made)))


def test_the_export_keeps_validation_scores_with_their_replicates(tmp_path: Path) -> None:
    made = with_validation(results(SCORES))
    export(made, tmp_path)
    read = load_export(tmp_path)
    pd.testing.assert_frame_equal(read.validation, made.validation)
    pd.testing.assert_frame_equal(read.scores, made.scores)


def test_an_export_without_validation_scores_reads_back(tmp_path: Path) -> None:
    export(results(SCORES), tmp_path)
    pd.testing.assert_frame_equal(load_export(tmp_path).validation, no_scores())


def test_lists_and_dicts_survive_the_export(tmp_path: Path) -> None:
    export(results(SCORES), tmp_path)
    trial = load_export(tmp_path).trials.loc["constant-5-0"]
    assert trial["ladder"] == {"jpeg": [75, 5]}
    assert trial["training_levels"] == [5]
    assert trial["parents"] == ["baseline-0"]


def test_an_export_of_another_format_is_refused_in_one_line(tmp_path: Path) -> None:
    export(results(SCORES), tmp_path)
    table = pq.read_table(tmp_path / "scores.parquet")
    pq.write_table(table.replace_schema_metadata({"format": "2", "study": "hand"}), tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=r"scores.parquet: format 2, but this version reads format 3: write it again") as raised:
        load_export(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_without_an_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"trials.parquet: no such file: write it with `study report`"):
        load_export(tmp_path)


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    export(results(SCORES), tmp_path)
    (tmp_path / "trials.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"trials.parquet: not a parquet file"):
        load_export(tmp_path)


@pytest.mark.parametrize("name", ["scores", "validation"])
def test_files_of_two_studies_are_refused(name: str, tmp_path: Path) -> None:
    made = results(SCORES)
    export(made, tmp_path)
    export(Results(study="other", trials=made.trials, scores=made.scores), tmp_path / "other")
    (tmp_path / "other" / f"{name}.parquet").replace(tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=rf"trials.parquet is of study 'hand', {name}.parquet of 'other'"):
        load_export(tmp_path)


def test_networks_retrained_from_other_weights_are_not_seeds_of_the_same_contrast() -> None:
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
