"""One study from plan to report, with real Ray and real MLflow, on embedded data, for one epoch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from rich.console import Console

from analysis.recovery import Study, recovery
from analysis.tracking import load
from study.cells import Cell
from study.cluster import Resources
from study.plan import Entry, Fixed, Plan, make_plan
from study.run import run
from study.tracking import Tracker, default_uri
from tests.tiny import TINY, Launched
from trainables import Folder, Hyper, Score

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


def test_progress_shows_epoch_metric_and_time_left(launched: Launched) -> None:
    assert "segnet/clean/baseline seed 0: epoch 1/1, miou 0." in launched.log
    assert "3 of 3 trials done" in launched.log
    assert "ETA" in launched.log


def test_mlflow_holds_one_run_per_trial_and_one_summary_run_side_by_side(runs: list[Run]) -> None:
    assert [run.info.run_name for run in runs if run.data.tags["kind"] == "summary"] == ["tiny summary"]
    assert len(trials(runs)) == len(runs) - 1 == 3
    assert not any("mlflow.parentRunId" in run.data.tags for run in runs)
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_the_name_of_a_run_starts_with_the_difference(runs: list[Run]) -> None:
    names = {run.info.run_name for run in trials(runs).values()}
    assert names == {"baseline · segnet · s0", "continued · segnet · s0", "constant-5 · segnet · s0"}


def test_an_experiment_of_the_earlier_layout_is_renamed_and_kept(tmp_path: Path) -> None:
    storage = Folder.at(str(tmp_path))
    client = MlflowClient(tracking_uri=default_uri(storage))
    plan = make_plan(TINY, patterns=["segnet/clean/baseline"], storage=storage)
    nested = client.create_experiment("tiny")
    client.create_run(nested, run_name="tiny final")
    for _ in range(2):
        Tracker(default_uri(storage), plan)
    experiments = {experiment.name: experiment.experiment_id for experiment in client.search_experiments()}
    assert set(experiments) == {"Default", "tiny", "tiny (earlier)"}
    assert experiments["tiny (earlier)"] == nested


def test_a_deleted_experiment_is_restored(tmp_path: Path) -> None:
    storage = Folder.at(str(tmp_path))
    client = MlflowClient(tracking_uri=default_uri(storage))
    plan = make_plan(TINY, patterns=["segnet/clean/baseline"], storage=storage)
    Tracker(default_uri(storage), plan)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    Tracker(default_uri(storage), plan)
    restored = client.get_experiment_by_name("tiny")
    assert restored is not None
    assert (restored.experiment_id, restored.lifecycle_stage) == (experiment.experiment_id, "active")


def test_the_degradation_curve_has_the_level_as_its_step(launched: Launched, runs: list[Run]) -> None:
    run_id = trials(runs)["segnet/jpeg/constant-5"].info.run_id
    history = MlflowClient(tracking_uri=launched.uri).get_metric_history(run_id, "test/jpeg/miou")
    assert sorted(metric.step for metric in history) == [5, 10, 15, 50, 75, 95]
    rates = MlflowClient(tracking_uri=launched.uri).get_metric_history(run_id, "rate/jpeg")
    assert [metric.value for metric in sorted(rates, key=lambda metric: metric.step)] == sorted(metric.value for metric in rates)


def test_thresholds_chosen_on_validation_are_logged_by_level(tmp_path: Path) -> None:
    storage = Folder.at(str(tmp_path))
    plan = make_plan(TINY, patterns=["segnet/clean/baseline"], storage=storage)
    (entry,) = plan.entries
    for condition in entry.conditions:
        threshold = (condition.level or 100) / 100
        folder = plan.folder(entry)
        assert folder is not None
        folder.write_score(
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


def test_validation_scores_are_logged_by_level(launched: Launched, runs: list[Run]) -> None:
    entry = launched.plan.entries[0]
    folder = launched.plan.folder(entry)
    assert folder is not None
    run = trials(runs)[entry.cell.name]
    kept = {record["level"]: record["metrics"]["miou"] for record in folder.scores(entry.conditions, "val")}
    assert run.data.metrics["validation/clean/miou"] == kept.pop(None)
    history = MlflowClient(tracking_uri=launched.uri).get_metric_history(run.info.run_id, "validation/jpeg/miou")
    assert {metric.step: metric.value for metric in history} == kept


def test_losses_and_validation_are_logged_by_epoch(launched: Launched, runs: list[Run]) -> None:
    client = MlflowClient(tracking_uri=launched.uri)
    run_id = trials(runs)["segnet/clean/baseline"].info.run_id
    for name in ("train/loss", "val/miou", "val/clean/miou", "val/jpeg-10/miou", "waiting"):
        assert [metric.step for metric in client.get_metric_history(run_id, name)] == [1]


def test_mean_validation_is_the_mean_over_the_same_conditions_for_every_recipe(runs: list[Run]) -> None:
    for trial in trials(runs).values():
        of_levels = [trial.data.metrics[f"val/{name}/miou"] for name in ("clean", "jpeg-10")]
        assert trial.data.metrics["val/miou"] == pytest.approx(sum(of_levels) / 2)


def test_runs_carry_what_analysis_needs(launched: Launched, runs: list[Run]) -> None:
    run = trials(runs)["segnet/jpeg/constant-5"]
    assert run.data.params["hyper.width"] == "0.25"
    tags = run.data.tags
    assert json.loads(tags["training_levels"]) == [5]
    assert json.loads(tags["ladder"]) == {"jpeg": [95, 75, 50, 15, 10, 5]}
    assert json.loads(tags["parents"]) == [trials(runs)["segnet/clean/baseline"].data.tags["trial"]]
    assert tags["control"] == trials(runs)["segnet/clean/continued"].data.tags["trial"]
    assert "torch" in json.loads(tags["versions"])
    test_items = len(launched.plan.sources["tests.few:SOME"].test.names)
    assert sum(int(size) * count for size, count in json.loads(tags["group_sizes"]).items()) == test_items


def test_a_finished_trial_keeps_the_commit_that_it_was_made_with(launched: Launched, runs: list[Run]) -> None:
    entry = launched.plan.entries[0]
    tracker = Tracker(launched.uri, launched.plan)
    tracker._environment = {"versions": "{}", "git_commit": "later"}
    tracker.project(entry, "FINISHED")
    again = trials(all_runs(launched.uri))[entry.cell.name]
    assert again.data.tags == trials(runs)[entry.cell.name].data.tags


def test_the_panel_of_predictions_is_an_artifact(launched: Launched, runs: list[Run]) -> None:
    client = MlflowClient(tracking_uri=launched.uri)
    listed = client.list_artifacts(trials(runs)["segnet/clean/baseline"].info.run_id, "panels")
    assert [artifact.path for artifact in listed] == ["panels/jpeg.png"]


def test_the_summary_run_holds_the_mean_score_of_each_cell(runs: list[Run]) -> None:
    summary = next(run for run in runs if run.data.tags["kind"] == "summary")
    trial = trials(runs)["segnet/jpeg/constant-5"]
    assert summary.data.metrics["clean/segnet/jpeg/constant-5"] == pytest.approx(trial.data.metrics["test/clean/miou"])


def test_scores_read_back_equal_what_was_scored(launched: Launched) -> None:
    results = load(launched.uri, "tiny")
    entry = launched.plan.entries[0]
    folder, trial = launched.plan.folder(entry), launched.plan.trial(entry)
    assert folder is not None
    assert trial is not None
    records = folder.scores(entry.conditions)
    rows = results.scores[results.scores["trial"] == trial.key]
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


def test_a_failed_trial_is_named_with_its_reason_and_its_children_with_what_they_wait_for(tmp_path: Path) -> None:
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


def test_a_second_launch_does_nothing_and_duplicates_nothing(launched: Launched, runs: list[Run]) -> None:
    of_trial = launched.plan.folder(launched.plan.entries[0])
    assert of_trial is not None
    folder = of_trial.folder
    before = {name: folder.read(name) for name in folder.names()}
    again = run(launched.plan, tracking_uri=launched.uri, resources=Resources(cpus=2), console=Console(quiet=True))
    assert again.exit_code == 0
    assert {name: folder.read(name) for name in folder.names()} == before
    assert len(all_runs(launched.uri)) == len(runs)
    client = MlflowClient(tracking_uri=launched.uri)
    run_id = trials(runs)["segnet/clean/baseline"].info.run_id
    assert len(client.get_metric_history(run_id, "test/jpeg/miou")) == 6


@dataclass(frozen=True)
class TwoRates(Fixed):
    """A stage of two search trials; the better learning rate on validation is what the plan's entries train with."""

    cell: Cell

    def entries(self, plan: Plan) -> Sequence[Entry]:  # noqa: ARG002
        return [Entry(cell=self.cell, seed=0, stage="search", number=number) for number in range(2)]

    def hyper(self, plan: Plan, entry: Entry) -> Hyper | None:
        rates = (1e-6, 4e-3)
        if entry.stage == "search":
            return {"lr": rates[entry.number]}
        found = [each for each in plan.entries if each.stage == "search"]
        if len(found) < len(rates) or any(plan.state(each) != "done" for each in found):
            return None
        folders = [folder for each in found if (folder := plan.folder(each)) is not None]
        best = [folder.history()[-1]["validation"][0]["metrics"]["miou"] for folder in folders]
        return {"lr": rates[best.index(max(best))]}


