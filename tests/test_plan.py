from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces import DEMO, PAPER, SPACES, Budget, Retraining, Space
from search_spaces.demo import STILLS
from study.cells import find_space, space_cells
from study.flags import read_data_flags
from study.overview import plan_rows, plan_text
from study.plan import Earlier, Entry, Fixed, Plan, earlier_trials, hyper_of, make_plan, resolve, store_needs
from study.searcher import PlanSearcher
from trainables import ARCHITECTURES, CODECS, Architecture, Folder, Fusion, Hyper, Score, Trial, TrialFolder, recipes_of

SPACE = replace(DEMO, cells=STILLS, budgets={"segnet": DEMO.budgets["segnet"]})
"""One architecture of the demo."""
OTHER_LADDER = replace(
    SPACE,
    cells=("*/clean/*", "*/jpeg/constant-*", "*/jpeg/recalibrated-*", "*/jpeg/uniform"),
    ladders={"jpeg": (90, 60, 30)},
    validation={"jpeg": (30,)},
    name="other_ladder",
)


def plan(tmp_path: Path, *patterns: str, space: Space = SPACE, seeds: int | None = None, data: tuple[str, ...] = ()) -> Plan:
    return make_plan(space, patterns=patterns, seeds=seeds, data=data, storage=Folder.at(str(tmp_path)))


def trials(planned: Plan) -> dict[str, Trial]:
    return {str(entry): trial for entry in planned.entries if (trial := planned.trial(entry)) is not None}


def keys(planned: Plan) -> dict[str, str]:
    return {name: trial.key for name, trial in trials(planned).items()}


def test_parents_come_before_children(tmp_path: Path) -> None:
    seen: set[str] = set()
    for trial in trials(plan(tmp_path, seeds=2)).values():
        assert set(trial.parents) <= seen
        seen.add(trial.key)


def test_a_retrained_cell_brings_its_baseline_and_control(tmp_path: Path) -> None:
    names = {entry.cell.name for entry in plan(tmp_path, "segnet/jpeg/constant-5").entries}
    assert names == {"segnet/clean/baseline", "segnet/clean/continued", "segnet/jpeg/constant-5"}


def test_the_baseline_can_be_planned_alone(tmp_path: Path) -> None:
    assert [entry.cell.name for entry in plan(tmp_path, "*/baseline").entries] == ["segnet/clean/baseline"]


def test_architectures_have_their_own_trials(tmp_path: Path) -> None:
    planned = plan(tmp_path, "*/constant-5", space=DEMO)
    of_stills = sum(not ARCHITECTURES[name].task.clips for name in DEMO.budgets)
    assert len(set(keys(planned).values())) == len(planned.entries) == 3 * of_stills  # with baseline and control
    for entry in planned.entries:
        assert {parent.cell.architecture.name for parent in entry.parents} <= {entry.cell.architecture.name}


def test_every_cell_runs_with_every_seed(tmp_path: Path) -> None:
    one, three = plan(tmp_path), plan(tmp_path, seeds=3)
    assert len(three.entries) == 3 * len(one.entries)
    assert {entry.seed for entry in three.entries} == {0, 1, 2}


def test_a_child_starts_from_the_baseline_of_its_own_seed(tmp_path: Path) -> None:
    for entry in plan(tmp_path, seeds=2).entries:
        assert all(parent.seed == entry.seed for parent in entry.parents)


def test_clean_and_every_level_of_the_ladder_are_scored_on_validation_and_then_on_test(tmp_path: Path) -> None:
    conditions = ["clean", *(f"jpeg-{level}" for level in CODECS["jpeg"].levels)]
    views = [str(view) for view in plan(tmp_path).entries[0].views]
    assert views == [f"{condition} of {split}" for split in ("val", "test") for condition in conditions]


def test_a_pattern_selects_from_the_plan_without_changing_trials(tmp_path: Path) -> None:
    assert keys(plan(tmp_path, "*/uniform")).items() <= keys(plan(tmp_path)).items()


def test_a_longer_budget_changes_the_trial_and_its_children(tmp_path: Path) -> None:
    longer = replace(SPACE, budgets={"segnet": replace(DEMO.budgets["segnet"], epochs=9)})
    assert set(keys(plan(tmp_path)).values()).isdisjoint(keys(plan(tmp_path, space=longer)).values())


def test_iterations_are_rounded_up_to_whole_epochs(tmp_path: Path) -> None:
    space = replace(DEMO, cells=STILLS, budgets={"segnet": Budget(initial="none", iterations=101, hyper={"batch_size": 6})})
    # 300 scenes in batches of 6 are 50 steps per epoch; step 101 is the first of the third epoch
    assert {trial.epochs for trial in trials(plan(tmp_path, "*/clean/*", space=space)).values()} == {3}


