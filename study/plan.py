"""From a search space to trials: which cells, over which seeds, in which order, and what of them is done.

The planner reads a recipe's parents and control and knows none by name: a new recipe, architecture or codec changes nothing here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from search_spaces import SPACES, Space
from trainables import (
    CODECS,
    DATASETS,
    Architecture,
    Condition,
    Derived,
    Folder,
    Job,
    Numerics,
    Recipe,
    Source,
    Trial,
    TrialFolder,
    digest_of,
    find_architecture,
    find_dataset,
    identity_of,
    is_reference,
    named,
    recipes_of,
)

WEIGHTS = "weights"
"""Where a storage keeps the weights files that trials start from."""
RANDOM = "none"
Need = tuple[str, str | None, int | None, Derived | None]
"""A split, a codec and a level at which a study reads a data set, and what it derives of the frames; None are they themselves."""
Needs = frozenset[Need]
State = Literal["done", "partial", "failed", "missing", "no data"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Architecture x recipe on the space's data set."""

    architecture: Architecture
    recipe: Recipe
    dataset: str
    """As the space names it: an entry of the table, or `package.module:NAME`."""
    reference: str
    """How the space names the architecture."""

    @property
    def name(self) -> str:
        """`segnet/jpeg/constant-10`."""
        return "/".join((self.architecture.name, self.recipe.codec or "clean", self.recipe.name))


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A cell with a seed: one trial of the plan."""

    cell: Cell
    seed: int
    conditions: tuple[Condition, ...]
    trial: Trial
    parents: tuple["Entry", ...]
    baseline: "Entry | None"
    control: "Entry | None"

    @property
    def of_scores(self) -> bool:
        """Whether it is made of its parents' scores, rather than of their weights."""
        return bool(self.cell.architecture.streams)

    def __str__(self) -> str:
        """How messages name it."""
        return f"{self.cell.name} seed {self.seed}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All trials of one launch, parents before children."""

    space: Space
    entries: tuple[Entry, ...]
    storage: Folder
    paths: Mapping[str, Path]
    """Where data sets lie, by name."""
    sources: Mapping[str, Source]
    """The data sets that are at hand, by name."""
    no_data: Mapping[str, str]
    """Why a data set cannot be opened, by name."""
    weights: Mapping[str, Path]
    """Files of weights that baselines start from, or are, by digest."""

    def folder(self, trial: Trial) -> TrialFolder:
        """A trial's folder."""
        return TrialFolder(self.storage.child(f"trials/{trial.key}"))

    def job(self, entry: Entry) -> Job:
        """What a worker needs to run an entry."""
        path = self.paths.get(entry.cell.dataset)
        return Job(
            trial=entry.trial,
            conditions=entry.conditions,
            folder=self.folder(entry.trial).folder.uri,
            parents=tuple(self.folder(parent.trial).folder.uri for parent in entry.parents),
            weights=self.storage.child(WEIGHTS).uri,
            data=None if path is None else str(path),
            launched=str(Path.cwd()),
            threads=self.space.threads,
            workers=self.space.workers,
            gpu=self.space.gpus > 0,
        )

    def state(self, entry: Entry) -> State:
        """What an entry's folder says of it."""
        if entry.cell.dataset in self.no_data:
            return "no data"
        progress = self.folder(entry.trial).progress(entry.conditions)
        if progress.done:
            return "done"
        if progress.failed:
            return "failed"
        return "partial" if progress.started else "missing"


def store_needs(plan: Plan) -> dict[str, Needs]:
    """What a plan reads of each data set: training and validation at its schedules' levels, test under its conditions."""
    needs: dict[str, set[Need]] = {}
    for entry in plan.entries:
        of_data, recipe, architecture = needs.setdefault(entry.cell.dataset, set()), entry.cell.recipe, entry.cell.architecture
        read = {("test", condition.codec, condition.level) for condition in entry.conditions}
        for level in recipe.levels:
            codec = None if level is None else recipe.codec
            read |= {(split, codec, level) for split in (("train", "val") if recipe.schedule else ("train",))}
        # The frames are kept beside what is derived of them, which is made from them and has no rate of its own.
        kinds = {None, architecture.derive(architecture.hyper(**entry.trial.hyper))}
        of_data |= {(*each, derived) for each in read for derived in kinds}
    return {name: frozenset(of_data) for name, of_data in needs.items()}


