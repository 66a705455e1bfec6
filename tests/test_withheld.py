"""Items withheld from training, the schedules that are measured on them, and sources that were compressed before."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces import Compressed
from tests.test_ray_trainable import SPACE, folder_of, jobs, phases
from tests.test_training import epochs, figures, same_weights, saved_and_loaded
from trainables import CLEAN, Condition, Recipe, Workload, find_codec, recompressed, withheld
from trainables.engine.evaluation import measure, metrics
from trainables.engine.recalibration import recalibrate
from trainables.engine.training import relative_error
from trainables.recipes.schedules import Adaptive, Constant, Weighted, Worst

GROUPS = [f"drive {number // 3}" for number in range(30)]
WORST = Recipe(name="worst", codec="jpeg", schedule=Worst(ladder=(50, 5)))
ADAPTIVE = Recipe(name="adaptive", codec="jpeg", schedule=Adaptive(ladder=(50, 5)))


@pytest.mark.parametrize(("share", "groups"), [(0.0, 0), (0.01, 1), (0.2, 2), (0.5, 5), (0.9, 9)])
def test_a_share_of_whole_groups_is_withheld(share: float, groups: int) -> None:
    found = withheld(GROUPS, share)
    assert len(found) == 3 * groups
    assert len({GROUPS[index] for index in found}) == groups


def test_which_groups_are_withheld_does_not_depend_on_their_order() -> None:
    backwards = GROUPS[::-1]
    assert {backwards[index] for index in withheld(backwards, 0.3)} == {GROUPS[index] for index in withheld(GROUPS, 0.3)}


def test_a_larger_share_withholds_the_same_groups_and_more() -> None:
    assert set(withheld(GROUPS, 0.2)) < set(withheld(GROUPS, 0.4))


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (1.0, "withheld is 1.0: give a share of the training groups, at least 0 and below 1"),
        (-0.1, "withheld is -0.1: give a share"),
        (0.97, "withheld is 0.97: of 10 training groups none remains; lower it"),
    ],
)
def test_an_impossible_share_is_refused_in_one_line(share: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        withheld(GROUPS, share)


@dataclass(frozen=True)
class Sealed:
    """A split of which some items may not be read for training: their ground truth raises."""

    whole: Any
    sealed: frozenset[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)

    def target(self, index: int) -> Any:
        assert index not in self.sealed, f"item {index} was read"
        return self.whole.target(index)


def sealed(workload: Workload) -> Workload:
    """A workload that withholds a third of the training items and cannot read their ground truth."""
    part = replace(workload, withheld=0.3)
    assert len(part.slice) == 4
    train = Sealed(workload.data.train, frozenset(part.slice))
    return replace(part, data=replace(workload.data, train=train))


def test_no_training_reads_a_withheld_item_not_even_to_count_classes(workload: Workload) -> None:
    assert workload.hyper.class_weights != "none"
    assert len(epochs(sealed(workload), number=2)) == 2


def test_no_recalibration_reads_a_withheld_item(workload: Workload) -> None:
    recipe = Recipe(name="recalibrated", codec="jpeg", recalibrated_at=5)
    parent = epochs(workload, number=1)[0].weights
    assert recalibrate(sealed(workload), recipe, parent, seed=0)


def test_a_training_with_withheld_items_equals_one_on_a_split_without_them(workload: Workload) -> None:
    part = replace(workload, withheld=0.3)
    alone = replace(workload, data=part.trained)
    recipe = Recipe(name="constant", codec="jpeg", schedule=Constant(at=5))
    one, other = epochs(part, recipe, number=1), epochs(alone, recipe, number=1)
    # The random streams hang on the items' indices, which differ, but SegNet's examples draw nothing.
    assert figures(one) == figures(other)
    assert same_weights(one[0].weights, other[0].weights)


@pytest.mark.parametrize("recipe", [WORST, ADAPTIVE], ids=["worst", "adaptive"])
def test_a_schedule_that_adapts_resumes_bit_identically_after_each_epoch(workload: Workload, recipe: Recipe) -> None:
    part = replace(workload, withheld=0.3)
    through = epochs(part, recipe, number=3)
    for done in range(3):
        resumed = epochs(part, recipe, number=3, resume=saved_and_loaded(through[done].state))
        assert figures(resumed) == figures(through)[done + 1 :]
        assert [epoch.shares for epoch in resumed] == [epoch.shares for epoch in through[done + 1 :]]
        assert [epoch.state["schedule"] for epoch in resumed] == [epoch.state["schedule"] for epoch in through[done + 1 :]]
        assert all(same_weights(one.weights, other.weights) for one, other in zip(resumed, through[done + 1 :], strict=True))


def test_the_next_epoch_follows_from_the_errors_on_the_withheld_slice(workload: Workload) -> None:
    part = replace(workload, withheld=0.3)
    first, second = epochs(part, WORST, number=2)
    assert first.shares is not None
    assert dict(first.shares) == pytest.approx({None: 1 / 3, 50: 1 / 3, 5: 1 / 3})
    network = part.architecture.learner(part.hyper, part.data, 1, "cpu")
    network.network.load_state_dict(dict(first.weights))
    scores = {
        level: metrics(part.architecture.task.score, measure(part, network, "train", at, items=part.slice).statistics)["miou"]
        for level, at in {None: CLEAN, 50: Condition(codec="jpeg", level=50), 5: Condition(codec="jpeg", level=5)}.items()
    }
    errors = {level: max(0.0, 1 - score / scores[None]) for level, score in scores.items()}
    assert isinstance(WORST.schedule, Worst)
    assert second.shares == dict(zip((None, 50, 5), WORST.schedule.after(errors).shares, strict=True))


def test_measuring_the_withheld_slice_does_not_change_the_epoch(workload: Workload) -> None:
    part = replace(workload, withheld=0.3)
    alike = Recipe(name="alike", codec="jpeg", schedule=Weighted(ladder=(50, 5), clean=1 / 3))
    one, other = epochs(part, alike, number=1), epochs(part, WORST, number=1)
    assert same_weights(one[0].weights, other[0].weights)
    assert one[0].shares is None


def test_a_schedule_that_adapts_needs_withheld_items(workload: Workload) -> None:
    with pytest.raises(ValueError, match="recipe worst adapts to a withheld slice of the training split: withhold a share of it"):
        epochs(workload, WORST)


@pytest.mark.parametrize(
    ("score", "clean", "mode", "error"),
    [
        (0.3, 0.4, "max", 0.25),
        (0.5, 0.4, "max", 0.0),
        (0.0, 0.4, "max", 1.0),
        (0.0, 0.0, "max", 0.0),
        (8.0, 6.0, "min", 0.25),
        (5.0, 6.0, "min", 0.0),
    ],
)
def test_an_error_is_the_lost_part_of_the_clean_score(score: float, clean: float, mode: Any, error: float) -> None:
    assert relative_error(score, clean, mode) == pytest.approx(error)


def test_a_withheld_slice_without_a_score_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match="no numbers: withhold a larger share"):
        relative_error(float("nan"), 0.4, "max")


@pytest.mark.slow
def test_the_history_of_a_trial_holds_the_shares_of_a_schedule_that_adapts(tmp_path: Path) -> None:
    planned = {job.trial.recipe: job for job in jobs(tmp_path, "*/worst", epochs=2, space=replace(SPACE, withheld=0.3))}
    for name in ("baseline", "worst"):
        assert phases(planned[name])[-1] == "done"
    assert "schedule" not in folder_of(planned["baseline"]).history()[0]
    first, second = (record["schedule"] for record in folder_of(planned["worst"]).history())
    assert first == [{"level": None, "share": 0.5}, {"level": 10, "share": 0.5}]
    assert sum(each["share"] for each in second) == pytest.approx(1)


@pytest.mark.slow
def test_a_trial_reads_the_compressed_source_that_its_space_states(tmp_path: Path) -> None:
    plain, compressed = (
        jobs(tmp_path, "*/baseline", space=replace(SPACE, source=source))[0] for source in (None, Compressed("jpeg", 5))
    )
    assert plain.trial.key != compressed.trial.key
    for job in (plain, compressed):
        assert phases(job)[-1] == "done"
    assert folder_of(plain).history()[0]["losses"] != folder_of(compressed).history()[0]["losses"]


def test_a_compressed_source_passes_the_codec_before_anything_else(workload: Workload) -> None:
    data, codec = workload.data, find_codec("jpeg")
    source = recompressed(data, Condition(codec="jpeg", level=75))
    for name in ("train", "val", "test"):
        found, original = source.split(name), data.split(name)
        assert np.array_equal(found.frames(1), codec.decode(codec.encode(original.frames(1), 75)))
        assert np.array_equal(found.target(1), original.target(1))
        assert (list(found.names), list(found.groups)) == (list(original.names), list(original.groups))


def test_a_compressed_source_has_a_fingerprint_of_its_own_for_each_level(workload: Workload) -> None:
    conditions = [CLEAN, *(Condition(codec="jpeg", level=level) for level in (90, 75))]
    assert len({recompressed(workload.data, each).fingerprint for each in conditions}) == 3
    assert recompressed(workload.data, CLEAN) is workload.data
