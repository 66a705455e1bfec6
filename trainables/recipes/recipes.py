"""Recipes: how networks are made. To add one, append it to the result of `recipes`; every schedule is a recipe already.

The planner reads a recipe's parents, baseline and control, and knows no recipe by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from trainables.codecs import find_codec
from trainables.contracts import Architecture, Fusion, Recipe
from trainables.lookup import find_in, suggestion
from trainables.recipes.schedules import Clean, schedules

BASELINE = Recipe(name="baseline", schedule=Clean())
CONTINUED = Recipe(name="continued", parents=("baseline",), schedule=Clean())
RECALIBRATED = 1
"""Revision of recalibrated recipes: 0 read the training images in sorted order, 1 reads them in random order."""


def recipes(codec: str | None, ladder: tuple[int, ...] = ()) -> tuple[Recipe, ...]:
    """The recipes of a codec over a ladder (mildest level first), or, without a codec, the recipes on clean imagery."""
    if codec is None:
        return (BASELINE, CONTINUED)
    started = Recipe(name="", parents=(BASELINE.name,), baseline=BASELINE.name, control=CONTINUED.name, codec=codec)
    retrained = [replace(started, name=name, schedule=schedule) for name, schedule in schedules(find_codec(codec), ladder).items()]
    # Nothing is trained here, so the baseline itself is the control.
    recalibrated = [
        replace(started, name=f"recalibrated-{level}", control=BASELINE.name, recalibrated_at=level, revision=RECALIBRATED)
        for level in ladder
    ]
    return (*retrained, *recalibrated)


def recipes_of(architecture: Architecture | Fusion, codec: str | None = None, ladder: tuple[int, ...] = ()) -> tuple[Recipe, ...]:
    """The recipes of an architecture: `recipes`, or for a fusion the combinations of its streams' networks.

    `constant-40` fuses streams that were all retrained at 40; `constant-40-spatial` fuses the spatial stream retrained at 40 with
    the baselines of the others. Controls are fused in the same way: that of `constant-40-spatial` is `continued-spatial`.
    """
    return combined(architecture, recipes(codec, ladder))


def combined(architecture: Architecture | Fusion, of_networks: Sequence[Recipe]) -> tuple[Recipe, ...]:
    """The recipes of an architecture from those of single networks: the same, or for a fusion the combinations of its streams."""
    if isinstance(architecture, Architecture):
        return tuple(of_networks)
    fusions = []
    for recipe in of_networks:
        for retrained in (None, *architecture.streams):
            if retrained and recipe == BASELINE:
                continue
            suffix = f"-{retrained}" if retrained else ""
            fusions.append(
                Recipe(
                    name=recipe.name + suffix,
                    parents=tuple(recipe.name if retrained in (None, stream) else BASELINE.name for stream in architecture.streams),
                    baseline=recipe.baseline,
                    control=recipe.control and recipe.control + (suffix if recipe.control != BASELINE.name else ""),
                    codec=recipe.codec,
                    fused=recipe,
                    streams=(retrained,) if retrained else tuple(architecture.streams),
                )
            )
    return tuple(fusions)


def find_recipe(architecture: Architecture | Fusion, name: str, codec: str | None = None, ladder: tuple[int, ...] = ()) -> Recipe:
    """A recipe of an architecture by name. Raises ValueError in one line with the closest names."""
    of = f"recipe of {architecture.name} on {codec or 'clean imagery'}"
    return find_in({recipe.name: recipe for recipe in recipes_of(architecture, codec, ladder)}, name, of)


def smallest_ladder(architecture: Architecture | Fusion, recipe: Recipe, ladder: tuple[int, ...]) -> tuple[int, ...]:
    """The part of a ladder that a recipe depends on: `constant-10` gives (10,), so other rungs do not rename its trials."""

    def suffice(levels: tuple[int, ...]) -> bool:
        return any(other == recipe for other in recipes_of(architecture, recipe.codec, levels))

    used = tuple(level for level in ladder if level in recipe.seen)
    if not used or not suffice(used):
        return ladder
    for level in used:  # a schedule between the ladder's ends may draw a rung by chance
        fewer = tuple(other for other in used if other != level)
        if fewer and suffice(fewer):
            used = fewer
    return used


def shaped(recipe: Recipe, shape: Mapping[str, Any]) -> Recipe:
    """A recipe with fields of its schedule replaced. Raises ValueError in one line for a field the schedule does not have."""
    if not shape:
        return recipe
    known = vars(recipe.schedule) if recipe.schedule is not None else {}
    for name in shape:
        if name not in known:
            raise ValueError(f"recipe {recipe.name}: its schedule has no {name!r}; {suggestion(name, known)}")
    return replace(recipe, schedule=replace(recipe.schedule, **shape))  # type: ignore[type-var]