def find_space(name: str) -> Space:
    """By its name, or somebody's own by `package.module:NAME`. Raises ValueError in one line."""
    return named(name, SPACES, Space, "search space")


def find_target(name: str) -> Space | Architecture:
    """A space, or somebody's own architecture. Raises ValueError in one line."""
    found = named(name, SPACES, object, "search space")
    if not isinstance(found, Space | Architecture):
        raise ValueError(f"{name!r} is neither a search space nor an architecture but {type(found).__name__}")
    return found


def read_data_flags(flags: Sequence[str], own: Iterable[str] = ()) -> tuple[dict[str, str], dict[str, Path]]:
    """Flags `NAME=PATH` (where a data set lies) and `TASK=NAME` (which one a task takes) as (tasks' data sets, paths).

    `own` are the data sets that a space brings along, `package.module:NAME`; on the command line they go by their own names. Raises
    ValueError for a flag that is neither.
    """
    given = [value for _, _, value in (flag.partition("=") for flag in flags) if is_reference(value) and "/" not in value]
    known = {name: name for name in DATASETS} | {find_dataset(name).name: name for name in (*own, *given)}
    tasks = {find_dataset(name).task for name in known.values()}
    chosen: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for flag in flags:
        key, _, value = flag.partition("=")
        if not value:
            raise ValueError(f"--data {flag}: write NAME=PATH or TASK=NAME")
        if key in known:
            paths[known[key]] = Path(value).resolve()
        elif key in tasks:
            reference = known.get(value, value)
            if not is_reference(reference) and (reference not in DATASETS or DATASETS[reference].task != key):
                of_task = ", ".join(name for name, each in known.items() if find_dataset(each).task == key)
                raise ValueError(f"--data {flag}: no data set {value!r} for {key}; known are {of_task}")
            chosen[key] = reference
        else:
            raise ValueError(
                f"--data {flag}: {key!r} is neither a data set ({', '.join(known)}) nor a task ({', '.join(sorted(tasks))})"
            )
    return chosen, paths


def make_plan(
    space: Space,
    *,
    patterns: Sequence[str] = (),
    seeds: int | None = None,
    data: Sequence[str] = (),
    baselines: Sequence[str] = (),
    storage: Folder,
) -> Plan:
    """Plan a space, or what patterns select of it with the parents and controls that this needs.

    `baselines` are files of trained weights, `WEIGHTS` or `ARCHITECTURE=WEIGHTS`, that take the place of trained baselines. Raises
    ValueError in one line for an unknown name, a pattern that matches nothing, a hyper-parameter or a file that does not exist.
    """
    chosen, paths = read_data_flags(data, space.data.values())
    space = replace(space, data={**space.data, **chosen})
    every = space_cells(space)
    wanted = _with_needs(_select(every, patterns), every)
    sources, no_data = _open({cell.dataset for cell in wanted}, paths)
    ladders = _conditions(every)
    own = {name: (digest_of(path), path) for name, path in _own_weights(baselines, wanted).items()}
    initial = {cell.architecture.name: _initial(space, cell) for cell in wanted if cell.architecture.name not in own}
    entries: dict[tuple[str, int], Entry] = {}

    def entry(cell: Cell, seed: int) -> Entry:
        imported = cell.architecture.name in own and not cell.recipe.parents
        seed = 0 if imported else seed  # one network, whatever the seed of what starts from it
        known = entries.get((cell.name, seed))
        if known is not None:
            return known
        parents = tuple(entry(parent, seed) for parent in _parents(cell, every))
        baseline, control = (
            entry(_sibling(cell, name, every), seed) if name else None for name in (cell.recipe.baseline, cell.recipe.control)
        )
        start = RANDOM if parents else (own if imported else initial)[cell.architecture.name][0]
        made = Entry(
            cell=cell,
            seed=seed,
            conditions=ladders[cell.architecture.name],
            trial=_trial(space, cell, seed, parents, sources.get(cell.dataset), start, imported=imported),
            parents=parents,
            baseline=baseline,
            control=control,
        )
        return entries.setdefault((cell.name, seed), made)

    for seed in range(space.seeds if seeds is None else seeds):
        for cell in wanted:
            entry(cell, seed)
    ordered = sorted(entries.values(), key=_precedence)
    weights = {start: path for start, path in (*own.values(), *initial.values()) if path}
    return Plan(
        space=space, entries=tuple(ordered), storage=storage, paths=paths, sources=sources, no_data=no_data, weights=weights
    )