def test_a_plan_whose_hyper_parameters_appear_at_the_end_of_a_stage_runs_to_its_end(tmp_path: Path) -> None:
    storage = Folder.at(str(tmp_path))
    space = replace(TINY, data={"segmentation": "tests.few:FEW"})
    plan = make_plan(space, patterns=["segnet/clean/continued"], storage=storage)
    plan = Plan(
        space=plan.space, entries=list(plan.entries), storage=storage, paths={}, sources=plan.sources, no_data={}, weights={},
        growth=TwoRates(plan.entries[0].cell),
    )  # fmt: skip
    console = Console(record=True, width=200)
    outcome = run(plan, tracking_uri=default_uri(storage), resources=Resources(cpus=2), console=console)
    assert outcome.exit_code == 0
    assert "4 of 4 trials done" in console.export_text()
    rates = {str(entry): trial.hyper["lr"] for entry in plan.entries if (trial := plan.trial(entry)) is not None}
    assert rates["segnet/clean/baseline seed 0"] == rates["segnet/clean/continued seed 0"] == 4e-3
    names = {name for entry in plan.entries if entry.stage == "search" and (at := plan.folder(entry)) for name in at.folder.names()}
    assert names == {"trial.json", "history.json", "done.json"}
    runs = all_runs(default_uri(storage))
    assert {run.info.run_name for run in runs if run.data.tags.get("stage") == "search"} == {
        "baseline · segnet · s0 · search 0",
        "baseline · segnet · s0 · search 1",
    }
    assert not any(name.startswith("test/") for run in runs if run.data.tags.get("stage") == "search" for name in run.data.metrics)


