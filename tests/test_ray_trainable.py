"""The trainable as Tune drives it, without Ray: a trial's whole state is in its folder."""

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from search_spaces import Budget, Space
from search_spaces.demo import SEGNET
from study.plan import make_plan
from tests.full_disk import in_a_child, limit_files
from tests.test_training import Forbidden
from trainables import ARCHITECTURES, DATASETS, Architecture, Folder, Fusion, Job, Source, Split, SplitName, TrialFolder
from trainables.data.embedded import scenes_source
from trainables.ray_trainable import StudyTrainable, steps
from trainables.scenes import CLASSES
from trainables.tasks.segmentation.data import class_map
from trainables.tasks.segmentation.metrics import confusion

pytestmark = pytest.mark.slow


def few_scenes() -> Source:
    return scenes_source("few_scenes", CLASSES, (12, 4, 6), class_map)


def without_a_test_split() -> Source:
    return replace(few_scenes(), test=Forbidden())


def class_map_of(prediction: Any) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = prediction.astype(np.float32)
    return found


def mean_class_maps(outputs: Sequence[npt.NDArray[np.float32]], split: Split) -> list[Any]:
    """Statistics of the rounded mean of two networks' class maps: no sensible prediction, but one that depends on both."""
    means = np.stack(outputs).mean(axis=0).round().astype(np.uint8)
    return [confusion(mean, split.target(index), len(CLASSES)) for index, mean in enumerate(means)]


segnet = ARCHITECTURES["segnet"]
assert isinstance(segnet, Architecture)
FEW = replace(DATASETS["street_scenes"], name="few_scenes", make=few_scenes)
WITHOUT_TEST = replace(FEW, make=without_a_test_split)
LEFT = replace(segnet, name="left", output=class_map_of)
RIGHT = replace(LEFT, name="right", hyper=replace(LEFT.hyper, lr=1e-3))
BOTH = Fusion(
    name="both",
    task=segnet.task,
    streams={"left": "left", "right": "right"},
    fuse=mean_class_maps,
)
BUDGET = Budget(initial="none", epochs=2, hyper={**SEGNET, "width": 1 / 16})
SPACE = Space(
    name="few",
    summary="a small network on few scenes",
    data={"segmentation": "tests.test_ray_trainable:FEW"},
    codecs=("jpeg",),
    ladders={"jpeg": (10,)},
    validation={"jpeg": (5,)},
    cells=("*",),
    budgets={"segnet": BUDGET},
)


def jobs(storage: Path, pattern: str, *, seeds: int = 1, epochs: int = 1, space: Space = SPACE, **hyper: Any) -> list[Job]:
    budgets = {
        name: replace(budget, epochs=epochs, hyper={**budget.hyper, **hyper}) if budget.hyper else budget
        for name, budget in space.budgets.items()
    }
    plan = make_plan(replace(space, budgets=budgets), patterns=[pattern], seeds=seeds, storage=Folder.at(str(storage)))
    return [plan.job(entry) for entry in plan.entries]


def baseline(storage: Path, *, seed: int = 0, epochs: int = 1, **hyper: Any) -> Job:
    return jobs(storage, "*/baseline", seeds=seed + 1, epochs=epochs, **hyper)[seed]


def folder_of(job: Job) -> TrialFolder:
    return TrialFolder(Folder(job.folder))


def path_of(job: Job, name: str) -> Path:
    local = Folder(job.folder).local
    assert local is not None
    return local / name


def phases(job: Job) -> list[str]:
    """Run a job; the phases of its steps, without reports of progress."""
    return [result["phase"] for result in steps(job) if result["phase"] not in {"encode", "measure"}]


def finish(trainable: StudyTrainable) -> None:
    while not trainable.train()["done"]:  # type: ignore[no-untyped-call]
        pass


@dataclass(frozen=True)
class Outcome:
    """A trial's figures, without times."""

    weights: dict[str, bytes]
    epochs: list[Any]
    scores: list[Any]
    replicates: dict[SplitName, dict[str, dict[str, bytes]]]


def outcome(job: Job) -> Outcome:
    folder, timed = folder_of(job), {"time", "seconds", "waiting"}

    def untimed(records: Sequence[dict[str, Any]]) -> list[Any]:
        return [{name: value for name, value in record.items() if name not in timed} for record in records]

    trained = folder.read_state("weights.pt")["weights"] if "weights.pt" in folder.folder.names() else {}
    found: dict[SplitName, Any] = {split: folder.replicates(split) for split, _ in job.views}
    return Outcome(
        weights={name: tensor.numpy().tobytes() for name, tensor in trained.items()},
        epochs=untimed(folder.history()),
        scores=untimed([record for split, condition in job.views for record in folder.scores([condition], split)]),
        replicates={
            split: {name: {key: value.tobytes() for key, value in of_one.items()} for name, of_one in replicates.items()}
            for split, replicates in found.items()
        },
    )


