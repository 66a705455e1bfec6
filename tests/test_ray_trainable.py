"""The trainable as Tune drives it, without Ray: its folder is the truth."""

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces import DEMO
from study.plan import make_plan
from trainables import Folder, Job, TrialFolder
from trainables.ray_trainable import StudyTrainable, steps

pytestmark = pytest.mark.slow


def baseline(storage: Path, seed: int, epochs: int = 1, **changes: Any) -> Job:
    """The baseline of the demo, on all its scenes, a quarter as wide."""
    return jobs(storage, "*/baseline", seeds=seed + 1, epochs=epochs, **changes)[seed]


def jobs(storage: Path, pattern: str, *, seeds: int = 1, epochs: int = 1, **changes: Any) -> list[Job]:
    budget = replace(DEMO.budgets["segnet"], epochs=epochs, hyper={**DEMO.budgets["segnet"].hyper, "width": 1 / 16, **changes})
    space = replace(DEMO, budgets={"segnet": budget}, cells=("*/clean/*", "*/jpeg/*"))
    plan = make_plan(space, patterns=[pattern], seeds=seeds, storage=Folder.at(str(storage)))
    return [plan.job(entry) for entry in plan.entries]


def finish(trainable: StudyTrainable) -> None:
    while not trainable.train()["done"]:  # type: ignore[no-untyped-call]
        pass


def outcome(job: Job) -> tuple[Any, Any]:
    """Weights and scores, without times."""
    folder = TrialFolder(Folder(job.folder))
    weights = {name: tensor.numpy().tobytes() for name, tensor in folder.read_state("weights.pt")["weights"].items()}
    scores = folder.scores(job.conditions)
    for record in scores:
        del record["time"]
    return weights, scores


def test_a_trial_after_another_in_one_actor_equals_the_trial_alone(tmp_path: Path) -> None:
    first, second = baseline(tmp_path / "reused", 0), baseline(tmp_path / "reused", 1)
    reused = StudyTrainable(first.to_config())
    finish(reused)
    assert reused.reset_config(second.to_config())
    finish(reused)
    alone = baseline(tmp_path / "alone", 1)
    finish(StudyTrainable(alone.to_config()))
    assert outcome(second) == outcome(alone)
    assert outcome(second)[0] != outcome(first)[0]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = baseline(tmp_path_factory.mktemp("undisturbed"), 0, epochs=2)
    list(steps(job))
    return job


# trial.json, then state and history of each epoch, history and weights at the end, picture and score of each condition
@pytest.mark.parametrize("write", [1, 2, 3, 4, 7, 9])
def test_an_interruption_at_a_write_changes_nothing(
    tmp_path: Path, write: int, undisturbed: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = baseline(tmp_path, 0, epochs=2)
    real, writes = Folder.write, 0

    class PulledPlugError(BaseException):
        pass

    def interrupted(self: Folder, name: str, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes == write:
            raise PulledPlugError
        real(self, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", interrupted)
        with pytest.raises(PulledPlugError):
            list(steps(job))
    list(steps(job))
    assert outcome(job) == outcome(undisturbed)
    folder = TrialFolder(Folder(job.folder))
    assert [record["epoch"] for record in folder.history()] == [1, 2]
    assert not folder.progress(job.conditions).failed


def test_a_full_disk_ends_the_trial_with_its_reason_and_loses_nothing(tmp_path: Path, undisturbed: Job) -> None:
    job = baseline(tmp_path, 0, epochs=2)
    running = steps(job)
    while next(running).get("epoch") != 1:
        pass
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        *_, last = running
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert last["done"]
    assert "cannot write" in last["failure"]
    assert "state.pt: File too large" in last["failure"]
    list(steps(job))
    assert outcome(job) == outcome(undisturbed)


def test_an_error_of_the_trial_is_kept_and_ends_it(tmp_path: Path) -> None:
    job = baseline(tmp_path, 0, lr=1e30)
    *_, last = steps(job)
    assert last["done"]
    assert last["failure"].startswith("FloatingPointError: segnet: loss is")
    assert TrialFolder(Folder(job.folder)).failure() == last["failure"]


def test_a_finished_trial_has_its_figures_and_neither_training_state_nor_old_failure(tmp_path: Path) -> None:
    job = baseline(tmp_path, 0)
    TrialFolder(Folder(job.folder)).write_failure("the disk was full")
    list(steps(job))
    names = TrialFolder(Folder(job.folder)).folder.names()
    assert "failure.json" not in names
    assert "state.pt" not in names
    assert {"trial.json", "weights.pt", "history.json", "scores/clean.json", "pictures/clean.png", "panels/jpeg.png"} <= names


def test_a_lost_score_is_the_only_thing_that_is_made_again(tmp_path: Path) -> None:
    job = baseline(tmp_path, 0)
    list(steps(job))
    folder = TrialFolder(Folder(job.folder))
    before = outcome(job)
    folder.folder.remove("scores/clean.json")
    assert [result["phase"] for result in steps(job)] == ["score", "done"]
    assert outcome(job) == before


def test_a_recalibrated_network_is_its_parent_with_other_statistics(tmp_path: Path) -> None:
    parent, recalibrated = jobs(tmp_path, "*/recalibrated-5")
    list(steps(parent))
    phases = [result["phase"] for result in steps(recalibrated)]
    assert "train" not in phases
    assert phases[-1] == "done"
    before, after = outcome(parent)[0], outcome(recalibrated)[0]
    changed = {name.rpartition(".")[2] for name in before if before[name] != after[name]}
    assert changed - {"num_batches_tracked"} == {"running_mean", "running_var"}
    assert outcome(parent)[1] != outcome(recalibrated)[1]


def test_a_module_that_does_not_import_on_a_worker_ends_the_trial_with_one_line(tmp_path: Path) -> None:
    job = baseline(tmp_path, 0)
    strange = replace(job, trial=replace(job.trial, architecture="no_such_module:NET"))
    *_, last = steps(strange)
    assert last["failure"].startswith("ValueError: architecture 'no_such_module:NET': no_such_module does not import")
    assert "\n" not in last["failure"]
