from dataclasses import FrozenInstanceError, replace

import pytest

from trainables import ARCHITECTURES, CODECS, Codec, Recipe, recipes, recipes_of

CLEAN = recipes(None)
RECIPES = [*CLEAN, *(recipe for codec in CODECS.values() for recipe in recipes(codec))]
every_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=[f"{recipe.codec}/{recipe.name}" for recipe in RECIPES])
every_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def known(recipe: Recipe) -> dict[str, Recipe]:
    """The recipes that this one may name: those of its codec and those of clean."""
    return {other.name: other for other in (*CLEAN, *(recipes(CODECS[recipe.codec]) if recipe.codec else ()))}


@every_codec
def test_names_are_unique_among_the_recipes_of_a_codec_and_of_clean(codec: Codec) -> None:
    names = [recipe.name for recipe in (*CLEAN, *recipes(codec))]
    assert len(set(names)) == len(names)


@every_codec
def test_every_recipe_of_a_codec_carries_it(codec: Codec) -> None:
    assert {recipe.codec for recipe in recipes(codec)} == {codec.name}


@every_codec
def test_every_level_of_the_ladder_has_a_constant_recipe(codec: Codec) -> None:
    constant = {recipe.schedule.levels for recipe in recipes(codec) if recipe.schedule and recipe.name.startswith("constant-")}
    assert constant == {(level,) for level in codec.levels}


@pytest.mark.parametrize("recipe", CLEAN, ids=[recipe.name for recipe in CLEAN])
def test_a_recipe_without_a_codec_sees_clean_alone(recipe: Recipe) -> None:
    assert recipe.codec is None
    assert recipe.schedule is None or recipe.schedule.levels == (None,)


@every_recipe
def test_a_recipe_uses_only_levels_of_its_codec(recipe: Recipe) -> None:
    ladder = CODECS[recipe.codec].levels if recipe.codec else ()
    assert recipe.schedule is None or set(recipe.schedule.levels) <= {None, *ladder}


@every_recipe
def test_the_parents_of_a_recipe_are_recipes(recipe: Recipe) -> None:
    assert set(recipe.parents) <= set(known(recipe))


@every_recipe
def test_the_control_of_a_recipe_is_a_recipe(recipe: Recipe) -> None:
    assert recipe.control is None or recipe.control in known(recipe)


@every_recipe
def test_a_control_sees_clean_alone_and_is_trained_for_as_long(recipe: Recipe) -> None:
    if recipe.control is not None:
        control = known(recipe)[recipe.control]
        assert control.codec is None
        if recipe.schedule is not None:
            assert control.parents == recipe.parents
        else:  # trained no longer than its parent, which is what it is read against
            assert (control.name,) == recipe.parents


@every_recipe
def test_a_recipe_that_sees_compression_has_a_control(recipe: Recipe) -> None:
    assert recipe.codec is None or recipe.control is not None


@every_recipe
def test_a_recipe_descends_from_one_without_parents(recipe: Recipe) -> None:
    generation, seen = {recipe.name}, 0
    while generation:
        assert seen <= len(RECIPES), "a circle"
        generation, seen = {parent for name in generation for parent in known(recipe)[name].parents}, seen + 1


@every_recipe
def test_a_recipe_that_trains_has_one_parent_at_most(recipe: Recipe) -> None:
    assert recipe.schedule is None or len(recipe.parents) <= 1


@every_recipe
def test_a_recipe_cannot_be_assigned_to(recipe: Recipe) -> None:
    with pytest.raises(FrozenInstanceError):
        recipe.name = "another"  # type: ignore[misc]


@every_recipe
def test_a_recipe_is_hashable_and_the_same_each_time(recipe: Recipe) -> None:
    again = next(other for other in recipes(CODECS[recipe.codec] if recipe.codec else None) if other.name == recipe.name)
    assert (again, hash(again)) == (recipe, hash(recipe))


@every_recipe
def test_the_name_of_a_recipe_is_one_part_of_a_cell(recipe: Recipe) -> None:
    assert recipe.name
    assert not set(recipe.name) & set("/*?[] ")


FUSION = replace(ARCHITECTURES["segnet"], name="fusion", streams={"left": "segnet", "right": "segnet_bilinear"})


def fusions(codec: Codec | None) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes_of(FUSION, codec)}


def test_an_architecture_that_fuses_nothing_has_the_recipes() -> None:
    assert recipes_of(ARCHITECTURES["segnet"], CODECS["jpeg"]) == recipes(CODECS["jpeg"])


def test_a_fusion_trains_nothing() -> None:
    for codec in (None, CODECS["jpeg"]):
        assert {recipe.schedule for recipe in recipes_of(FUSION, codec)} == {None}


def test_a_fusion_is_of_all_streams_retrained_or_of_one_with_the_baselines_of_the_others() -> None:
    found = fusions(CODECS["jpeg"])
    assert found["constant-10"].parents == ("constant-10", "constant-10")
    assert found["constant-10-left"].parents == ("constant-10", "baseline")
    assert found["constant-10-right"].parents == ("baseline", "constant-10")


def test_the_control_of_a_fusion_is_fused_like_it() -> None:
    found = fusions(CODECS["jpeg"])
    assert (found["uniform"].control, found["uniform-left"].control) == ("continued", "continued-left")
    assert fusions(None)["continued-left"].parents == ("continued", "baseline")
    assert found["recalibrated-10-left"].control == "baseline"


def test_a_fusion_has_seen_what_its_retrained_streams_have() -> None:
    assert fusions(CODECS["jpeg"])["constant-10-left"].seen == (10,)
    assert fusions(None)["baseline"].seen == (None,)


def test_the_baseline_of_a_fusion_fuses_baselines() -> None:
    assert fusions(None)["baseline"].parents == ("baseline", "baseline")
    assert {recipe.baseline for recipe in recipes_of(FUSION, CODECS["jpeg"])} == {"baseline"}


@every_recipe
def test_what_has_a_control_has_a_baseline(recipe: Recipe) -> None:
    assert (recipe.control is None) == (recipe.baseline is None)