def _own_weights(baselines: Sequence[str], cells: Sequence[Cell]) -> dict[str, Path]:
    """The files that take the place of trained baselines, by architecture."""
    architectures = list(dict.fromkeys(cell.architecture.name for cell in cells))
    own: dict[str, Path] = {}
    for flag in baselines:
        name, _, path = flag.rpartition("=")
        if name not in architectures:
            name, path = "", flag
        if not name and len(architectures) > 1:
            raise ValueError(
                f"--baseline {flag}: whose weights? Write ARCHITECTURE={flag} with one of {', '.join(architectures)}, "
                f"or select the cells of one"
            )
        own[name or architectures[0]] = Path(path)
    return own


def _initial(space: Space, cell: Cell) -> tuple[str, Path | None]:
    """The initial weights of an architecture's budget, and the file of them if it is one."""
    name, initial, known = cell.reference, space.budgets[cell.reference].initial, (RANDOM, *cell.architecture.initial)
    if initial in known:
        return initial, None
    if not Path(initial).is_file():
        raise ValueError(
            f"search space {space.name}: {name} starts from {initial!r}, which is no file and none of {', '.join(known)}"
        )
    return digest_of(Path(initial)), Path(initial)


def space_cells(space: Space) -> list[Cell]:
    """Every cell of a space, in the order of the tables. Raises ValueError where the space names what does not exist."""
    references: dict[str, str] = {}
    cells = []
    for reference in space.budgets:
        architecture = find_architecture(reference)
        if references.setdefault(architecture.name, reference) != reference:
            raise ValueError(f"search space {space.name}: two architectures are named {architecture.name!r}; rename one")
        if architecture.task not in space.data:
            raise ValueError(f"search space {space.name}: no data set for {architecture.task}, which {reference} needs")
        dataset = space.data[architecture.task]
        if find_dataset(dataset).task != architecture.task:
            raise ValueError(f"search space {space.name}: {dataset} is no data set for {architecture.task}")
        own = CODECS[architecture.codec]
        for codec in (None, *(each for each in CODECS.values() if each.clips == own.clips)):
            cells += [
                Cell(architecture=architecture, recipe=recipe, dataset=dataset, reference=reference)
                for recipe in recipes_of(architecture, codec)
            ]
    return _select(cells, space.cells)


