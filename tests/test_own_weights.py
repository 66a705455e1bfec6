"""A user's own weights in place of a trained baseline: `--baseline`, `study evaluate` and `initial`, on a few scenes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from search_spaces import DEMO, Budget, Space
from study.__main__ import main
from study.evaluate import evaluation_plan
from study.plan import Plan, hyper_of, make_plan
from study.weights import keep
from trainables import CLEAN, CODECS, DATASETS, Condition, Folder, Job, Source, Trial, TrialFolder, Workload, digest_of, evaluate
from trainables.data.embedded import scenes_split
from trainables.ray_trainable import steps
from trainables.scenes import STREET
from trainables.tasks.segmentation import SEGNET
from trainables.tasks.segmentation.data import class_map


def few_streets() -> Source:
    """8 training, 3 validation and 4 test scenes."""
    train, val, test = (scenes_split(seed, count, STREET, class_map) for seed, count in enumerate((8, 3, 4)))
    return replace(DATASETS["street_scenes"].source(None), train=train, val=val, test=test, fingerprint="few")


MILD = replace(CODECS["jpeg"], name="mild", levels=(95, 90))  # type: ignore[type-var]
FEW = replace(DATASETS["street_scenes"], name="few_streets", make=few_streets)
BUDGET = Budget(initial="none", epochs=1, hyper={**DEMO.budgets["segnet"].hyper, "width": 1 / 16})
SPACE = Space(
    name="few",
    summary="a narrow SegNet on a few scenes",
    data={"segmentation": "tests.test_own_weights:FEW"},
    codecs=("jpeg",),
    cells=("*/clean/*", "*/jpeg/constant-10"),
    budgets={"segnet": BUDGET},
    ladders={"jpeg": (50, 10)},
    validation={"jpeg": (10,)},
)
HYPER = hyper_of(SEGNET, BUDGET.hyper)
QUIET = Console(quiet=True)


def plan(storage: Path, *baselines: str, seeds: int = 1) -> Plan:
    return make_plan(SPACE, patterns=["segnet/clean/*"], seeds=seeds, baselines=baselines, storage=Folder.at(str(storage)))


def trials(planned: Plan) -> list[Trial]:
    found = [planned.trial(entry) for entry in planned.entries]
    return [trial for trial in found if trial is not None]


def keys(planned: Plan) -> list[str]:
    return [trial.key for trial in trials(planned)]


def network() -> torch.nn.Module:
    """An untrained network that fits the space's budget."""
    torch.manual_seed(7)
    return SEGNET.learner(HYPER, few_streets(), 1, "cpu").network


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.pt"
    torch.save(network().state_dict(), path)
    return path


def run_all(planned: Plan) -> list[Job]:
    """Run every entry in this process; returns their jobs."""
    jobs = [planned.job(entry) for entry in planned.entries]
    for job in jobs:
        assert list(steps(job))[-1]["phase"] == "done"
    return jobs


def weights(job: Job) -> Any:
    return TrialFolder(Folder(job.folder)).read_state("weights.pt")["weights"]


def scores(job: Job) -> list[dict[str, Any]]:
    """Scores of all views, without the time at which they were written."""
    folder = TrialFolder(Folder(job.folder))
    return [{**record, "time": None} for split, condition in job.views for record in folder.scores([condition], split)]


def test_own_weights_make_an_untrained_trial_named_by_their_digest(tmp_path: Path, own: Path) -> None:
    baseline = trials(plan(tmp_path, str(own)))[0]
    assert (baseline.recipe, baseline.epochs, baseline.initial, baseline.imported) == ("baseline", 0, digest_of(own), True)


def test_all_seeds_share_one_own_baseline(tmp_path: Path, own: Path) -> None:
    entries = plan(tmp_path, str(own), seeds=3).entries
    roots = [entry for entry in entries if not entry.parents]
    assert len(roots) == 1
    assert all(entry.parents == (roots[0],) for entry in entries if entry.parents)
    assert {entry.seed for entry in entries if entry.parents} == {0, 1, 2}


def test_other_weights_rename_every_trial(tmp_path: Path, own: Path) -> None:
    before = set(keys(plan(tmp_path, str(own))))
    torch.save({name: value + 1 for name, value in network().state_dict().items()}, own)
    assert before.isdisjoint(keys(plan(tmp_path, str(own))))


def test_moving_a_weights_file_renames_no_trial(tmp_path: Path, own: Path) -> None:
    moved = tmp_path / "moved.pt"
    moved.write_bytes(own.read_bytes())
    assert keys(plan(tmp_path, str(own))) == keys(plan(tmp_path, str(moved)))


def test_a_baseline_for_several_architectures_needs_a_name(tmp_path: Path, own: Path) -> None:
    with pytest.raises(ValueError, match="the plan has several architectures; write ARCHITECTURE="):
        make_plan(DEMO, baselines=[str(own)], storage=Folder.at(str(tmp_path)))


def test_a_named_baseline_is_used_for_its_architecture_alone(tmp_path: Path, own: Path) -> None:
    planned = make_plan(DEMO, patterns=["*/clean/*"], baselines=[f"segnet={own}"], storage=Folder.at(str(tmp_path)))
    assert {entry.cell.architecture.name for entry in planned.entries if entry.imported} == {"segnet"}


