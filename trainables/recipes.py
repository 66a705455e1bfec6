"""How networks come to be. To add a recipe, append it to what `recipes` returns.

The planner reads a recipe's parents and control and knows none by name.
"""

from trainables.contracts import Codec, Recipe
from trainables.schedules import Clean, Constant, Uniform

BASELINE = Recipe(name="baseline", schedule=Clean())
CONTINUED = Recipe(name="continued", parents=("baseline",), schedule=Clean())


def recipes(codec: Codec | None) -> tuple[Recipe, ...]:
    """The recipes that a codec makes possible, or without one those that see only clean imagery."""
    if codec is None:
        return (BASELINE, CONTINUED)
    schedules = {f"constant-{level}": Constant(at=level) for level in codec.levels} | {"uniform": Uniform(ladder=codec.levels)}
    retrained = [
        Recipe(name=name, parents=(BASELINE.name,), control=CONTINUED.name, codec=codec.name, schedule=schedule)
        for name, schedule in schedules.items()
    ]
    # Nothing is trained for longer here, so the baseline itself is the control.
    recalibrated = [
        Recipe(
            name=f"recalibrated-{level}",
            parents=(BASELINE.name,),
            control=BASELINE.name,
            codec=codec.name,
            recalibrated_at=level,
        )
        for level in codec.levels
    ]
    return (*retrained, *recalibrated)
