"""Weights of one's own in place of the baseline: `--baseline` and `study evaluate`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from search_spaces import DEMO
from search_spaces.demo import STILLS
from study.__main__ import main
from study.plan import Plan, make_plan
from study.weights import keep
from trainables import ARCHITECTURES, DATASETS, Condition, Folder, Job, TrialFolder, digest_of, evaluate
from trainables.ray_trainable import steps

BUDGET = replace(DEMO.budgets["segnet"], epochs=1, hyper={**DEMO.budgets["segnet"].hyper, "width": 1 / 16})
SPACE = replace(DEMO, cells=STILLS, budgets={"segnet": BUDGET})
QUIET = Console(quiet=True)


def plan(storage: Path, *baselines: str, patterns: tuple[str, ...] = ("segnet/clean/*",), seeds: int = 1) -> Plan:
    return make_plan(SPACE, patterns=patterns, seeds=seeds, baselines=baselines, storage=Folder.at(str(storage)))


def network() -> torch.nn.Module:
    """Untrained, as the space's budget makes it."""
    torch.manual_seed(7)
    architecture = ARCHITECTURES["segnet"]
    source = DATASETS["street_scenes"].source(None)
    return architecture.learner(architecture.hyper(**BUDGET.hyper), source, 1, "cpu").network


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.pt"
    torch.save(network().state_dict(), path)
    return path


def weights(job: Job) -> Any:
    return TrialFolder(Folder(job.folder)).read_state("weights.pt")["weights"]


def scores(job: Job) -> list[dict[str, Any]]:
    return [{**record, "time": None} for record in TrialFolder(Folder(job.folder)).scores(job.conditions)]


def test_own_weights_are_a_trial_that_trains_nothing_and_is_named_by_their_contents(tmp_path: Path, own: Path) -> None:
    baseline = plan(tmp_path, str(own)).entries[0].trial
    assert (baseline.recipe, baseline.epochs, baseline.initial, baseline.imported) == ("baseline", 0, digest_of(own), True)


def test_one_own_baseline_serves_every_seed(tmp_path: Path, own: Path) -> None:
    entries = plan(tmp_path, str(own), seeds=3).entries
    roots = [entry for entry in entries if not entry.parents]
    assert len(roots) == 1
    assert all(entry.parents == (roots[0],) for entry in entries if entry.parents)
    assert {entry.seed for entry in entries if entry.parents} == {0, 1, 2}


def test_other_weights_make_other_trials_of_all_that_starts_from_them(tmp_path: Path, own: Path) -> None:
    before = {entry.trial.key for entry in plan(tmp_path, str(own)).entries}
    torch.save({name: value + 1 for name, value in network().state_dict().items()}, own)
    assert before.isdisjoint(entry.trial.key for entry in plan(tmp_path, str(own)).entries)


def test_the_same_weights_elsewhere_are_the_same_trials(tmp_path: Path, own: Path) -> None:
    moved = tmp_path / "moved.pt"
    moved.write_bytes(own.read_bytes())
    assert [entry.trial.key for entry in plan(tmp_path, str(own)).entries] == [
        entry.trial.key for entry in plan(tmp_path, str(moved)).entries
    ]


def test_weights_without_a_name_are_refused_where_cells_are_of_several_architectures(tmp_path: Path, own: Path) -> None:
    with pytest.raises(ValueError, match="whose weights\\? Write ARCHITECTURE="):
        make_plan(DEMO, baselines=[str(own)], storage=Folder.at(str(tmp_path)))


def test_weights_with_the_name_of_an_architecture_are_its_alone(tmp_path: Path, own: Path) -> None:
    planned = make_plan(DEMO, patterns=["*/clean/*"], baselines=[f"segnet={own}"], storage=Folder.at(str(tmp_path)))
    imported = {entry.cell.architecture.name for entry in planned.entries if entry.trial.imported}
    assert imported == {"segnet"}


def test_a_baseline_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights .*none\.pt: No such file"):
        plan(tmp_path, str(tmp_path / "none.pt"))


