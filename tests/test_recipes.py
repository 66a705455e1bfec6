from dataclasses import FrozenInstanceError, replace

import pytest

from trainables import (
    ARCHITECTURES,
    CLEAN,
    CODECS,
    Condition,
    Fusion,
    Recipe,
    find_architecture,
    find_recipe,
    identity_of,
    recipes,
    recipes_of,
    shaped,
    smallest_ladder,
)
from trainables.recipes.schedules import Constant, Uniform

LADDERS = {name: codec.levels for name, codec in CODECS.items()}
ON_CLEAN = recipes(None)
RECIPES = [*ON_CLEAN, *(recipe for codec, ladder in LADDERS.items() for recipe in recipes(codec, ladder))]
SEGNET = ARCHITECTURES["segnet"]
FUSION = Fusion(
    name="fusion",
    task=SEGNET.task,
    streams={"left": "segnet", "right": "segnet_bilinear"},
    fuse=lambda outputs, source: [],  # noqa: ARG005
)
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=[f"{recipe.codec}/{recipe.name}" for recipe in RECIPES])
every_codec = pytest.mark.parametrize("codec", CODECS)


def again(codec: str | None) -> tuple[Recipe, ...]:
    return recipes(codec, LADDERS[codec] if codec else ())


def known(recipe: Recipe) -> dict[str, Recipe]:
    """The recipes that this one may refer to: those of its codec and those on clean imagery."""
    return {other.name: other for other in (*ON_CLEAN, *again(recipe.codec))}


@every_codec
def test_no_two_recipes_of_a_codec_share_a_name(codec: str) -> None:
    names = [recipe.name for recipe in (*ON_CLEAN, *again(codec))]
    assert len(set(names)) == len(names)


@every_codec
def test_every_recipe_of_a_codec_names_the_codec(codec: str) -> None:
    assert {recipe.codec for recipe in again(codec)} == {codec}


@every_codec
def test_every_level_of_the_ladder_has_a_constant_recipe(codec: str) -> None:
    constant = {recipe.levels for recipe in again(codec) if recipe.name.startswith("constant-")}
    assert constant == {(level,) for level in LADDERS[codec]}


@every_codec
def test_every_level_of_the_ladder_has_a_recalibrated_recipe(codec: str) -> None:
    recalibrated = {recipe.recalibrated_at for recipe in again(codec) if recipe.recalibrated}
    assert recalibrated == set(LADDERS[codec])


def test_recipes_follow_the_ladder_that_is_given() -> None:
    names = {recipe.name for recipe in recipes("jpeg", (40, 20)) if recipe.name[-1].isdecimal()}
    assert names == {"constant-40", "constant-20", "recalibrated-40", "recalibrated-20"}


@pytest.mark.parametrize("recipe", ON_CLEAN, ids=[recipe.name for recipe in ON_CLEAN])
def test_a_recipe_without_a_codec_trains_on_clean_imagery(recipe: Recipe) -> None:
    assert recipe.codec is None
    assert recipe.levels == (None,)


@every_recipe
def test_the_codec_of_a_recipe_encodes_every_level_that_it_trains_at(recipe: Recipe) -> None:
    for level in recipe.levels:
        assert (identity_of(recipe.condition(level)) is None) == (level is None)


@every_recipe
def test_a_recipe_turns_its_levels_into_conditions_of_its_codec(recipe: Recipe) -> None:
    for level in recipe.levels:
        expected = CLEAN if level is None else Condition(codec=recipe.codec, level=level)
        assert recipe.condition(level) == expected


@every_recipe
def test_the_parents_of_a_recipe_exist(recipe: Recipe) -> None:
    assert set(recipe.parents) <= set(known(recipe))


@every_recipe
def test_the_control_of_a_recipe_exists(recipe: Recipe) -> None:
    assert recipe.control is None or recipe.control in known(recipe)


@every_recipe
def test_a_control_sees_clean_imagery_and_starts_from_the_same_parents(recipe: Recipe) -> None:
    if recipe.control is not None:
        control = known(recipe)[recipe.control]
        assert control.codec is None
        if recipe.schedule is not None:
            assert control.parents == recipe.parents
        else:  # a recalibrated network is not trained, so its parent is its control
            assert (control.name,) == recipe.parents