def _select(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """The cells that any pattern matches; all of them without patterns. Raises ValueError for a pattern that matches none."""
    for pattern in patterns:
        if not any(fnmatchcase(cell.name, pattern) for cell in cells):
            raise ValueError(f"pattern {pattern!r} matches no cell; cells are {', '.join(cell.name for cell in cells)}")
    return [cell for cell in cells if not patterns or any(fnmatchcase(cell.name, pattern) for pattern in patterns)]


def _with_needs(wanted: Sequence[Cell], every: Sequence[Cell]) -> list[Cell]:
    """Cells with their parents and controls, and theirs: a retrained figure never stands without its control."""
    needed: dict[str, Cell] = {}

    def need(cell: Cell) -> None:
        for parent in _parents(cell, every):
            need(parent)
        for name in (cell.recipe.baseline, cell.recipe.control):
            if name:
                need(_sibling(cell, name, every))
        needed[cell.name] = cell

    for cell in wanted:
        need(cell)
    return list(needed.values())


def _parents(cell: Cell, every: Sequence[Cell]) -> list[Cell]:
    """The cells that a cell's network comes from."""
    own = (cell.architecture.name,) * len(cell.recipe.parents)
    architectures = tuple(cell.architecture.streams.values()) or own
    return [_sibling(cell, recipe, every, of=name) for name, recipe in zip(architectures, cell.recipe.parents, strict=True)]


def _sibling(cell: Cell, recipe: str, every: Sequence[Cell], *, of: str = "") -> Cell:
    """The cell of the same architecture, or `of` another, with another recipe; of the same codec where there are several."""
    name = of or cell.architecture.name
    found = [other for other in every if other.architecture.name == name and other.recipe.name == recipe]
    if not found:
        raise ValueError(f"{cell.name} needs {name} with recipe {recipe!r}, which the search space leaves out: add it to the space")
    return next((other for other in found if other.recipe.codec == cell.recipe.codec), found[0])


def _conditions(cells: Sequence[Cell]) -> dict[str, tuple[Condition, ...]]:
    """By architecture: clean, and the whole ladder of every codec that the space trains it with."""
    codecs: dict[str, dict[str, None]] = {}
    for cell in cells:
        of_architecture = codecs.setdefault(cell.architecture.name, {})
        if cell.recipe.codec:
            of_architecture[cell.recipe.codec] = None
    return {
        name: (Condition(), *(Condition(codec=codec, level=level) for codec in used for level in CODECS[codec].levels))
        for name, used in codecs.items()
    }


def _open(names: Iterable[str], paths: Mapping[str, Path]) -> tuple[dict[str, Source], dict[str, str]]:
    """Open data sets by name; for those that cannot be opened, why."""
    sources: dict[str, Source] = {}
    no_data: dict[str, str] = {}
    for name in sorted(names):
        try:
            sources[name] = find_dataset(name).source(paths.get(name))
        except ValueError as error:
            no_data[name] = str(error)
    return sources, no_data


def _trial(
    space: Space, cell: Cell, seed: int, parents: Sequence[Entry], source: Source | None, initial: str, *, imported: bool
) -> Trial:
    """The trial of a cell and seed."""
    budget = space.budgets[cell.reference]
    hyper = resolve_hyper(cell.architecture, budget.hyper)
    if (budget.epochs is None) == (budget.iterations is None) and not cell.architecture.streams:
        raise ValueError(f"search space {space.name}: {cell.architecture.name} needs epochs or iterations, and not both")
    epochs = budget.epochs or 0
    if source is not None and budget.iterations is not None:
        epochs = math.ceil(budget.iterations / max(1, len(source.train.names) // int(hyper["batch_size"])))
    recipe = cell.recipe
    seen = [Condition(codec=recipe.codec, level=level) for level in recipe.levels if level is not None]
    return Trial(
        architecture=cell.reference,
        recipe=cell.recipe.name,
        codec=cell.recipe.codec,
        dataset=cell.dataset,
        fingerprint=source.fingerprint if source else "",
        seed=seed,
        stage="final",
        epochs=epochs if recipe.schedule and not imported else 0,
        hyper=hyper,
        initial=initial,
        numerics=Numerics(precision=budget.precision, channels_last=budget.channels_last, compiled=budget.compiled),
        parents=tuple(parent.trial.key for parent in parents),
        identities=tuple(identity_of(condition) or "" for condition in seen),
    )


def resolve_hyper(architecture: Architecture, values: Mapping[str, Any]) -> dict[str, Any]:
    """All hyper-parameters: the architecture's defaults with values in place. Raises ValueError for one that does not exist."""
    defaults = asdict(architecture.hyper())
    for name in values:
        if name not in defaults:
            raise ValueError(f"{architecture.name} has no hyper-parameter {name!r}; it has {', '.join(defaults)}")
    return {**defaults, **values}


def _precedence(entry: Entry) -> tuple[int, int]:
    """Parents first; then what validates at more levels, since a long trial that starts last keeps the others waiting."""
    recipe = entry.cell.recipe
    return _depth(entry), -len(recipe.levels) if recipe.schedule else 0


def _depth(entry: Entry) -> int:
    """Generations before an entry: 0 for a baseline."""
    return 1 + max(map(_depth, entry.parents)) if entry.parents else 0
