from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces import DEMO, PAPER, SPACES, Budget, Space
from search_spaces.demo import STILLS
from study.plan import Plan, find_space, make_plan, read_data_flags, resolve_hyper, space_cells, store_needs
from trainables import ARCHITECTURES, CODECS, Folder, recipes_of

SPACE = replace(DEMO, cells=STILLS, budgets={"segnet": DEMO.budgets["segnet"]})
"""One architecture of the demo."""


def plan(tmp_path: Path, *patterns: str, space: Space = SPACE, seeds: int | None = None, data: tuple[str, ...] = ()) -> Plan:
    return make_plan(space, patterns=patterns, seeds=seeds, data=data, storage=Folder.at(str(tmp_path)))


def test_parents_come_before_children(tmp_path: Path) -> None:
    seen: set[str] = set()
    for entry in plan(tmp_path, seeds=2).entries:
        assert set(entry.trial.parents) <= seen
        seen.add(entry.trial.key)


def test_a_retrained_cell_brings_its_baseline_and_control(tmp_path: Path) -> None:
    names = {entry.cell.name for entry in plan(tmp_path, "segnet/jpeg/constant-5").entries}
    assert names == {"segnet/clean/baseline", "segnet/clean/continued", "segnet/jpeg/constant-5"}


def test_the_baseline_alone_can_be_asked_for(tmp_path: Path) -> None:
    assert [entry.cell.name for entry in plan(tmp_path, "*/baseline").entries] == ["segnet/clean/baseline"]


def test_architectures_have_trials_of_their_own(tmp_path: Path) -> None:
    entries = plan(tmp_path, "*/constant-5", space=DEMO).entries
    of_stills = sum(ARCHITECTURES[name].codec == "jpeg" for name in DEMO.budgets)
    assert len({entry.trial.key for entry in entries}) == len(entries) == 3 * of_stills  # with baseline and control
    for entry in entries:
        assert {parent.cell.architecture.name for parent in entry.parents} <= {entry.cell.architecture.name}


def test_every_cell_is_repeated_over_the_seeds(tmp_path: Path) -> None:
    one, three = plan(tmp_path), plan(tmp_path, seeds=3)
    assert len(three.entries) == 3 * len(one.entries)
    assert {entry.seed for entry in three.entries} == {0, 1, 2}


def test_a_child_starts_from_the_baseline_of_its_own_seed(tmp_path: Path) -> None:
    for entry in plan(tmp_path, seeds=2).entries:
        assert all(parent.seed == entry.seed for parent in entry.parents)


def test_every_condition_of_the_ladder_is_scored_after_clean(tmp_path: Path) -> None:
    conditions = [str(condition) for condition in plan(tmp_path).entries[0].conditions]
    assert conditions == ["clean", *(f"jpeg-{level}" for level in CODECS["jpeg"].levels)]


def test_a_pattern_selects_from_the_plan_without_changing_trials(tmp_path: Path) -> None:
    whole = {entry.cell.name: entry.trial.key for entry in plan(tmp_path).entries}
    part = {entry.cell.name: entry.trial.key for entry in plan(tmp_path, "*/uniform").entries}
    assert part.items() <= whole.items()


def test_hyper_parameters_and_budget_change_the_trial_and_its_children(tmp_path: Path) -> None:
    longer = replace(SPACE, budgets={"segnet": replace(DEMO.budgets["segnet"], epochs=9)})
    keys = {entry.trial.key for entry in plan(tmp_path).entries}
    assert keys.isdisjoint(entry.trial.key for entry in plan(tmp_path, space=longer).entries)


def test_iterations_become_whole_epochs(tmp_path: Path) -> None:
    space = replace(DEMO, cells=STILLS, budgets={"segnet": Budget(initial="none", iterations=101, hyper={"batch_size": 6})})
    # 300 scenes in batches of 6 are 50 steps an epoch, 101 steps the third epoch's first
    assert {entry.trial.epochs for entry in plan(tmp_path, "*/clean/*", space=space).entries} == {3}


def test_without_its_data_a_plan_says_what_to_pass(tmp_path: Path) -> None:
    planned = plan(tmp_path, space=PAPER)
    assert {planned.state(entry) for entry in planned.entries} == {"no data"}
    assert all("--data" in reason for reason in planned.no_data.values())


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("nonsense", "NAME=PATH"),
        ("nowhere=/x", "nowhere"),
        ("segmentation=nowhere", "nowhere"),
        ("segmentation=", "NAME=PATH"),
    ],
)
def test_a_data_flag_that_means_nothing_is_refused_with_its_value(flag: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_data_flags([flag])


def test_another_data_set_can_be_picked_for_a_task(tmp_path: Path) -> None:
    planned = plan(tmp_path, data=("segmentation=camvid",))
    assert {entry.cell.dataset for entry in planned.entries} == {"camvid"}


def test_a_pattern_that_matches_nothing_is_refused_with_the_cells_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'nothing/\*' matches no cell; cells are .*segnet/clean/baseline"):
        plan(tmp_path, "nothing/*")


def test_an_unknown_space_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'mars': known are demo, paper"):
        find_space("mars")


def test_a_hyper_parameter_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"segnet has no hyper-parameter 'learning_rate'; it has batch_size"):
        resolve_hyper(ARCHITECTURES["segnet"], {"learning_rate": 1})


def test_a_space_that_leaves_out_a_control_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs segnet with recipe 'continued', which the search space leaves out"):
        plan(tmp_path, space=replace(SPACE, cells=("*/baseline", "*/uniform")))


def test_a_budget_needs_epochs_or_iterations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epochs or iterations"):
        plan(tmp_path, space=replace(DEMO, cells=STILLS, budgets={"segnet": Budget(initial="none")}))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES.keys())
def test_a_space_names_only_what_exists(space: Space) -> None:
    cells = space_cells(space)
    assert cells
    known = {
        recipe.name for codec in (None, *CODECS.values()) for each in ARCHITECTURES.values() for recipe in recipes_of(each, codec)
    }
    assert {cell.recipe.name for cell in cells} <= known


def test_a_study_reads_its_training_levels_and_for_test_the_whole_ladder(tmp_path: Path) -> None:
    (needs,) = store_needs(plan(tmp_path, "*/constant-5")).values()
    assert {level for split, _, level, _ in needs if split == "train"} == {None, 5}
    assert {level for split, _, level, _ in needs if split == "test"} == {None, *CODECS["jpeg"].levels}