def test_a_space_with_its_own_ladder_is_trained_scored_and_reported_at_that_ladder(tmp_path: Path) -> None:
    storage = Folder.at(str(tmp_path))
    space = replace(
        TINY,
        data={"segmentation": "tests.few:FEW"},
        cells=("*/clean/*", "*/jpeg/*"),
        ladders={"jpeg": (90, 60, 30)},
        validation={"jpeg": (30,)},
    )
    plan = make_plan(space, patterns=["segnet/jpeg/constant-30", "segnet/jpeg/uniform"], storage=storage)
    outcome = run(plan, tracking_uri=default_uri(storage), resources=Resources(cpus=2), console=Console(quiet=True))
    assert outcome.exit_code == 0
    for entry in plan.entries:
        folder = plan.folder(entry)
        assert folder is not None
        assert [record["level"] for record in folder.scores(entry.conditions)] == [None, 90, 60, 30]
        assert [record["level"] for record in folder.history()[0]["validation"]] == [None, 30]
    results = load(default_uri(storage), "tiny")
    assert set(results.scores["level"]) == {0, 90, 60, 30}
    assert json.dumps(results.trials["ladder"].iloc[0]) == '{"jpeg": [90, 60, 30]}'
    table = recovery(Study(results))
    assert set(table["level"]) == {0, 90, 60, 30}
    assert set(table.loc[table["matched"], "cell"]) == {"segnet/jpeg/constant-30"}