def test_a_baseline_that_does_not_fit_is_refused_before_anything_starts(tmp_path: Path, own: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, own)
    planned = plan(tmp_path / "runs", str(own))
    with pytest.raises(ValueError, match=r"the weights do not fit segnet: it lacks encoder\.0"):
        keep(planned, QUIET)
    assert planned.storage.names() == frozenset()


def test_initial_weights_that_are_no_file_and_no_name_are_refused_with_what_is_known(tmp_path: Path) -> None:
    space = replace(SPACE, budgets={"segnet": replace(BUDGET, initial="image_net")})
    with pytest.raises(ValueError, match="segnet starts from 'image_net', which is no file and none of none, imagenet"):
        make_plan(space, storage=Folder.at(str(tmp_path)))


@pytest.mark.slow
def test_a_baseline_starts_from_a_file_of_the_space(tmp_path: Path, own: Path) -> None:
    still = replace(BUDGET, initial=str(own), hyper={**BUDGET.hyper, "lr": 0.0, "optimiser": "sgd", "lr_schedule": "constant"})
    space = replace(SPACE, budgets={"segnet": still})
    planned = make_plan(space, patterns=["*/baseline"], storage=Folder.at(str(tmp_path / "runs")))
    keep(planned, QUIET)
    job = planned.job(planned.entries[0])
    next(steps(job))
    for _ in steps(job):
        pass
    kernels = {name: value for name, value in weights(job).items() if name.endswith("0.weight")}
    assert kernels
    assert all(torch.equal(value, network().state_dict()[name]) for name, value in kernels.items())


@pytest.mark.slow
def test_weights_saved_by_plain_torch_score_as_the_run_that_made_them_and_so_does_what_starts_from_them(tmp_path: Path) -> None:
    made = plan(tmp_path / "made")
    for entry in made.entries:
        list(steps(made.job(entry)))
    baseline, continued = (made.job(entry) for entry in made.entries)
    path = tmp_path / "plain.pt"
    torch.save(weights(baseline), path)

    given = plan(tmp_path / "given", str(path))
    keep(given, QUIET)
    for entry in given.entries:
        list(steps(given.job(entry)))
    own_baseline, own_continued = (given.job(entry) for entry in given.entries)
    assert scores(own_baseline) == scores(baseline)
    assert len(scores(baseline)) == 7
    assert scores(own_continued) == scores(continued)


@pytest.mark.slow
def test_evaluate_scores_own_weights_on_the_ladder(tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architecture, source = ARCHITECTURES["segnet"], DATASETS["street_scenes"].source(None)
    hyper = architecture.hyper(**DEMO.budgets["segnet"].hyper)
    torch.manual_seed(3)
    made = architecture.learner(hyper, source, 1, "cpu").network.state_dict()
    torch.save(made, own)
    arguments = ["evaluate", "segnet", str(own), "--space", "demo", "--storage", str(tmp_path / "runs"), "--cpus", "1", "--json"]
    assert main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"] == digest_of(own)
    assert [(row["codec"], row["level"]) for row in found["scores"]] == [
        (None, None), *(("jpeg", level) for level in (95, 75, 50, 15, 10, 5))
    ]  # fmt: skip
    conditions = [Condition(), Condition(codec="jpeg", level=5)]
    clean, at_5 = evaluate(architecture, hyper, made, data=source, conditions=conditions)
    assert found["scores"][0]["miou"] == clean.metrics["miou"]
    assert found["scores"][-1]["miou"] == at_5.metrics["miou"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("unet", "w.pt"), "unknown architecture 'unet': known are segnet"),
        (("segnet/gif", "w.pt"), "unknown codec 'gif': known are jpeg"),
        (("segnet", "w.pt", "--space", "dream"), "unknown search space 'dream'"),
        (("segnet", "gone.pt"), "weights gone.pt: No such file"),
    ],
)
def test_evaluate_refuses_what_it_does_not_know_in_one_line(
    arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"study: {complaint}")