@every_recipe
def test_a_recipe_that_sees_compression_has_a_control(recipe: Recipe) -> None:
    assert recipe.codec is None or recipe.control is not None


@every_recipe
def test_a_recipe_with_a_control_has_a_baseline(recipe: Recipe) -> None:
    assert (recipe.control is None) == (recipe.baseline is None)


@every_recipe
def test_the_ancestors_of_a_recipe_end_at_one_without_parents(recipe: Recipe) -> None:
    generation, generations = {recipe.name}, 0
    while generation:
        assert generations <= len(RECIPES), "the parents form a circle"
        generation = {parent for name in generation for parent in known(recipe)[name].parents}
        generations += 1


@every_recipe
def test_a_recipe_that_trains_has_at_most_one_parent(recipe: Recipe) -> None:
    assert recipe.schedule is None or len(recipe.parents) <= 1


@every_recipe
def test_a_recipe_is_immutable(recipe: Recipe) -> None:
    with pytest.raises(FrozenInstanceError):
        recipe.name = "another"  # type: ignore[misc]


@every_recipe
def test_building_the_recipes_again_gives_equal_values(recipe: Recipe) -> None:
    twin = known(recipe)[recipe.name]
    assert (twin, hash(twin)) == (recipe, hash(recipe))


@every_recipe
def test_the_name_of_a_recipe_fits_into_the_name_of_a_cell(recipe: Recipe) -> None:
    assert recipe.name
    assert not set(recipe.name) & set("/*?[] ")


@every_recipe
def test_no_recipe_of_the_table_trains_on_pairs(recipe: Recipe) -> None:
    assert not recipe.paired


def test_a_condition_needs_both_a_codec_and_a_level() -> None:
    with pytest.raises(ValueError, match="condition with codec 'jpeg' and level None: give both, or neither for clean"):
        Condition(codec="jpeg")
    with pytest.raises(ValueError, match="condition with codec None and level 10: give both"):
        Condition(level=10)


def fusions(codec: str | None) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes_of(FUSION, codec, LADDERS[codec] if codec else ())}


def test_an_architecture_has_the_recipes_of_the_codec() -> None:
    assert recipes_of(SEGNET, "jpeg", (10, 5)) == recipes("jpeg", (10, 5))


def test_a_fusion_trains_nothing() -> None:
    for codec in (None, "jpeg"):
        assert {recipe.schedule for recipe in fusions(codec).values()} == {None}


def test_a_fusion_combines_streams_that_are_all_retrained_or_one_retrained_stream_with_baselines() -> None:
    found = fusions("jpeg")
    assert found["constant-10"].parents == ("constant-10", "constant-10")
    assert found["constant-10-left"].parents == ("constant-10", "baseline")
    assert found["constant-10-right"].parents == ("baseline", "constant-10")


def test_a_fusion_names_the_streams_that_were_retrained() -> None:
    found = fusions("jpeg")
    assert found["constant-10"].streams == ("left", "right")
    assert found["constant-10-left"].streams == ("left",)


def test_the_control_of_a_fusion_retrains_the_same_streams() -> None:
    found = fusions("jpeg")
    assert (found["uniform"].control, found["uniform-left"].control) == ("continued", "continued-left")
    assert fusions(None)["continued-left"].parents == ("continued", "baseline")
    assert found["recalibrated-10-left"].control == "baseline"


def test_a_fusion_has_seen_the_levels_of_its_retrained_streams() -> None:
    assert fusions("jpeg")["constant-10-left"].seen == (10,)
    assert fusions(None)["baseline"].seen == (None,)


def test_the_baseline_of_a_fusion_fuses_baselines() -> None:
    assert fusions(None)["baseline"].parents == ("baseline", "baseline")
    assert {recipe.baseline for recipe in fusions("jpeg").values()} == {"baseline"}


def test_a_recipe_is_found_by_name_on_its_codec_and_ladder() -> None:
    assert find_recipe(SEGNET, "baseline") == ON_CLEAN[0]
    assert find_recipe(SEGNET, "constant-33", "jpeg", (33,)).schedule == Constant(at=33)
    assert find_recipe(FUSION, "constant-33-left", "jpeg", (33,)).parents == ("constant-33", "baseline")


