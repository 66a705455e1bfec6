"""Cells: architecture x recipe on a search space's data set, and which cells need which others.

The planner reads a recipe's parents, baseline and control, and knows no recipe by name: a new recipe, architecture or codec changes
nothing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from search_spaces import SPACES, Budget, Space
from trainables import (
    CLEAN,
    Architecture,
    Codec,
    Condition,
    Fusion,
    Hyper,
    Recipe,
    combined,
    find_architecture,
    find_codec,
    find_dataset,
    find_named,
    identity,
    recipes,
    recipes_of,
    shaped,
    suggestion,
)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Architecture x recipe on the space's data set."""

    architecture: Architecture | Fusion
    reference: str
    """The architecture as the space names it: a name, or `package.module:NAME`."""
    recipe: Recipe
    """How its network is made, named as the cell is."""
    table: Recipe
    """The recipe of the table: the same, except in a variant, which renames and reshapes it."""
    dataset: str
    """The data set as the space names it."""
    budget: Budget
    codec: Codec | None = None
    ladder: tuple[int, ...] = ()
    """The space's ladder of the recipe's codec; empty for clean."""
    conditions: tuple[Condition, ...] = ()
    """Test conditions: clean, and the ladder of every codec that the space trains the architecture with."""
    validation: tuple[Condition, ...] = ()
    """Conditions that each epoch is validated under."""
    shape: Hyper = field(default_factory=dict)
    """Fields of the schedule that a variant replaces."""
    hyper: Hyper = field(default_factory=dict)
    """Hyper-parameters that a variant replaces."""

    @property
    def name(self) -> str:
        """Name in patterns and tables, e.g. `segnet/jpeg/constant-10`."""
        return "/".join((self.architecture.name, self.codec.name if self.codec else "clean", self.recipe.name))


def find_space(name: str) -> Space:
    """A search space by name, or a user's own as `package.module:NAME`. Raises ValueError in one line."""
    found: Space = find_named(name, SPACES, Space, "search space")
    return found


def find_target(name: str) -> Space | Architecture:
    """A search space, or a user's own architecture. Raises ValueError in one line."""
    found: Space | Architecture = find_named(name, SPACES, (Space, Architecture), "search space")
    return found


def possible_cells(space: Space) -> list[Cell]:
    """Every cell of a space's architectures, codecs and variants, those that the space leaves out included.

    They have no conditions yet. Raises ValueError where the space names something that does not exist.
    """
    ladders = space_ladders(space)
    references: dict[str, str] = {}
    cells = []
    for reference, budget in space.budgets.items():
        architecture = find_architecture(reference)
        if references.setdefault(architecture.name, reference) != reference:
            raise ValueError(f"search space {space.name}: two architectures are named {architecture.name!r}; rename one")
        task = architecture.task
        if task.name not in space.data:
            raise ValueError(f"search space {space.name}: no data set for {task.name}, which {reference} needs; add it to `data`")
        dataset = space.data[task.name]
        if find_dataset(dataset).task != task.name:
            raise ValueError(f"search space {space.name}: data set {dataset} is not for {task.name}")
        applicable = [name for name in ladders if find_codec(name).clips == task.clips]
        validation = [Condition(codec=name, level=level) for name in applicable for level in space.validation.get(name, ())]
        for name in (None, *applicable):
            ladder = ladders[name] if name else ()
            for recipe in recipes_of(architecture, name, ladder):
                cell = Cell(
                    architecture=architecture,
                    reference=reference,
                    recipe=recipe,
                    table=recipe,
                    dataset=dataset,
                    budget=budget,
                    codec=find_codec(name) if name else None,
                    ladder=ladder,
                    validation=(CLEAN, *validation),
                )
                cells.append(cell)
            cells += _variants(space, cells[-1])
    _check_variants(space, cells)
    return cells


def space_cells(space: Space) -> list[Cell]:
    """The cells of a space, in the order of the tables. Raises ValueError where the space names something that does not exist."""
    return _with_conditions(select(possible_cells(space), space.cells), space_ladders(space))


def _variants(space: Space, beside: Cell) -> list[Cell]:
    """The cells of a space's variants, for the architecture and codec of another cell."""
    own = {recipe.name: recipe for recipe in recipes(beside.recipe.codec, beside.ladder)}
    cells = []
    for name, variant in space.variants.items():
        if variant.recipe not in own:
            continue
        table = own[variant.recipe]
        try:
            made = replace(shaped(table, variant.shape), name=name, control=variant.control or table.control)
        except ValueError as error:
            raise ValueError(f"search space {space.name}: variant {name!r}: {error}") from error
        numbers: dict[str, Any] = {}
        if isinstance(beside.architecture, Architecture):  # a fusion has neither: its streams have
            numbers = {"shape": variant.shape, "hyper": variant.hyper}
        both = zip(combined(beside.architecture, [made]), combined(beside.architecture, [table]), strict=True)
        cells += [replace(beside, recipe=recipe, table=original, **numbers) for recipe, original in both]
    return cells


