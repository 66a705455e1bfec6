"""How networks come to be. To add a recipe, append it to what `recipes` returns; a schedule makes one of itself.

The planner reads a recipe's parents, baseline and control and knows none by name.
"""

from dataclasses import replace

from trainables.contracts import Architecture, Codec, Recipe
from trainables.recipes.schedules import Clean, schedules

BASELINE = Recipe(name="baseline", schedule=Clean())
CONTINUED = Recipe(name="continued", parents=("baseline",), schedule=Clean())


def recipes(codec: Codec | None) -> tuple[Recipe, ...]:
    """The recipes that a codec makes possible, or without one those that see only clean imagery."""
    if codec is None:
        return (BASELINE, CONTINUED)
    started = Recipe(name="", parents=(BASELINE.name,), baseline=BASELINE.name, control=CONTINUED.name, codec=codec.name)
    retrained = [replace(started, name=name, schedule=schedule) for name, schedule in schedules(codec.levels).items()]
    # Nothing is trained for longer here, so the baseline itself is the control.
    recalibrated = [
        replace(started, name=f"recalibrated-{level}", control=BASELINE.name, recalibrated_at=level) for level in codec.levels
    ]
    return (*retrained, *recalibrated)


def recipes_of(architecture: Architecture, codec: Codec | None) -> tuple[Recipe, ...]:
    """The recipes of an architecture: `recipes`, or of a fusion its streams' runs, all retrained or one of them.

    `constant-40` fuses streams that were all retrained at 40, `constant-40-spatial` the spatial stream retrained at 40 with the
    others' baselines. Controls are fused alike: that of `constant-40-spatial` is `continued-spatial`.
    """
    if not architecture.streams:
        return recipes(codec)
    fusions = []
    for recipe in recipes(codec):
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