def test_retraining_has_a_budget_of_its_own_that_the_control_shares(tmp_path: Path) -> None:
    budget = replace(DEMO.budgets["segnet"], epochs=16, retraining=Retraining(epochs=6, hyper={"lr": 1e-3}))
    found = trials(plan(tmp_path, space=replace(SPACE, budgets={"segnet": budget})))
    lengths = {trial.recipe: (trial.epochs, trial.hyper["lr"]) for trial in found.values()}
    assert lengths.pop("baseline") == (16, 4e-3)
    assert lengths.pop("recalibrated-10") == (0, 4e-3)
    assert set(lengths.values()) == {(6, 1e-3)}
    assert "continued" in lengths


def test_an_imported_baseline_leaves_the_retraining_budget_to_its_children(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"weights")
    budget = replace(DEMO.budgets["segnet"], retraining=Retraining(epochs=6))
    space = replace(SPACE, budgets={"segnet": budget})
    planned = make_plan(space, patterns=["*/continued"], baselines=[str(weights)], storage=Folder.at(str(tmp_path)))
    assert {trial.recipe: trial.epochs for trial in trials(planned).values()} == {"baseline": 0, "continued": 6}


def test_without_its_data_a_plan_says_which_flag_to_pass(tmp_path: Path) -> None:
    planned = plan(tmp_path, space=PAPER)
    assert {planned.state(entry) for entry in planned.entries} == {"no data"}
    assert all("pass --data" in reason for reason in planned.no_data.values())


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("nonsense", "expected NAME=PATH"),
        ("camvit=/x", "did you mean 'camvid'"),
        ("segmentation=nowhere", "unknown data set 'nowhere' for segmentation"),
        ("segmentation=", "expected NAME=PATH"),
    ],
)
def test_a_meaningless_data_flag_is_refused_with_its_value(flag: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_data_flags([flag])


def test_a_flag_picks_another_data_set_for_a_task(tmp_path: Path) -> None:
    planned = plan(tmp_path, data=("segmentation=camvid",))
    assert {entry.cell.dataset for entry in planned.entries} == {"camvid"}


def test_a_pattern_that_matches_nothing_is_refused_with_the_closest_cells(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'segnet/jpg/uniform' matches no cell; did you mean 'segnet/jpeg/uniform'"):
        plan(tmp_path, "segnet/jpg/uniform")


def test_an_unknown_space_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown search space 'mars'; known are demo, paper"):
        find_space("mars")


def test_an_unknown_hyper_parameter_is_refused_with_the_closest_one() -> None:
    architecture = ARCHITECTURES["segnet"]
    assert isinstance(architecture, Architecture)
    with pytest.raises(ValueError, match=r"segnet has no hyper-parameter 'weigth_decay'; did you mean 'weight_decay'"):
        hyper_of(architecture, {"weigth_decay": 1})


def test_a_space_without_a_needed_control_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs segnet with recipe 'continued', which the search space leaves out"):
        plan(tmp_path, space=replace(SPACE, cells=("*/baseline", "*/uniform")))


def test_a_budget_needs_epochs_or_iterations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs or iterations"):
        plan(tmp_path, space=replace(DEMO, cells=STILLS, budgets={"segnet": Budget(initial="none")}))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_a_space_names_only_recipes_that_exist(space: Space) -> None:
    cells = space_cells(space)
    assert cells
    for cell in cells:
        table = {recipe.name for recipe in recipes_of(cell.architecture, cell.codec.name if cell.codec else None, cell.ladder)}
        assert cell.recipe.name in table | space.variants.keys()


def test_a_study_reads_its_training_levels_and_the_whole_ladder_of_validation_and_test(tmp_path: Path) -> None:
    (needs,) = store_needs(plan(tmp_path, "*/constant-5")).values()
    levels = {part: {condition.level for split, condition, _ in needs if split == part} for part in ("train", "val", "test")}
    ladder = {None, *CODECS["jpeg"].levels}
    assert levels == {"train": {None, 5}, "val": ladder, "test": ladder}


def test_every_recipe_of_a_space_is_validated_under_the_same_conditions(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    assert len({planned.job(entry).validation for entry in planned.entries}) == 1


@dataclass(frozen=True)
class Webp:
    """A codec that is not in the table."""

    name: str = "webp"
    levels: tuple[int, ...] = (80, 20)
    shown: tuple[int, ...] = (20,)
    clips: bool = False


@pytest.mark.parametrize("space", [DEMO, PAPER], ids=["demo", "paper"])
def test_a_codec_that_joins_the_table_does_not_change_the_plan_of_a_space(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = plan(tmp_path, space=space)
    monkeypatch.setitem(CODECS, "webp", Webp())
    after = plan(tmp_path, space=space)
    assert keys(after) == keys(before)
    assert [entry.conditions for entry in after.entries] == [entry.conditions for entry in before.entries]


def test_a_space_with_its_own_ladder_plans_trains_validates_and_tests_at_it(tmp_path: Path) -> None:
    planned = plan(tmp_path, space=OTHER_LADDER)
    recipes = {entry.cell.recipe.name for entry in planned.entries if entry.cell.codec}
    assert recipes == {f"{kind}-{level}" for kind in ("constant", "recalibrated") for level in (90, 60, 30)} | {"uniform"}
    read = {condition.level for needs in store_needs(planned).values() for _, condition, _ in needs}
    assert read == {None, 90, 60, 30}
    assert trials(planned)["segnet/jpeg/uniform seed 0"].ladder == (90, 60, 30)


def test_rungs_beside_its_own_level_do_not_rename_a_constant_trial(tmp_path: Path) -> None:
    wider = replace(SPACE, ladders={"jpeg": (95, 75, 50, 30, 15, 10, 5)})
    before, after = keys(plan(tmp_path)), keys(plan(tmp_path, space=wider))
    assert after["segnet/jpeg/constant-10 seed 0"] == before["segnet/jpeg/constant-10 seed 0"]
    assert after["segnet/jpeg/uniform seed 0"] != before["segnet/jpeg/uniform seed 0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ladders": {"jpeg": (30, 60, 90)}}, r"ladder \(30, 60, 90\) of jpeg: give distinct levels, mildest first \(falling\)"),
        ({"ladders": {"jpeg": ()}}, "give distinct levels"),
        ({"ladders": {"jpeg": (90, 0)}}, "jpeg: "),
        ({"ladders": {"jpg": (90, 60)}}, r"`ladders` names 'jpg', which `codecs` does not; did you mean 'jpeg'"),
        ({"validation": {"webp": (50,)}}, "`validation` names 'webp'"),
        ({"validation": {"jpeg": (101,)}}, "search space demo: jpeg"),
        ({"codecs": ("jpeg", "h265")}, r"unknown codec 'h265'; did you mean 'h264'"),
    ],
)
def test_an_impossible_ladder_or_codec_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        plan(tmp_path, space=replace(SPACE, **change))
    assert "\n" not in str(refused.value)


def test_a_clip_codec_applies_to_clip_tasks_alone() -> None:
    for cell in space_cells(DEMO):
        assert cell.codec is None or cell.codec.clips == cell.architecture.task.clips


def test_hyper_parameters_at_their_default_are_not_part_of_a_trial(tmp_path: Path) -> None:
    stated = replace(
        SPACE, budgets={"segnet": replace(DEMO.budgets["segnet"], hyper={**DEMO.budgets["segnet"].hyper, "momentum": 0.9})}
    )
    assert keys(plan(tmp_path, space=stated)) == keys(plan(tmp_path))


def test_resolving_adds_hyper_parameters_and_replaces_fields_of_the_schedule(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    entry = next(entry for entry in planned.entries if entry.cell.recipe.name == "constant-10")
    (parent,) = (trials(planned)[str(each)] for each in entry.parents)
    source = planned.sources["street_scenes"]
    made = resolve(planned.space, entry, {"lr": 0.5, "schedule.at": 12}, [parent], source)
    assert (made.hyper["lr"], made.shape, made.parents) == (0.5, {"at": 12}, (parent.key,))
    assert made.identities != trials(planned)[str(entry)].identities
    with pytest.raises(ValueError, match=r"recipe constant-10: its schedule has no 'att'; did you mean 'at'"):
        resolve(planned.space, entry, {"schedule.att": 12}, [parent], source)


class Search(Fixed):
    """A stage of two search trials, at whose end the other entries' learning rate is known."""

    def __init__(self, cell: Any, seed: int) -> None:
        self.searched = [Entry(cell=cell, seed=seed, stage="search", number=number, initial="none") for number in range(2)]

    def entries(self, plan: Plan) -> Sequence[Entry]:  # noqa: ARG002
        return self.searched

    def hyper(self, plan: Plan, entry: Entry) -> Hyper | None:
        if entry.stage == "search":
            return {"lr": 0.001 * (1 + entry.number)}
        done = all(plan.state(each) == "done" for each in self.searched)
        return {"lr": 0.002} if done else None


def searched(tmp_path: Path) -> tuple[Plan, Search]:
    planned = plan(tmp_path, "*/constant-5")
    baseline = planned.entries[0]
    search = Search(baseline.cell, 0)
    fresh = Plan(
        space=planned.space, entries=list(planned.entries), storage=planned.storage, paths={}, sources=planned.sources,
        no_data={}, weights={}, growth=search,
    )  # fmt: skip
    return fresh, search


def finish(planned: Plan, entry: Entry) -> None:
    """Write what a trial without test conditions leaves."""
    folder, trial = planned.folder(entry), planned.trial(entry)
    assert folder is not None
    assert trial is not None
    folder.write_json("trial.json", trial.to_json())
    folder.write_json("history.json", [])
    folder.seal()


def test_a_plan_gains_entries_and_resolves_the_others_when_their_hyper_parameters_are_known(tmp_path: Path) -> None:
    planned, search = searched(tmp_path)
    assert trials(planned) == {}
    assert planned.grow() == search.searched
    assert planned.grow() == []
    assert set(trials(planned)) == {"segnet/clean/baseline seed 0 search 0", "segnet/clean/baseline seed 0 search 1"}
    assert all(entry.views == () for entry in search.searched)
    for entry in search.searched:
        finish(planned, entry)
    assert {trial.hyper["lr"] for trial in trials(planned).values() if trial.stage == "final"} == {0.002}
    assert len(trials(planned)) == len(planned.entries) == 5


def test_the_searcher_waits_for_a_stage_and_then_hands_out_what_it_decided(tmp_path: Path) -> None:
    planned, search = searched(tmp_path)
    started: list[str] = []
    searcher = PlanSearcher(planned, started=lambda entry: started.append(str(entry)), finished=lambda _: None)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert [config["trial"]["stage"] for config in (first, second)] == ["search", "search"]
    assert searcher.suggest("c") is None
    for name, entry in zip("ab", search.searched, strict=True):
        finish(planned, entry)
        searcher.on_trial_complete(name, {"phase": "done"})
    baseline = searcher.suggest("d")
    assert (baseline["entry"], baseline["trial"]["hyper"]["lr"]) == ("segnet/clean/baseline seed 0", 0.002)
    assert searcher.suggest("e") is None
    searcher.on_trial_complete("d", error=True)
    assert searcher.suggest("f") == PlanSearcher.FINISHED  # its children can never start
    assert len(started) == 3


def test_two_entries_with_equal_values_share_one_trial_that_runs_once(tmp_path: Path) -> None:
    planned, search = searched(tmp_path)
    search.searched[1] = replace(search.searched[0], number=1)
    search.hyper = lambda _, entry: {"lr": 0.003} if entry.stage == "search" else None  # type: ignore[method-assign,assignment]
    told: list[str] = []
    searcher = PlanSearcher(planned, started=lambda _: None, finished=lambda entry: told.append(str(entry)))
    assert searcher.suggest("a")["entry"].endswith("search 0")
    assert searcher.suggest("b") is None
    finish(planned, search.searched[0])
    searcher.on_trial_complete("a", {"phase": "done"})
    assert searcher.suggest("c") == PlanSearcher.FINISHED
    assert told == ["segnet/clean/baseline seed 0 search 1"]


def test_a_fusion_waits_for_scores_and_everything_else_for_weights(tmp_path: Path) -> None:
    for entry in plan(tmp_path, "two_stream*", space=DEMO).entries:
        assert entry.needs_scores == isinstance(entry.cell.architecture, Fusion)


def lines_with(text: str, planned: Plan) -> list[str]:
    """The lines below the table of `study plan` that contain a text."""
    told = plan_text(planned, plan_rows(planned), {"predicted_bytes": 0, "limit_bytes": 0, "root": ""})
    return [str(line) for line in told.renderables if text in str(line)]


def test_trial_folders_of_an_earlier_format_are_counted_and_left_alone(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    for key in ("0123456789abcdef", "fedcba9876543210"):
        folder = Folder.at(str(tmp_path)).child(f"trials/{key}")
        folder.write("trial.json", b'{"format": 1, "architecture": "segnet"}')
        folder.write("weights.pt", b"weights")
    Folder.at(str(tmp_path)).child("trials/foreign").write("notes.txt", b"not a trial")
    assert earlier_trials(planned) == Earlier(formats=2, revisions=0)
    (line,) = lines_with("trial folders", planned)
    assert line.startswith("2 trial folders of an earlier format in ")
    assert line.endswith(": left alone, their trials are trained again")


def test_a_storage_of_this_format_has_no_earlier_trials(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    folder = planned.folder(planned.entries[0])
    assert folder is not None
    folder.write_json("trial.json", trials(planned)[str(planned.entries[0])].to_json())
    assert earlier_trials(plan(tmp_path, "*/uniform")) == Earlier(formats=0, revisions=0)


def store(planned: Plan, trial: Trial) -> Trial:
    """Write the record of a trial to the folder that its key names."""
    TrialFolder(planned.storage.child(f"trials/{trial.key}")).write_json("trial.json", trial.to_json())
    return trial


REVISED = ["architecture_revision", "recipe_revision"]


@pytest.mark.parametrize("revision", REVISED)
def test_a_trial_of_an_earlier_revision_is_counted_and_left_alone(tmp_path: Path, revision: str) -> None:
    planned = plan(tmp_path, "*/continued")
    baseline = trials(planned)["segnet/clean/baseline seed 0"]
    earlier = store(planned, replace(baseline, **{revision: getattr(baseline, revision) + 7}))
    assert earlier_trials(planned) == Earlier(formats=0, revisions=1)
    (line,) = lines_with("trial folders", planned)
    assert line.startswith("1 trial folders of an earlier revision in ")
    assert line.endswith("since the architecture or the recipe changed in a way that changes figures")
    assert planned.storage.child(f"trials/{earlier.key}").names() == {"trial.json"}


@pytest.mark.parametrize("revision", REVISED)
def test_the_children_of_an_earlier_revision_are_of_an_earlier_revision_too(tmp_path: Path, revision: str) -> None:
    planned = plan(tmp_path, "*/constant-5")
    found = trials(planned)
    changed: dict[str, Any] = {revision: 7}
    parent = store(planned, replace(found["segnet/clean/baseline seed 0"], **changed))
    child = store(planned, replace(found["segnet/jpeg/constant-5 seed 0"], parents=(parent.key,)))
    store(planned, replace(found["segnet/jpeg/constant-5 seed 0"], parents=(child.key,)))  # another lineage
    assert earlier_trials(planned) == Earlier(formats=0, revisions=2)


def test_a_child_of_another_revision_may_have_a_planned_parent(tmp_path: Path) -> None:
    planned = plan(tmp_path, "*/continued")
    store(planned, replace(trials(planned)["segnet/clean/continued seed 0"], recipe_revision=7))
    assert earlier_trials(planned) == Earlier(formats=0, revisions=1)


@pytest.mark.parametrize("change", [{"seed": 5}, {"epochs": 3}, {"hyper": {"lr": 0.5}}, {"parents": ("0123456789abcdef",)}])
def test_a_trial_that_differs_in_more_than_its_revision_is_of_no_earlier_one(tmp_path: Path, change: dict[str, Any]) -> None:
    planned = plan(tmp_path, "*/continued")
    store(planned, replace(trials(planned)["segnet/clean/continued seed 0"], recipe_revision=7, **change))
    assert earlier_trials(planned) == Earlier(formats=0, revisions=0)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 2, "hyper": 3}', b'{"format": 99}'])
def test_a_folder_whose_record_is_no_trial_of_this_version_is_not_counted(tmp_path: Path, content: bytes) -> None:
    planned = plan(tmp_path, "*/baseline")
    planned.storage.child("trials/0123456789abcdef").write("trial.json", content)
    assert earlier_trials(planned) == Earlier(formats=0, revisions=0)


def test_trained_networks_without_scores_on_one_split_are_said_to_be_scored_and_not_trained_again(tmp_path: Path) -> None:
    planned = plan(tmp_path, "*/continued")
    baseline, continued = planned.entries
    finish(planned, baseline)
    folder = planned.folder(baseline)
    assert folder is not None
    for condition in baseline.conditions:
        folder.write_score(
            Score(
                condition=condition, bits_per_pixel=None, stream_bits_per_pixel=None, bytes_per_item=None, metrics={"miou": 0.5},
                replicates={"miou": np.zeros(1)},
            )
        )  # fmt: skip
    folder.seal()
    assert (planned.state(baseline), planned.state(continued)) == ("partial", "missing")
    (line,) = lines_with("lack scores", planned)
    assert line == "1 trained networks lack scores: they are scored, not trained again"


def test_a_plan_in_an_empty_storage_says_nothing_of_earlier_trials_and_missing_scores(tmp_path: Path) -> None:
    planned = plan(tmp_path, "*/baseline")
    assert lines_with("trial folders", planned) == lines_with("lack scores", planned) == []
