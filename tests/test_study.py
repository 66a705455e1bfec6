"""One study from the plan to the report, with real Ray and real MLflow: the embedded data, one epoch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from rich.console import Console

from analysis.tracking import load
from study.cluster import Resources
from study.plan import make_plan
from study.run import run
from study.tracking import Tracker, default_uri
from tests.tiny import TINY, Launched
from trainables import Folder, Score

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(launched: Launched) -> list[Run]:
    return all_runs(launched.uri)


def all_runs(uri: str) -> list[Run]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def trials(runs: list[Run]) -> dict[str, Run]:
    return {run.data.tags["cell"]: run for run in runs if run.data.tags["kind"] == "trial"}


def test_everything_asked_for_is_done(launched: Launched) -> None:
    assert launched.first.exit_code == 0
    assert {launched.plan.state(entry) for entry in launched.plan.entries} == {"done"}


def test_progress_tells_epochs_metric_and_time_left(launched: Launched) -> None:
    assert "segnet/clean/baseline seed 0: epoch 1/1, miou 0." in launched.log
    assert "3 of 3 trials done" in launched.log
    assert "ETA" in launched.log


def test_mlflow_holds_one_parent_and_one_nested_run_for_each_trial(runs: list[Run]) -> None:
    parents = [run for run in runs if run.data.tags["kind"] == "stage"]
    assert len(parents) == 1
    assert len(trials(runs)) == len(runs) - 1 == 3
    assert {run.data.tags["mlflow.parentRunId"] for run in trials(runs).values()} == {parents[0].info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_degradation_curve_has_the_level_as_its_step(launched: Launched, runs: list[Run]) -> None:
    run_id = trials(runs)["segnet/jpeg/constant-5"].info.run_id
    history = MlflowClient(tracking_uri=launched.uri).get_metric_history(run_id, "test/jpeg/miou")
    assert sorted(metric.step for metric in history) == [5, 10, 15, 50, 75, 95]
    rates = MlflowClient(tracking_uri=launched.uri).get_metric_history(run_id, "rate/jpeg")
    assert [metric.value for metric in sorted(rates, key=lambda metric: metric.step)] == sorted(metric.value for metric in rates)


def test_thresholds_that_were_chosen_on_validation_are_logged_by_level(tmp_path: Path) -> None:
    storage = Folder.at(str(tmp_path))
    plan = make_plan(TINY, patterns=["segnet/clean/baseline"], storage=storage)
    (entry,) = plan.entries
    for condition in entry.conditions:
        threshold = (condition.level or 100) / 100
        plan.folder(entry.trial).write_score(
            Score(
                condition=condition, bits_per_pixel=1.0, stream_bits_per_pixel=None, bytes_per_item=1.0, metrics={"miou": 0.5},
                chosen={"threshold": threshold}, replicates={"miou": np.zeros(1)},
            )
        )  # fmt: skip
    Tracker(default_uri(storage), plan).project(entry, "FINISHED")
    client = MlflowClient(tracking_uri=default_uri(storage))
    (run,) = trials(all_runs(default_uri(storage))).values()
    logged = client.get_metric_history(run.info.run_id, "chosen/jpeg/threshold")
    assert {metric.step: metric.value for metric in logged} == {95: 0.95, 75: 0.75, 50: 0.5, 15: 0.15, 10: 0.1, 5: 0.05}
    assert run.data.metrics["chosen/clean/threshold"] == 1


def test_losses_and_validation_are_logged_by_epoch(launched: Launched, runs: list[Run]) -> None:
    client = MlflowClient(tracking_uri=launched.uri)
    run_id = trials(runs)["segnet/clean/baseline"].info.run_id
    for name in ("train/loss", "val/miou", "waiting"):
        assert [metric.step for metric in client.get_metric_history(run_id, name)] == [1]


def test_runs_carry_what_analysis_needs(runs: list[Run]) -> None:
    run = trials(runs)["segnet/jpeg/constant-5"]
    assert run.data.params["hyper.width"] == "0.25"
    tags = run.data.tags
    assert json.loads(tags["training_levels"]) == [5]
    assert json.loads(tags["ladder"]) == {"jpeg": [95, 75, 50, 15, 10, 5]}
    assert json.loads(tags["parents"]) == [trials(runs)["segnet/clean/baseline"].data.tags["trial"]]
    assert tags["control"] == trials(runs)["segnet/clean/continued"].data.tags["trial"]
    assert "torch" in json.loads(tags["versions"])


def test_the_panel_of_predictions_is_an_artifact(launched: Launched, runs: list[Run]) -> None:
    client = MlflowClient(tracking_uri=launched.uri)
    listed = client.list_artifacts(trials(runs)["segnet/clean/baseline"].info.run_id, "panels")
    assert [artifact.path for artifact in listed] == ["panels/jpeg.png"]


def test_the_stage_sums_its_cells_up(runs: list[Run]) -> None:
    parent = next(run for run in runs if run.data.tags["kind"] == "stage")
    child = trials(runs)["segnet/jpeg/constant-5"]
    assert parent.data.metrics["clean/segnet/jpeg/constant-5"] == pytest.approx(child.data.metrics["test/clean/miou"])


def test_scores_read_back_equal_what_was_scored(launched: Launched) -> None:
    results = load(launched.uri, "tiny")
    entry = launched.plan.entries[0]
    records = launched.plan.folder(entry.trial).scores(entry.conditions)
    rows = results.scores[results.scores["trial"] == entry.trial.key]
    kept = {
        (record["codec"] or "", record["level"] or 0, name): value
        for record in records
        for name, value in record["metrics"].items()
    }
    read = dict(zip(zip(rows["codec"], rows["level"], rows["metric"], strict=True), rows["value"], strict=True))
    assert read == kept


def test_replicates_are_paired_between_networks(launched: Launched) -> None:
    scores = load(launched.uri, "tiny").scores
    clean = scores[(scores["metric"] == "global_accuracy") & (scores["codec"] == "")]
    first, second = clean["replicates"].iloc[0], clean["replicates"].iloc[1]
    assert len(first) == 400
    # the same resamples: images that are easy for one network are easy for the other
    assert pd.Series(first).corr(pd.Series(second)) > 0.5


def test_a_trial_that_fails_is_named_with_its_reason_and_its_children_are_named(tmp_path: Path) -> None:
    diverging = replace(TINY.budgets["segnet"], hyper={**TINY.budgets["segnet"].hyper, "lr": 1e30})
    space = replace(TINY, budgets={"segnet": diverging})
    storage = Folder.at(str(tmp_path))
    plan = make_plan(space, patterns=["segnet/jpeg/constant-5"], storage=storage)
    outcome = run(plan, tracking_uri=default_uri(storage), resources=Resources(cpus=2), console=Console(quiet=True))
    assert outcome.exit_code == 1
    assert list(outcome.failed) == ["segnet/clean/baseline seed 0"]
    assert outcome.failed["segnet/clean/baseline seed 0"].startswith("FloatingPointError: segnet: loss is ")
    waits = "waits for segnet/clean/baseline seed 0"
    assert outcome.missing == {"segnet/clean/continued seed 0": waits, "segnet/jpeg/constant-5 seed 0": waits}
    (run_of_baseline,) = trials(all_runs(default_uri(storage))).values()
    assert run_of_baseline.info.status == "FAILED"
    assert run_of_baseline.data.tags["failure"].startswith("FloatingPointError")


def test_the_same_command_again_does_nothing_and_doubles_nothing(launched: Launched, runs: list[Run]) -> None:
    folder = launched.plan.folder(launched.plan.entries[0].trial).folder
    before = {name: folder.read(name) for name in folder.names()}
    again = run(launched.plan, tracking_uri=launched.uri, resources=Resources(cpus=2), console=Console(quiet=True))
    assert again.exit_code == 0
    assert {name: folder.read(name) for name in folder.names()} == before
    assert len(all_runs(launched.uri)) == len(runs)
    client = MlflowClient(tracking_uri=launched.uri)
    run_id = trials(runs)["segnet/clean/baseline"].info.run_id
    assert len(client.get_metric_history(run_id, "test/jpeg/miou")) == 6
