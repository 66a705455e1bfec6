"""Variants, cells that join for one launch, shortened trainings, sources, and the spaces that use them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces import DEMO, SPACES, Compressed, Space, Variant
from study.cells import space_cells
from study.overview import listing
from study.plan import Plan, make_plan, store_needs
from study.projection import run_name, trial_params
from trainables import CLEAN, Condition, Folder, Trial

STEADY = {"lr_schedule": "constant"}
SPACE = replace(
    DEMO,
    data={"segmentation": "tests.few:FEW"},
    budgets={"segnet": DEMO.budgets["segnet"]},
    codecs=("jpeg",),
    validation={},
    cells=("*/clean/*", "*/jpeg/constant-5", "*/jpeg/half-5", "*/jpeg/ramp-steady"),
    variants={
        "half-5": Variant(recipe="weighted", shape={"ladder": (5,), "clean": 0.5}),
        "ramp-steady": Variant(recipe="ramp", hyper=STEADY, control="continued-steady"),
        "continued-steady": Variant(recipe="continued", hyper=STEADY),
    },
)


def plan(tmp_path: Path, *patterns: str, space: Space = SPACE, **more: Any) -> Plan:
    return make_plan(space, patterns=patterns, storage=Folder.at(str(tmp_path)), **more)


def trials(planned: Plan) -> dict[str, Trial]:
    return {entry.cell.recipe.name: trial for entry in planned.entries if (trial := planned.trial(entry)) is not None}


def test_a_variant_is_a_cell_of_its_name_and_a_trial_of_its_recipe(tmp_path: Path) -> None:
    planned = plan(tmp_path, "segnet/jpeg/half-5")
    found = trials(planned)["half-5"]
    assert (found.recipe, found.shape) == ("weighted", {"ladder": (5,), "clean": 0.5})
    (entry,) = [entry for entry in planned.entries if entry.cell.name == "segnet/jpeg/half-5"]
    assert entry.cell.recipe.levels == (None, 5)
    assert run_name(entry).startswith("half-5 · ")
    assert trial_params(entry, found)["recipe"] == "half-5"


def test_equal_variants_of_two_names_share_a_trial(tmp_path: Path) -> None:
    renamed = replace(SPACE, cells=("*/clean/*", "*/jpeg/another"), variants={"another": SPACE.variants["half-5"]})
    assert trials(plan(tmp_path, space=renamed))["another"].key == trials(plan(tmp_path))["half-5"].key


def test_variants_rename_no_trial_of_the_other_cells(tmp_path: Path) -> None:
    plain = trials(plan(tmp_path, space=replace(SPACE, variants={}, cells=("*/clean/*", "*/jpeg/constant-5"))))
    varied = trials(plan(tmp_path))
    assert {name: varied[name].key for name in plain} == {name: trial.key for name, trial in plain.items()}


def test_a_variant_is_compared_with_the_baseline_of_its_recipe_and_the_control_that_it_names(tmp_path: Path) -> None:
    entries = {entry.cell.recipe.name: entry for entry in plan(tmp_path).entries}
    steady, half = entries["ramp-steady"], entries["half-5"]
    assert steady.control is entries["continued-steady"]
    assert half.control is entries["continued"]
    assert steady.baseline is half.baseline is entries["baseline"]
    assert entries["continued-steady"].cell.recipe.role == "continued"


def test_a_variant_adds_its_hyper_parameters_to_the_budget(tmp_path: Path) -> None:
    found = trials(plan(tmp_path))
    assert found["ramp-steady"].hyper == {**found["half-5"].hyper, **STEADY} | {"lr_schedule": "constant"} or (
        "lr_schedule" not in found["ramp-steady"].hyper  # the architecture's default
    )
    assert found["continued-steady"].hyper == found["ramp-steady"].hyper
    assert found["half-5"].hyper["lr_schedule"] == "one_cycle"


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ({"half": Variant(recipe="weigted")}, "variant 'half': unknown recipe 'weigted'; did you mean 'weighted'"),
        ({"half": Variant(recipe="weighted", control="contnued")}, "variant 'half': unknown control 'contnued'; did you mean"),
        (
            {"half": Variant(recipe="weighted", shape={"cleen": 1})},
            "variant 'half': .* schedule has no 'cleen'; did you mean 'clean'",
        ),
        ({"half": Variant(recipe="weighted", shape={"clean": 2})}, "variant 'half': weighted: clean is 2; give a share"),
        ({"ramp": Variant(recipe="weighted")}, "variant 'ramp': name it otherwise"),
        ({"a/b": Variant(recipe="weighted")}, "variant 'a/b': name it otherwise"),
        ({"half": Variant(recipe="weighted", hyper={"rl": 1})}, "segnet has no hyper-parameter 'rl'"),
        ({"half": Variant(recipe="weighted", shape={"ladder": (500,)})}, "segnet/jpeg/half trains at a level that is not possible"),
    ],
)
def test_a_variant_with_a_bad_name_or_number_is_refused_in_one_line(
    tmp_path: Path, variant: dict[str, Variant], message: str
) -> None:
    space = replace(SPACE, variants=variant, cells=("*/clean/*", *(f"*/jpeg/{name}" for name in variant if "/" not in name)))
    with pytest.raises(ValueError, match=message) as refused:
        plan(tmp_path, space=space)
    assert "\n" not in str(refused.value)


def test_the_variants_of_a_fusion_fuse_the_variants_of_its_streams(tmp_path: Path) -> None:
    streams = {name: budget for name, budget in DEMO.budgets.items() if name.startswith("two_stream")}
    variants = {"half-50": Variant(recipe="weighted", shape={"ladder": (50,)})}
    space = replace(DEMO, budgets=streams, variants=variants, cells=("*/clean/*", "*/h264/half-50*"))
    entries = {entry.cell.name: entry for entry in plan(tmp_path, "two_stream/*", space=space).entries}
    both, spatial = entries["two_stream/h264/half-50"], entries["two_stream/h264/half-50-spatial"]
    assert {parent.cell.recipe.name for parent in both.parents} == {"half-50"}
    assert {parent.cell.recipe.name for parent in spatial.parents} == {"half-50", "baseline"}
    assert both.cell.recipe.seen == (None, 50)


def test_a_study_needs_the_imagery_of_levels_beside_the_ladder(tmp_path: Path) -> None:
    (needs,) = store_needs(plan(tmp_path, "*/log-uniform", also=("*/jpeg/log-uniform",))).values()
    levels = {condition.level for split, condition, _ in needs if split == "train"}
    assert {None, 78, 7} < levels
    assert len(levels) == 17


def test_a_cell_that_the_space_leaves_out_is_named_with_the_flag_that_runs_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="search space demo leaves out: add --also 'segnet/jpeg/ramp' to run them"):
        plan(tmp_path, "segnet/jpeg/ramp")
    with pytest.raises(ValueError, match="pattern 'segnet/jpeg/rampp' matches no cell"):
        plan(tmp_path, "segnet/jpeg/rampp")


def test_cells_join_a_space_for_one_launch(tmp_path: Path) -> None:
    names = {entry.cell.name for entry in plan(tmp_path, "segnet/jpeg/ramp", also=("segnet/jpeg/ramp",)).entries}
    assert names == {"segnet/clean/baseline", "segnet/clean/continued", "segnet/jpeg/ramp"}
    whole = {entry.cell.name for entry in plan(tmp_path, also=("segnet/jpeg/ramp",)).entries}
    assert whole == {entry.cell.name for entry in plan(tmp_path).entries} | {"segnet/jpeg/ramp"}


def test_a_schedule_that_adapts_is_refused_where_nothing_is_withheld(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"segnet/jpeg/worst: .* search space demo withholds none: set Space\.withheld"):
        plan(tmp_path, also=("segnet/jpeg/worst",))


def test_every_training_of_a_space_withholds_its_share(tmp_path: Path) -> None:
    found = trials(plan(tmp_path, space=replace(SPACE, withheld=0.2)))
    assert {trial.withheld for trial in found.values()} == {0.2}
    assert {trial.key for trial in found.values()}.isdisjoint(trial.key for trial in trials(plan(tmp_path)).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"withheld": 1.0}, "search space demo: few_streets: withheld is 1.0: give a share"),
        ({"withheld": 0.99}, "search space demo: few_streets: withheld is 0.99: of 12 training groups none remains"),
        ({"source": Compressed("jpeg", 500)}, "search space demo: source: jpeg: quality 500 is outside"),
        ({"source": Compressed("h264", 30)}, "source h264-30 does not encode what jpeg encodes"),
    ],
)
def test_an_impossible_share_or_source_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(tmp_path, space=replace(SPACE, **change))


def test_a_compressed_source_is_part_of_every_trial(tmp_path: Path) -> None:
    compressed = plan(tmp_path, space=replace(SPACE, source=Compressed("jpeg", 75)))
    assert {trial.source for trial in trials(compressed).values()} == {Condition(codec="jpeg", level=75)}
    assert {trial.source for trial in trials(plan(tmp_path)).values()} == {CLEAN}
    fingerprints = {trial.fingerprint for each in (compressed, plan(tmp_path)) for trial in trials(each).values()}
    assert len(fingerprints) == 2
    for trial in trials(compressed).values():
        assert Trial.from_json(trial.to_json()) == trial


def test_a_shortened_study_is_named_so_and_trains_for_at_most_that_long(tmp_path: Path) -> None:
    budget = replace(DEMO.budgets["segnet"], epochs=3, retraining=None)
    planned = plan(tmp_path, space=replace(SPACE, budgets={"segnet": budget}), epochs=2)
    assert planned.space.name == "demo-2-epochs"
    assert {trial.epochs for trial in trials(planned).values()} == {2}
    longer = plan(tmp_path, space=replace(SPACE, budgets={"segnet": budget}), epochs=5)
    assert {trial.epochs for trial in trials(longer).values()} == {3}


def test_the_two_by_two_crosses_augmentation_with_compression(tmp_path: Path) -> None:
    found = trials(plan(tmp_path, space=SPACES["augmentation"]))
    strong = {name for name, trial in found.items() if "blur" in trial.hyper}
    compressed = {name for name, trial in found.items() if trial.codec}
    assert (strong, compressed) == ({"strong", "strong-uniform"}, {"uniform", "strong-uniform"})


@pytest.mark.parametrize("name", ["schedules", "dose", "transfer", "transfer-90", "transfer-75", "offset", "augmentation"])
def test_every_retrained_cell_of_a_space_has_its_control_in_it(name: str) -> None:
    cells = {cell.name for cell in space_cells(SPACES[name])}
    for cell in space_cells(SPACES[name]):
        if cell.recipe.control:
            assert f"{cell.architecture.name}/clean/{cell.recipe.control}" in cells


def test_each_schedule_is_listed_with_its_summary_and_drawing() -> None:
    rows = {row["schedule"]: row for row in listing()["schedules"]}
    assert rows["ramp"]["summary"].startswith("Light to heavy")
    assert rows["ramp"]["over_time"] == rows["anneal"]["over_time"][::-1]
    assert len([name for name in rows if name.startswith("constant-")]) == 1