@pytest.mark.parametrize(
    ("name", "codec", "message"),
    [
        ("constant-11", "jpeg", r"^unknown recipe of segnet on jpeg 'constant-11'; did you mean 'constant-10' or .*\?$"),
        ("continue", None, r"^unknown recipe of segnet on clean imagery 'continue'; did you mean 'continued'\?$"),
        ("zzz", None, r"^unknown recipe of segnet on clean imagery 'zzz'; known are baseline, continued\.$"),
    ],
)
def test_an_unknown_recipe_is_refused_in_one_line_with_the_closest_names(name: str, codec: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_recipe(SEGNET, name, codec, (50, 10) if codec else ())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("segnett", r"^unknown architecture 'segnett'; did you mean 'segnet' or .*\? See study list, or pass your own as "),
        ("no_such_module:NET", r"^architecture 'no_such_module:NET': cannot import no_such_module \(ModuleNotFoundError: [^\n]*$"),
        ("tests.test_recipes:FUSIONS", r"test_recipes\.py defines no 'FUSIONS'; did you mean 'FUSION'"),
        ("tests.test_recipes:LADDERS", r"^architecture 'tests.test_recipes:LADDERS': expected Architecture or Fusion, got dict$"),
    ],
)
def test_an_unknown_architecture_is_refused_in_one_line_with_the_closest_names(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_architecture(name)


def test_a_users_own_fusion_is_found_by_module_and_name() -> None:
    assert find_architecture("tests.test_recipes:FUSION") is FUSION


@pytest.mark.parametrize(
    ("name", "codec", "smallest"),
    [
        ("baseline", None, ()),
        ("continued", None, ()),
        ("constant-10", "jpeg", (10,)),
        ("recalibrated-5", "jpeg", (5,)),
        ("uniform", "jpeg", (50, 10, 5)),
        ("log-uniform", "jpeg", (50, 5)),
        ("ramp", "jpeg", (50, 10, 5)),
    ],
)
def test_the_smallest_ladder_holds_only_the_levels_that_a_recipe_uses(
    name: str, codec: str | None, smallest: tuple[int, ...]
) -> None:
    ladder = (50, 10, 5) if codec else ()
    recipe = find_recipe(SEGNET, name, codec, ladder)
    assert smallest_ladder(SEGNET, recipe, ladder) == smallest
    assert find_recipe(SEGNET, name, codec, smallest) == recipe


def test_the_smallest_ladder_of_a_fusion_holds_the_levels_of_its_retrained_streams() -> None:
    recipe = find_recipe(FUSION, "constant-10-left", "jpeg", (50, 10, 5))
    assert smallest_ladder(FUSION, recipe, (50, 10, 5)) == (10,)


def test_the_ladder_stays_whole_where_fewer_levels_would_give_another_recipe() -> None:
    # A user's schedule may draw from two levels and yet depend on the whole ladder.
    own = replace(find_recipe(SEGNET, "uniform", "jpeg", (50, 10, 5)), schedule=Uniform(ladder=(50, 5)))
    assert smallest_ladder(SEGNET, own, (50, 10, 5)) == (50, 5)
    renamed = replace(own, name="no-recipe-of-the-table")
    assert smallest_ladder(SEGNET, renamed, (50, 10, 5)) == (50, 10, 5)


def test_shaping_replaces_fields_of_the_schedule() -> None:
    recipe = find_recipe(SEGNET, "constant-10", "jpeg", (10,))
    found = shaped(recipe, {"at": 12})
    assert found.schedule == Constant(at=12)
    assert replace(found, schedule=recipe.schedule) == recipe


def test_shaping_with_nothing_returns_the_recipe() -> None:
    recipe = find_recipe(SEGNET, "recalibrated-10", "jpeg", (10,))
    assert shaped(recipe, {}) is recipe


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("uniform", "laddr", "recipe uniform: its schedule has no 'laddr'; did you mean 'ladder'?"),
        ("recalibrated-10", "at", "recipe recalibrated-10: its schedule has no 'at'; none are known."),
    ],
)
def test_shaping_a_field_that_the_schedule_lacks_is_refused_in_one_line(name: str, field: str, message: str) -> None:
    with pytest.raises(ValueError, match="schedule has no") as refused:
        shaped(find_recipe(SEGNET, name, "jpeg", (10,)), {field: 1})
    assert str(refused.value) == message