def test_a_baseline_without_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights .*none\.pt: No such file"):
        plan(tmp_path, str(tmp_path / "none.pt"))


def test_a_baseline_that_does_not_fit_is_refused_before_anything_starts(tmp_path: Path, own: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, own)
    planned = plan(tmp_path / "runs", str(own))
    with pytest.raises(ValueError, match=r"weights do not fit segnet: missing encoder\.0.*; unexpected conv\.weight"):
        keep(planned, QUIET)
    assert planned.storage.names() == frozenset()


def test_unknown_initial_weights_are_refused_with_the_known_names(tmp_path: Path) -> None:
    space = replace(SPACE, budgets={"segnet": replace(BUDGET, initial="image_net")})
    message = "initial weights 'image_net' of segnet: no such file; named weights are none, imagenet"
    with pytest.raises(ValueError, match=message):
        make_plan(space, storage=Folder.at(str(tmp_path)))


def test_a_baseline_starts_from_the_weights_file_of_its_budget(tmp_path: Path, own: Path) -> None:
    frozen = replace(BUDGET, initial=str(own), hyper={**BUDGET.hyper, "lr": 0.0, "optimiser": "sgd", "lr_schedule": "constant"})
    space = replace(SPACE, budgets={"segnet": frozen})
    planned = make_plan(space, patterns=["*/baseline"], storage=Folder.at(str(tmp_path / "runs")))
    keep(planned, QUIET)
    job = planned.job(planned.entries[0])
    next(steps(job))  # an interrupted attempt
    run_all(planned)
    kernels = {name: value for name, value in weights(job).items() if name.endswith("0.weight")}
    assert kernels
    assert all(torch.equal(value, network().state_dict()[name]) for name, value in kernels.items())


def test_an_exported_baseline_gives_the_same_scores_as_the_trial_that_trained_it(tmp_path: Path) -> None:
    baseline, continued = run_all(plan(tmp_path / "trained"))
    path = tmp_path / "exported.pt"
    torch.save(weights(baseline), path)

    given = plan(tmp_path / "given", str(path))
    keep(given, QUIET)
    own_baseline, own_continued = run_all(given)
    assert len(scores(baseline)) == len(baseline.views)
    assert scores(own_baseline) == scores(baseline)
    assert scores(own_continued) == scores(continued)


@pytest.mark.slow
def test_evaluate_scores_own_weights_on_the_spaces_ladder(
    tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])  # workers import this module from the launch directory
    space = ["--space", "tests.test_own_weights:SPACE"]
    assert main(["evaluate", "segnet", str(own), *space, "--storage", str(tmp_path / "runs"), "--cpus", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["weights"] == digest_of(own)
    assert [(row["codec"], row["level"]) for row in found["scores"]] == [(None, None), ("jpeg", 50), ("jpeg", 10)]
    assert len(list((tmp_path / "runs" / "trials").glob("*/scores/test/*"))) == 3
    assert not list((tmp_path / "runs" / "trials").glob("*/scores/val"))  # of test alone
    workload = Workload(architecture=SEGNET, hyper=HYPER, data=few_streets())
    conditions = [CLEAN, Condition(codec="jpeg", level=10)]
    clean, at_10 = evaluate(workload, network().state_dict(), conditions=conditions)
    assert found["scores"][0]["miou"] == clean.metrics["miou"]
    assert found["scores"][-1]["miou"] == at_10.metrics["miou"]


def codecs_of_evaluation(target: str, own: Path, space: Space) -> set[str | None]:
    planned = evaluation_plan(target, str(own), space=space, data=[], storage=Folder.at(str(own.parent / "runs")))
    (entry,) = planned.entries
    return {condition.codec for condition in entry.conditions} - {None}


def test_evaluate_uses_the_spaces_first_codec_of_the_right_kind(own: Path) -> None:
    space = replace(SPACE, codecs=("h264", "tests.test_own_weights:MILD", "jpeg"))
    assert codecs_of_evaluation("segnet", own, space) == {"tests.test_own_weights:MILD"}
    assert codecs_of_evaluation("segnet/jpeg", own, space) == {"jpeg"}
    assert codecs_of_evaluation("two_stream_spatial", own, DEMO) == {"h264"}


def test_evaluate_without_a_suitable_codec_says_how_to_name_one(own: Path) -> None:
    with pytest.raises(ValueError, match="search space few has no codec for segnet: write segnet/CODEC"):
        codecs_of_evaluation("segnet", own, replace(SPACE, codecs=("h264",)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("segnett", "w.pt"), "unknown architecture 'segnett'; did you mean 'segnet'"),
        (("segnet/jpg", "w.pt"), "unknown codec 'jpg'; did you mean 'jpeg'?"),
        (("segnet", "w.pt", "--space", "papr"), "unknown search space 'papr'; did you mean 'paper'?"),
        (("segnet", "gone.pt"), "weights gone.pt: No such file"),
        (
            ("faster_rcnn", "w.pt", "--space", "tests.test_own_weights:SPACE"),
            "search space few has no faster_rcnn; known are segnet.",
        ),
    ],
)
def test_evaluate_refuses_unknown_names_in_one_line(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"study: {message}")