def test_a_reused_actor_runs_a_trial_as_a_fresh_one_does(tmp_path: Path) -> None:
    first, second = (baseline(tmp_path / "reused", seed=seed) for seed in (0, 1))
    reused = StudyTrainable(first.to_config())
    finish(reused)
    assert reused.reset_config(second.to_config())
    finish(reused)
    alone = baseline(tmp_path / "alone", seed=1)
    finish(StudyTrainable(alone.to_config()))
    assert outcome(second) == outcome(alone)
    assert outcome(second).weights != outcome(first).weights


class PulledPlugError(BaseException):
    """The process ends here."""


def interrupt(patched: pytest.MonkeyPatch, at: int | None) -> "count[int]":
    """Raise PulledPlugError in place of the change number `at` (from 0) of any folder: a file written or removed.

    Returns the counter of changes.
    """
    counter, write, remove = count(), Folder.write, Folder.remove

    def changed() -> None:
        if next(counter) == at:
            raise PulledPlugError

    def writing(self: Folder, name: str, data: bytes) -> None:
        changed()
        write(self, name, data)

    def removing(self: Folder, name: str) -> None:
        changed()
        remove(self, name)

    patched.setattr(Folder, "write", writing)
    patched.setattr(Folder, "remove", removing)
    return counter


CHANGES = (
    *("trial.json", "no failure"),
    *("state of epoch 1", "history of epoch 1", "state of epoch 2", "history of epoch 2"),
    *("history", "weights", "seal of training", "no state"),
    *("replicates of clean of val", "score of clean of val", "replicates of jpeg-10 of val", "score of jpeg-10 of val"),
    *("picture of clean", "replicates of clean of test", "score of clean of test"),
    *("picture of jpeg-10", "replicates of jpeg-10 of test", "score of jpeg-10 of test"),
    *("panel", "seal of scoring"),
)
"""Every change that a baseline of two epochs makes to its folder, in order."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Job:
    job = baseline(tmp_path_factory.mktemp("undisturbed"), epochs=2)
    with pytest.MonkeyPatch.context() as patched:
        counter = interrupt(patched, None)
        list(steps(job))
    assert next(counter) == len(CHANGES)
    return job


def interrupted_and_continued(job: Job, change: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        interrupt(patched, change)
        with pytest.raises(PulledPlugError):
            list(steps(job))
    list(steps(job))


@pytest.mark.parametrize("change", range(len(CHANGES)), ids=CHANGES)
def test_a_trial_interrupted_at_any_change_of_its_folder_ends_with_the_undisturbed_figures(
    tmp_path: Path, change: int, undisturbed: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = baseline(tmp_path, epochs=2)
    interrupted_and_continued(job, change, monkeypatch)
    assert outcome(job) == outcome(undisturbed)
    assert [record["epoch"] for record in folder_of(job).history()] == [1, 2]
    assert folder_of(job).progress(job.views).done
    assert not folder_of(job).progress(job.views).failed


@pytest.mark.parametrize(
    "change",
    [pytest.param(number, id=name) for number, name in enumerate(CHANGES) if number >= CHANGES.index("seal of training")],
)
def test_a_trial_interrupted_at_any_change_of_its_folder_ends_with_the_undisturbed_files(
    tmp_path: Path, change: int, undisturbed: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = baseline(tmp_path, epochs=2)
    interrupted_and_continued(job, change, monkeypatch)
    assert folder_of(job).folder.names() == folder_of(undisturbed).folder.names()
    assert set(folder_of(job).manifest()) == set(folder_of(undisturbed).manifest())


def run_on_a_full_disk(config: dict[str, Any]) -> dict[str, Any]:
    """Train one epoch, then go on where files may grow to 4096 bytes. Runs in a child process; returns the last result."""
    running = steps(Job.from_config(config))
    while next(running).get("epoch") != 1:
        pass
    limit_files(4096)
    *_, last = running
    return last


def test_a_full_disk_ends_the_trial_with_its_reason_and_loses_nothing(tmp_path: Path, undisturbed: Job) -> None:
    job = baseline(tmp_path, epochs=2)
    last = in_a_child(run_on_a_full_disk, job.to_config())
    assert last["done"]
    assert last["failure"] == f"OSError: [Errno 27] cannot write {path_of(job, 'state.pt')}: File too large"
    assert folder_of(job).failure() == last["failure"]
    list(steps(job))
    assert outcome(job) == outcome(undisturbed)


def test_an_error_of_the_trial_is_recorded_and_ends_it(tmp_path: Path) -> None:
    job = baseline(tmp_path, lr=1e30)
    *_, last = steps(job)
    assert last["done"]
    assert last["failure"].startswith("FloatingPointError: segnet: loss is")
    assert folder_of(job).failure() == last["failure"]


def test_a_finished_trial_keeps_its_figures_and_neither_training_state_nor_an_old_failure(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    folder_of(job).write_failure("the disk was full")
    list(steps(job))
    names = {name.partition("-10-")[0] for name in folder_of(job).folder.names()}
    assert names == {
        *("trial.json", "history.json", "weights.pt", "done.json"),
        *("replicates/val.npz", "scores/val/clean.json", "scores/val/jpeg"),
        *("replicates/test.npz", "scores/test/clean.json", "scores/test/jpeg"),
        *("pictures/clean.png", "pictures/jpeg-10.png", "panels/jpeg.png"),
    }


def test_the_objective_is_the_mean_of_the_primary_metric_over_the_validation_conditions(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    (objective,) = [result["objective"] for result in steps(job) if result["phase"] == "train"]
    (record,) = folder_of(job).history()
    assert [(each["codec"], each["level"]) for each in record["validation"]] == [(None, None), ("jpeg", 5)]
    assert objective == fmean(each["metrics"]["miou"] for each in record["validation"])


def test_a_search_trial_keeps_no_weights_and_never_reads_the_test_split(tmp_path: Path) -> None:
    space = replace(SPACE, data={"segmentation": "tests.test_ray_trainable:WITHOUT_TEST"})
    (job,) = jobs(tmp_path, "*/baseline", epochs=2, space=space)
    searching = replace(job, trial=replace(job.trial, stage="search"), views=())
    assert phases(searching) == ["train", "train", "done"]
    assert folder_of(searching).folder.names() == {"trial.json", "history.json", "done.json"}
    assert folder_of(searching).progress().done
    assert phases(searching) == ["done"]


def test_a_finished_trial_is_not_run_again(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    list(steps(job))
    before = folder_of(job).folder.read("done.json")
    assert phases(job) == ["done"]
    assert folder_of(job).folder.read("done.json") == before


def test_validation_is_scored_before_test_and_both_are_sealed(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    assert [result["view"] for result in steps(job) if result["phase"] == "score"] == [
        *("clean of val", "jpeg-10 of val"),
        *("clean of test", "jpeg-10 of test"),
    ]
    scored = {name.rpartition("/")[0] for name in folder_of(job).manifest() if name.startswith("scores/")}
    assert scored == {"scores/val", "scores/test"}


def test_a_trial_without_validation_scores_gains_them_alone(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    list(steps(replace(job, views=tuple(view for view in job.views if view.split == "test"))))
    folder = folder_of(job).folder
    before = {name: folder.read(name) for name in folder.names() - {"done.json"}}
    assert (folder_of(job).progress(job.views).trained, folder_of(job).progress(job.views).done) == (True, False)
    assert phases(job) == ["score", "score", "done"]
    assert {name: folder.read(name) for name in before} == before
    added = folder.names() - {*before, "done.json"}
    assert {name.split("/")[1].removesuffix(".npz") for name in added} == {"val"}
    assert folder_of(job).progress(job.views).done


def test_a_lost_score_is_the_only_figure_that_is_computed_again(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    list(steps(job))
    before = outcome(job)
    path_of(job, "scores/test/clean.json").unlink()
    assert phases(job) == ["score", "done"]
    assert outcome(job) == before


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("lose", [truncate, Path.unlink], ids=["truncated", "deleted"])
@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("replicates/val.npz", ["score", "score", "done"]),
        ("replicates/test.npz", ["score", "score", "done"]),
        ("weights.pt", ["train", "done"]),
    ],
)
def test_lost_replicates_are_scored_again_and_lost_weights_are_trained_again(
    tmp_path: Path, name: str, again: list[str], lose: Callable[[Path], None]
) -> None:
    job = baseline(tmp_path)
    list(steps(job))
    before = outcome(job)
    lose(path_of(job, name))
    assert not folder_of(job).progress(job.views).done
    assert phases(job) == again
    assert outcome(job) == before
    assert folder_of(job).progress(job.views).done


def test_a_child_of_corrupt_weights_fails_in_one_line_that_names_their_file(tmp_path: Path) -> None:
    parent, child = jobs(tmp_path, "*/recalibrated-10")
    list(steps(parent))
    weights = path_of(parent, "weights.pt")
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(bytes(data))
    *_, last = steps(child)
    assert last["failure"].startswith(f"ValueError: {weights.as_uri()}: corrupt file (checksum mismatch); delete it, ")
    assert "\n" not in last["failure"]


def test_recalibration_changes_only_the_statistics_of_the_parent(tmp_path: Path) -> None:
    parent, recalibrated = jobs(tmp_path, "*/recalibrated-10")
    list(steps(parent))
    assert phases(recalibrated) == ["score", "score", "score", "score", "done"]
    before, after = outcome(parent), outcome(recalibrated)
    changed = {name.rpartition(".")[2] for name in before.weights if before.weights[name] != after.weights[name]}
    assert changed - {"num_batches_tracked"} == {"running_mean", "running_var"}
    assert before.scores != after.scores
    assert after.epochs == []


def test_a_retrained_network_starts_from_its_parent(tmp_path: Path) -> None:
    parent, _, child = jobs(tmp_path, "*/constant-10", optimiser="sgd", lr=0.0, lr_schedule="constant")
    list(steps(parent))
    assert phases(child) == ["train", "score", "score", "score", "score", "done"]
    before, after = outcome(parent).weights, outcome(child).weights
    changed = {name.rpartition(".")[2] for name in before if before[name] != after[name]}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_a_module_that_cannot_be_imported_on_a_worker_ends_the_trial_in_one_line(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    strange = replace(job, trial=replace(job.trial, architecture="no_such_module:NET"))
    *_, last = steps(strange)
    assert last["failure"].startswith("ValueError: architecture 'no_such_module:NET': cannot import no_such_module (")
    assert "\n" not in last["failure"]


def fusion(storage: Path, *, trained: bool = True) -> tuple[Job, Job, Job]:
    """The jobs of two streams and of their fusion; the streams' are run."""
    here = "tests.test_ray_trainable"
    budgets = {f"{here}:LEFT": BUDGET, f"{here}:RIGHT": BUDGET, f"{here}:BOTH": Budget(initial="none")}
    space = replace(SPACE, budgets=budgets)
    left, right, both = jobs(storage, "both/clean/baseline", space=space)
    if trained:
        list(steps(left))
        list(steps(right))
    return left, right, both