def _check_variants(space: Space, cells: Sequence[Cell]) -> None:
    """Raise ValueError for a variant of an unknown recipe, one named as a recipe is, or one with an unknown control."""
    known = list(dict.fromkeys(cell.table.name for cell in cells if isinstance(cell.architecture, Architecture)))
    for name, variant in space.variants.items():
        of = f"search space {space.name}: variant {name!r}"
        if name in known or not name or set(name) & set("/*?[] "):
            raise ValueError(f"{of}: name it otherwise: a recipe's name, an empty one and the characters /*?[] are taken")
        if variant.recipe not in known:
            raise ValueError(f"{of}: unknown recipe {variant.recipe!r}; {suggestion(variant.recipe, known)}")
        controls = [*known, *space.variants]
        if variant.control is not None and variant.control not in controls:
            raise ValueError(f"{of}: unknown control {variant.control!r}; {suggestion(variant.control, controls)}")


def space_ladders(space: Space) -> dict[str, tuple[int, ...]]:
    """The ladder of each codec of a space. Raises ValueError where a ladder or validation level is not possible."""
    of = f"search space {space.name}"
    if len({find_codec(name).name for name in space.codecs}) < len(space.codecs):
        raise ValueError(f"{of}: two codecs have the same name; rename one")
    for mapping, what in ((space.ladders, "ladders"), (space.validation, "validation")):
        for name in mapping:
            if name not in space.codecs:
                raise ValueError(f"{of}: `{what}` names {name!r}, which `codecs` does not; {suggestion(name, space.codecs)}")
    ladders = {}
    for name in space.codecs:
        codec = find_codec(name)
        ladder = ladders[name] = tuple(space.ladders.get(name, codec.levels))
        falls = codec.levels[0] > codec.levels[-1]
        if not ladder or list(ladder) != sorted(set(ladder), reverse=falls):
            raise ValueError(
                f"{of}: ladder {ladder} of {name}: give distinct levels, mildest first ({'falling' if falls else 'rising'})"
            )
        for level in {*ladder, *space.validation.get(name, ())} - set(codec.levels):
            try:
                identity(codec, level)
            except ValueError as error:
                raise ValueError(f"{of}: {error}") from error
    return ladders


def _with_conditions(cells: Sequence[Cell], ladders: dict[str, tuple[int, ...]]) -> list[Cell]:
    """Cells with their test conditions: clean, and the ladder of every codec that any cell of the architecture has."""
    used: dict[str, dict[str, None]] = {}
    for cell in cells:
        of_architecture = used.setdefault(cell.architecture.name, {})
        if cell.recipe.codec:
            of_architecture[cell.recipe.codec] = None
    conditions = {
        architecture: (CLEAN, *(Condition(codec=name, level=level) for name in names for level in ladders[name]))
        for architecture, names in used.items()
    }
    return [replace(cell, conditions=conditions[cell.architecture.name]) for cell in cells]


def select(cells: Sequence[Cell], patterns: Sequence[str], beyond: Space | None = None) -> list[Cell]:
    """Cells that match any pattern; all cells without patterns.

    Raises ValueError for a pattern that matches none, which says so where it matches a cell that the space `beyond` leaves out.
    """
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            if beyond and any(fnmatchcase(cell.name, pattern) for cell in possible_cells(beyond)):
                raise ValueError(
                    f"pattern {pattern!r} matches cells that exist and that search space {beyond.name} leaves out: "
                    f"add --also {pattern!r} to run them"
                )
            raise ValueError(f"pattern {pattern!r} matches no cell; {suggestion(pattern, [cell.name for cell in cells])}")
    return [cell for cell in cells if not patterns or any(fnmatchcase(cell.name, pattern) for pattern in patterns)]


def with_needs(wanted: Sequence[Cell], every: Sequence[Cell]) -> list[Cell]:
    """Cells with their parents, baselines and controls, recursively: a retrained figure always has its control."""
    needed: dict[str, Cell] = {}

    def need(cell: Cell) -> None:
        for parent in parents_of(cell, every):
            need(parent)
        for name in (cell.recipe.baseline, cell.recipe.control):
            if name:
                need(sibling(cell, name, every))
        needed[cell.name] = cell

    for cell in wanted:
        need(cell)
    return list(needed.values())


def parents_of(cell: Cell, every: Sequence[Cell]) -> list[Cell]:
    """The cells whose networks a cell starts from, or whose outputs it fuses."""
    streams = cell.architecture.streams.values() if isinstance(cell.architecture, Fusion) else ()
    architectures = tuple(streams) or (cell.architecture.name,) * len(cell.recipe.parents)
    return [sibling(cell, recipe, every, of=name) for name, recipe in zip(architectures, cell.recipe.parents, strict=True)]


def sibling(cell: Cell, recipe: str, every: Sequence[Cell], *, of: str = "") -> Cell:
    """The cell of the same architecture (or of `of`) with another recipe, on the same codec where there are several."""
    name = of or cell.architecture.name
    found = [other for other in every if other.architecture.name == name and other.recipe.name == recipe]
    if not found:
        raise ValueError(f"{cell.name} needs {name} with recipe {recipe!r}, which the search space leaves out: add it to its cells")
    return next((other for other in found if other.recipe.codec == cell.recipe.codec), found[0])