def test_a_fusion_is_scored_on_the_outputs_of_its_streams_and_trains_nothing(tmp_path: Path) -> None:
    left, right, both = fusion(tmp_path)
    assert phases(both) == ["score", "score", "score", "score", "done"]
    assert folder_of(both).progress(both.views).done
    source = few_scenes()
    for (split, condition), record, of_left in zip(both.views, outcome(both).scores, outcome(left).scores, strict=True):
        assert record["split"] == split
        outputs = [folder_of(stream).outputs(condition, split) for stream in (left, right)]
        statistics = mean_class_maps(outputs, source.split(split))
        accuracy = sum(np.trace(each) for each in statistics) / sum(each.sum() for each in statistics)
        assert record["metrics"]["global_accuracy"] == pytest.approx(accuracy)
        assert record["bits_per_pixel"] == of_left["bits_per_pixel"]
    assert phases(both) == ["done"]


def test_a_fusion_interrupted_at_any_change_of_its_folder_ends_with_the_undisturbed_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, both = fusion(tmp_path)
    with monkeypatch.context() as patched:
        counter = interrupt(patched, None)
        list(steps(both))
    expected, changes = outcome(both), next(counter)
    assert changes == 12  # trial, no failure, seal, (replicates and score) of four views, seal
    for change in range(changes):
        again = replace(both, folder=Folder(both.folder).child(f"../interrupted-{change}").uri)
        interrupted_and_continued(again, change, monkeypatch)
        assert outcome(again) == expected
        assert folder_of(again).progress(again.views).done


def test_a_fusion_without_the_outputs_of_a_stream_fails_in_one_line(tmp_path: Path) -> None:
    *_, both = fusion(tmp_path, trained=False)
    *_, last = steps(both)
    assert last["failure"].startswith("FileNotFoundError: ")
    assert "\n" not in last["failure"]


def test_a_node_that_holds_other_data_than_the_launch_is_named_and_trains_nothing(tmp_path: Path) -> None:
    job = baseline(tmp_path)
    other = replace(job, trial=replace(job.trial, fingerprint="0123456789abcdef"))
    *_, last = steps(other)
    assert last["phase"] == "failed"
    assert socket.gethostname() in last["failure"]
    assert "copy the same files to every node" in last["failure"]
    assert folder_of(other).history() == []
