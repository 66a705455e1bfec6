"""The plan: which trials a search space asks for, in which order, and what is done.

An entry is (cell, stage, seed, number). Its trial is resolved once its hyper-parameters and its parents' trials are known, so a
plan may gain entries and hyper-parameters while it runs: see `Growth`.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple, Protocol

from search_spaces import Budget, Screening, Space
from study.cells import Cell, parents_of, select, sibling, space_cells, with_needs
from study.flags import read_baseline_flags, read_data_flags
from trainables import (
    CLEAN,
    FORMAT,
    Adapting,
    Architecture,
    Condition,
    Derived,
    Folder,
    Fusion,
    Hyper,
    Job,
    Numerics,
    Source,
    SplitName,
    Stage,
    Store,
    Trial,
    TrialFolder,
    View,
    digest_of,
    find_codec,
    find_dataset,
    identity_of,
    recompressed,
    shaped,
    smallest_ladder,
    suggestion,
    withheld,
    without_defaults,
)

TRIALS, WEIGHTS = "trials", "weights"
CHOICE = 1
"""Format of the file that names the finalists of a screening."""
"""Folders of a storage: trials, and the weights files that trials start from."""
RANDOM = "none"
SHAPE = "schedule."
"""Prefix of hyper-parameters that are fields of the recipe's schedule."""
Need = tuple[SplitName, Condition, Derived | None]
"""(split, condition, derived): one thing the store must hold. Derived None: the frames."""
Needs = frozenset[Need]
State = Literal["done", "partial", "failed", "missing", "no data"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Entry:
    """One trial of the plan, identified by its cell, stage, seed and number."""

    cell: Cell
    seed: int
    stage: Stage = "final"
    number: int = 0
    """Number of a search trial within its cell."""
    initial: str = RANDOM
    """Initial weights, where it has no parents."""
    imported: bool = False
    """Whether `initial` is the whole network: a user's own baseline, which is not trained."""
    parents: tuple["Entry", ...] = ()
    baseline: "Entry | None" = None
    control: "Entry | None" = None
    splits: tuple[SplitName, ...] = ("val", "test")
    """Splits that the trained network of a final trial is scored on. Search trials never read the test split."""

    @property
    def needs_scores(self) -> bool:
        """Whether it combines its parents' scored outputs (a fusion), rather than starting from their weights."""
        return isinstance(self.cell.architecture, Fusion)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Conditions that the trained network is scored under."""
        return () if self.stage == "search" else self.cell.conditions

    @property
    def views(self) -> tuple[View, ...]:
        """What the trained network is scored on: every condition of each split."""
        return tuple(View(split, condition) for split in self.splits for condition in self.conditions)

    @property
    def stage_words(self) -> list[str]:
        """The stage in names of trials, with the number of a search trial; empty for the final stage."""
        return {"final": [], "screening": ["screening"], "search": [f"search {self.number}"]}[self.stage]

    def __str__(self) -> str:
        return " ".join([f"{self.cell.name} seed {self.seed}", *self.stage_words])


class Growth(Protocol):
    """Decides, from what is done, which entries a plan gains and with which hyper-parameters they run."""

    def entries(self, plan: "Plan") -> Sequence[Entry]:
        """Every further entry that is known at this point; entries the plan has already are ignored."""

    def more(self, plan: "Plan") -> bool:
        """Whether entries that are not known yet may follow."""

    def hyper(self, plan: "Plan", entry: Entry) -> Hyper | None:
        """Hyper-parameters of an entry in addition to its budget's, `schedule.NAME` for its schedule's; None while unknown."""


class Fixed:
    """The growth of a plan that does not grow: every entry runs with its budget's hyper-parameters."""

    def entries(self, plan: "Plan") -> Sequence[Entry]:  # noqa: ARG002
        return ()

    def more(self, plan: "Plan") -> bool:  # noqa: ARG002
        return False

    def hyper(self, plan: "Plan", entry: Entry) -> Hyper | None:  # noqa: ARG002
        return {}


@dataclass(kw_only=True)
class Builder:
    """Makes entries with those they need, each once."""

    every: Sequence[Cell]
    own: Mapping[str, tuple[str, Path]]
    """A user's own baselines, as digest and file, by architecture."""
    initial: Mapping[str, tuple[str, Path | None]]
    """Initial weights of the other baselines, by architecture."""
    made: dict[tuple[str, int, Stage], Entry] = field(default_factory=dict)

    def entry(self, cell: Cell, seed: int, stage: Stage = "final") -> Entry:
        """The entry of a cell; final ones with their baseline and control, screening ones with their parents alone."""
        imported = cell.architecture.name in self.own and not cell.recipe.parents
        seed = 0 if imported else seed  # one network, whatever the seeds of its children
        known = self.made.get((cell.name, seed, stage))
        if known is not None:
            return known
        final = stage == "final"
        parents = tuple(self.entry(parent, seed, stage) for parent in parents_of(cell, self.every))
        baseline, control = (
            self.entry(sibling(cell, name, self.every), seed) if name and final else None
            for name in (cell.recipe.baseline, cell.recipe.control)
        )
        entry = Entry(
            cell=cell,
            seed=seed,
            stage=stage,
            initial=RANDOM if parents else (self.own if imported else self.initial)[cell.architecture.name][0],
            imported=imported,
            parents=parents,
            baseline=baseline,
            control=control,
            splits=("val", "test") if final else ("val",),
        )
        return self.made.setdefault((cell.name, seed, stage), entry)


@dataclass(frozen=True, kw_only=True)
class Contest:
    """The candidates of one architecture and codec, and the reference that always goes on."""

    name: str
    """Architecture and codec, e.g. `segnet/jpeg`."""
    candidates: tuple[Cell, ...]
    reference: Cell


@dataclass(kw_only=True)
class Screened:
    """The growth of a plan with screening: once a contest is decided, its best candidates and the reference get fresh seeds."""

    screening: Screening
    space: str
    contests: Sequence[Contest]
    builder: Builder
    _ranked: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """Cells and mean validation of each contest that is decided, best first."""

    def entries(self, plan: "Plan") -> Sequence[Entry]:
        """The final entries of every contest that is decided, parents first."""
        first, wanted = self.screening.seeds, dict[str, Entry]()
        for contest in self.contests:
            best = self.finalists(plan, contest)
            for seed in range(first, first + self.screening.fresh) if best else ():
                for cell in (contest.reference, *(cell for cell in contest.candidates if cell.name in best)):
                    wanted |= {str(each): each for each in _lineage(self.builder.entry(cell, seed))}
        return sorted(wanted.values(), key=_precedence)

    def more(self, plan: "Plan") -> bool:
        """Whether a contest is open."""
        return not all(self.finalists(plan, contest) for contest in self.contests)

    def hyper(self, plan: "Plan", entry: Entry) -> Hyper | None:  # noqa: ARG002
        """Nothing beside the budget's."""
        return {}

    def screened(self, contest: Contest) -> list[Entry]:
        """The screening entries of a contest's candidates."""
        return [self.builder.entry(cell, seed, "screening") for seed in range(self.screening.seeds) for cell in contest.candidates]

    def finalists(self, plan: "Plan", contest: Contest) -> list[str]:
        """Names of the cells that go on; empty while the contest is open."""
        if self.screening.finalists:
            return _read_finalists(self.screening.finalists, contest)
        if contest.name not in self._ranked:
            entries = self.screened(contest)
            if any(plan.state(entry) != "done" for entry in entries):
                return []
            self._ranked[contest.name] = _ranking(plan, entries)
        return [name for name, _ in self._ranked[contest.name][: self.screening.best]]

    def write(self, plan: "Plan") -> None:
        """Write the contests that are decided beside the trials, for `Screening.finalists` of a later launch elsewhere."""
        decided = {contest.name: best for contest in self.contests if (best := self.finalists(plan, contest))}
        if decided and not self.screening.finalists:
            record = {"format": CHOICE, "space": self.space, "finalists": decided, "validation": self._ranked}
            plan.storage.write(f"screening-{self.space}.json", json.dumps(record, indent=1).encode())


def _ranking(plan: "Plan", entries: Sequence[Entry]) -> list[tuple[str, float]]:
    """Cells by the primary metric on validation, a mean over clean, the ladder and the seeds; best first, then by name."""
    values: dict[str, list[float]] = {}
    for entry in entries:
        folder, metric = plan.folder(entry), entry.cell.architecture.task.metric
        records = folder.scores(entry.conditions, "val") if folder else []
        values.setdefault(entry.cell.name, []).extend(record["metrics"][metric] for record in records)
    task = entries[0].cell.architecture.task
    sign = 1 if task.metrics[task.metric] == "min" else -1
    means = {name: fmean(of_cell) for name, of_cell in values.items()}
    return sorted(means.items(), key=lambda found: (sign * found[1], found[0]))


def _read_finalists(path: str, contest: Contest) -> list[str]:
    """The cells that a file of an earlier launch chose for a contest. Raises ValueError where it does not say."""
    try:
        record = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"finalists {path}: cannot be read ({error}); give the file that a screening wrote") from error
    if not isinstance(record, dict) or record.get("format") != CHOICE or contest.name not in record.get("finalists", {}):
        raise ValueError(f"finalists {path}: chooses nothing for {contest.name}; give the file that its screening wrote")
    chosen, known = record["finalists"][contest.name], [cell.name for cell in contest.candidates]
    for name in chosen:
        if name not in known:
            raise ValueError(f"finalists {path}: {name!r} is no candidate; {suggestion(name, known)}")
    return list(chosen)


def _contests(screening: Screening, chosen: Sequence[Cell], every: Sequence[Cell]) -> list[Contest]:
    """The contests that any chosen cell takes part in, each whole: a pattern cannot leave a competitor out."""
    candidates: dict[str, list[Cell]] = {}
    for cell in select(every, screening.candidates):
        candidates.setdefault(cell.name.rpartition("/")[0], []).append(cell)
    names = dict.fromkeys(cell.name.rpartition("/")[0] for cell in chosen)
    return [
        Contest(name=name, candidates=tuple(cells), reference=sibling(cells[0], screening.reference, every))
        for name, cells in candidates.items()
        if name in names
    ]


def _lineage(entry: Entry) -> Iterator[Entry]:
    """An entry after its parents, baseline and control."""
    for other in (*entry.parents, entry.baseline, entry.control):
        if other is not None:
            yield from _lineage(other)
    yield entry


@dataclass(kw_only=True)
class Plan:
    """The trials of one launch, parents before children. Entries are only ever appended."""

    space: Space
    entries: list[Entry]
    storage: Folder
    paths: Mapping[str, Path]
    """Paths of data sets, by name."""
    sources: Mapping[str, Source]
    """Opened data sets, by name."""
    no_data: Mapping[str, str]
    """Why a data set cannot be opened, by name."""
    weights: Mapping[str, Path]
    """Weights files that baselines start from, by digest."""
    growth: Growth = field(default_factory=Fixed)
    _trials: dict[str, Trial] = field(default_factory=dict, repr=False)

    def grow(self) -> list[Entry]:
        """Append the entries that have become known; returns them."""
        known = {str(entry) for entry in self.entries}
        fresh = {str(entry): entry for entry in self.growth.entries(self) if str(entry) not in known}
        self.entries += fresh.values()
        return list(fresh.values())

    def trial(self, entry: Entry) -> Trial | None:
        """The trial of an entry; None while its hyper-parameters, or a parent's, are unknown."""
        found = self._trials.get(str(entry))
        if found is None:
            hyper, parents = self.growth.hyper(self, entry), [self.trial(parent) for parent in entry.parents]
            known = [parent for parent in parents if parent is not None]
            if hyper is None or len(known) < len(parents):
                return None
            found = self._trials[str(entry)] = resolve(self.space, entry, hyper, known, self.sources.get(entry.cell.dataset))
        return found

    def folder(self, entry: Entry) -> TrialFolder | None:
        """The folder of an entry's trial; None while the trial is unknown."""
        trial = self.trial(entry)
        return None if trial is None else TrialFolder(self.storage.child(f"{TRIALS}/{trial.key}"))

    def job(self, entry: Entry) -> Job:
        """The job of an entry whose trial is known."""
        trial, path = self.trial(entry), self.paths.get(entry.cell.dataset)
        if trial is None:
            raise ValueError(f"{entry}: its hyper-parameters are not known yet")
        return Job(
            trial=trial,
            entry=str(entry),
            views=entry.views,
            validation=entry.cell.validation,
            folder=self._uri(entry),
            parents=tuple(self._uri(parent) for parent in entry.parents),
            weights=self.storage.child(WEIGHTS).uri,
            data=None if path is None else str(path),
            launched=str(Path.cwd()),
            threads=self.space.threads,
            workers=self.space.workers,
            gpu=self.space.gpus > 0,
        )

    def _uri(self, entry: Entry) -> str:
        folder = self.folder(entry)
        return "" if folder is None else folder.folder.uri

    def state(self, entry: Entry) -> State:
        """State of an entry, according to its folder."""
        if entry.cell.dataset in self.no_data:
            return "no data"
        folder = self.folder(entry)
        if folder is None:
            return "missing"
        progress = folder.progress(entry.views)
        if progress.done:
            return "done"
        if progress.failed:
            return "failed"
        return "partial" if progress.started else "missing"


def resolve(space: Space, entry: Entry, hyper: Hyper, parents: Sequence[Trial], source: Source | None) -> Trial:
    """The trial of an entry, once its hyper-parameters and its parents' trials are known. A pure function.

    `hyper` is added to the budget's; names that start with `schedule.` replace fields of the recipe's schedule. Raises ValueError
    for an unknown name.
    """
    cell, budget = entry.cell, budget_of(entry.cell)
    more = {name.removeprefix(SHAPE): value for name, value in hyper.items() if name.startswith(SHAPE)}
    recipe = shaped(cell.recipe, more)
    if isinstance(recipe.schedule, Adapting) and not space.withheld:
        raise ValueError(
            f"{cell.name}: its schedule adapts to images withheld from training and search space {space.name} withholds none: "
            "set Space.withheld, e.g. to 0.1"
        )
    chosen: dict[str, Any] = {}
    epochs = 0
    if isinstance(cell.architecture, Architecture):
        own = {name: value for name, value in hyper.items() if not name.startswith(SHAPE)}
        value = hyper_of(cell.architecture, {**budget.hyper, **cell.hyper, **own})
        chosen = without_defaults(value)
        if recipe.schedule is not None and not entry.imported:
            epochs = _epochs(space, cell, budget, value.batch_size, source)
    try:
        identities = tuple(identity_of(recipe.condition(level)) or "" for level in recipe.levels if level is not None)
    except ValueError as error:
        raise ValueError(f"{cell.name} trains at a level that is not possible: {error}") from error
    trains = bool(recipe.levels) and not entry.imported
    return Trial(
        architecture=cell.reference,
        recipe=cell.table.name,
        codec=recipe.codec,
        ladder=smallest_ladder(cell.architecture, cell.table, cell.ladder),
        shape={**cell.shape, **more},
        withheld=space.withheld if trains else 0.0,
        source_codec=space.source and space.source.codec,
        source_level=space.source and space.source.level,
        dataset=cell.dataset,
        fingerprint=source.fingerprint if source else "",
        seed=entry.seed,
        stage=entry.stage,
        epochs=epochs,
        hyper=chosen,
        initial=entry.initial,
        numerics=Numerics(precision=budget.precision, channels_last=budget.channels_last, compiled=budget.compiled),
        parents=tuple(parent.key for parent in parents),
        identities=identities,
        architecture_revision=cell.architecture.revision,
        recipe_revision=recipe.revision,
    )


def hyper_of(architecture: Architecture, values: Mapping[str, Any]) -> Any:
    """The architecture's hyper-parameters with values replaced. Raises ValueError for an unknown name or an impossible value."""
    known = [each.name for each in fields(architecture.hyper)]
    for name in values:
        if name not in known:
            raise ValueError(f"{architecture.name} has no hyper-parameter {name!r}; {suggestion(name, known)}")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return replace(architecture.hyper, **plain)


def budget_of(cell: Cell) -> Budget:
    """The budget of a cell: for a network that starts from a baseline and is trained, the budget's `retraining`."""
    budget, retraining = cell.budget, cell.budget.retraining
    if retraining is None or not cell.recipe.parents or cell.recipe.schedule is None:
        return budget
    hyper = {**budget.hyper, **retraining.hyper}
    return replace(budget, epochs=retraining.epochs, iterations=retraining.iterations, hyper=hyper)


def _epochs(space: Space, cell: Cell, budget: Budget, batch_size: int, source: Source | None) -> int:
    if (budget.epochs is None) == (budget.iterations is None):
        raise ValueError(f"search space {space.name}: the budget of {cell.architecture.name} needs epochs or iterations, not both")
    if budget.iterations is None:
        epochs = budget.epochs or 0
    elif source is None:
        return 0
    else:
        items = len(source.train.names) - len(withheld(source.train.groups, space.withheld))
        epochs = math.ceil(budget.iterations / max(1, items // batch_size))
    return epochs if space.longest is None else min(epochs, space.longest)


def make_plan(
    space: Space,
    *,
    patterns: Sequence[str] = (),
    seeds: int | None = None,
    data: Sequence[str] = (),
    baselines: Sequence[str] = (),
    also: Sequence[str] = (),
    epochs: int | None = None,
    storage: Folder,
) -> Plan:
    """Plan a space, or the cells that match patterns, with the parents and controls they need.

    `also` are patterns of cells that the space leaves out and that join it. `epochs` shortens every training to at most that many
    and the study's name then says so.
    `baselines` are files of trained weights, `WEIGHTS` or `ARCHITECTURE=WEIGHTS`, that take the place of trained baselines. Raises
    ValueError in one line for an unknown name, a pattern that matches nothing, an unknown hyper-parameter or a missing file.
    """
    chosen, paths = read_data_flags(data, space.data.values())
    space = replace(space, data={**space.data, **chosen}, cells=(*space.cells, *also))
    if epochs is not None:
        space = replace(space, name=f"{space.name}-{epochs}-epochs", longest=epochs)
    every = space_cells(space)
    chosen_cells = select(every, patterns, beyond=space)
    wanted = with_needs(chosen_cells, every)
    sources, no_data = _open({cell.dataset for cell in wanted}, paths, source_condition(space))
    for source in sources.values():
        try:
            withheld(source.train.groups, space.withheld)
        except ValueError as error:
            raise ValueError(f"search space {space.name}: {source.name}: {error}") from error
    own = {name: (digest_of(path), path) for name, path in read_baseline_flags(baselines, wanted).items()}
    initial = {cell.architecture.name: _initial(space, cell) for cell in wanted if cell.architecture.name not in own}
    builder = Builder(every=every, own=own, initial=initial)
    growth: Growth = Fixed()
    if space.screening:
        screening = space.screening if seeds is None else replace(space.screening, fresh=seeds)
        contests = _contests(screening, chosen_cells, every)
        growth = Screened(screening=screening, space=space.name, contests=contests, builder=builder)
        for contest in contests if not screening.finalists else ():
            growth.screened(contest)
        contesting = with_needs([cell for contest in contests for cell in (*contest.candidates, contest.reference)], every)
        names = {cell.name for cell in contesting}
        wanted = with_needs([cell for cell in chosen_cells if cell.name not in names], every)
    for seed in range(space.seeds if seeds is None else seeds):
        for cell in wanted:
            builder.entry(cell, seed)
    weights = {digest: path for digest, path in (*own.values(), *initial.values()) if path}
    plan = Plan(
        space=space,
        entries=sorted(builder.made.values(), key=_precedence),
        storage=storage,
        paths=paths,
        sources=sources,
        no_data=no_data,
        weights=weights,
        growth=growth,
    )
    for each in plan.entries:  # unknown hyper-parameters are an error of the plan, not of the launch
        plan.trial(each)
    return plan


def _initial(space: Space, cell: Cell) -> tuple[str, Path | None]:
    """Initial weights of an architecture's baselines: their name, or their file with its digest."""
    initial, architecture = cell.budget.initial, cell.architecture
    known = (RANDOM, *architecture.initial) if isinstance(architecture, Architecture) else (RANDOM,)
    if initial in known:
        return initial, None
    if not Path(initial).is_file():
        raise ValueError(
            f"search space {space.name}: initial weights {initial!r} of {cell.reference}: no such file; "
            f"named weights are {', '.join(known)}"
        )
    return digest_of(Path(initial)), Path(initial)


def source_condition(space: Space) -> Condition:
    """What all imagery of a space passes first; clean: nothing.

    Raises ValueError for an unknown codec, a level outside its range, and a codec of clips for stills or the reverse.
    """
    if space.source is None:
        return CLEAN
    of, condition = f"search space {space.name}: source", Condition(codec=space.source.codec, level=space.source.level)
    codec = find_codec(space.source.codec)
    try:
        identity_of(condition)
    except ValueError as error:
        raise ValueError(f"{of}: {error}") from error
    others = [name for name in space.codecs if find_codec(name).clips != codec.clips]
    if others:
        raise ValueError(f"{of} {condition} does not encode what {others[0]} encodes: give stills and clips a space each")
    return condition


def _open(names: Iterable[str], paths: Mapping[str, Path], compressed: Condition) -> tuple[dict[str, Source], dict[str, str]]:
    """Open data sets by name, after a condition's codec; for those that cannot be opened, the reason."""
    sources: dict[str, Source] = {}
    no_data: dict[str, str] = {}
    for name in sorted(names):
        try:
            sources[name] = recompressed(find_dataset(name).source(paths.get(name)), compressed)
        except ValueError as error:
            no_data[name] = str(error)
    return sources, no_data


def _precedence(entry: Entry) -> tuple[int, int]:
    """Parents first; then recipes with more training levels, since a long trial that starts last delays the launch's end."""
    recipe = entry.cell.recipe
    return _depth(entry), -len(recipe.levels) if recipe.schedule else 0


def _depth(entry: Entry) -> int:
    """Generations before an entry: 0 for a baseline."""
    return 1 + max(map(_depth, entry.parents)) if entry.parents else 0


def store_needs(plan: Plan) -> dict[str, Needs]:
    """The imagery a plan reads of each data set: training at its schedules' levels, validation and test under their conditions."""
    needs: dict[str, set[Need]] = {}
    for entry in plan.entries:
        cell = entry.cell
        of_data = needs.setdefault(cell.dataset, set())
        read: set[tuple[SplitName, Condition]] = set(entry.views)
        read |= {("train", cell.recipe.condition(level)) for level in cell.recipe.levels}
        if cell.recipe.schedule:
            read |= {("val", condition) for condition in cell.validation}
        kinds: set[Derived | None] = {None}  # derived data are computed from the frames, which are stored too
        if isinstance(cell.architecture, Architecture):
            kinds.add(cell.architecture.inputs.derive(hyper_of(cell.architecture, {**budget_of(cell).hyper, **cell.hyper})))
        of_data |= {(*each, derived) for each in read for derived in kinds}
    return {name: frozenset(of_data) for name, of_data in needs.items()}


def predicted_bytes(store: Store, source: Source, needs: Needs) -> int:
    """Bytes that the store will hold for a source. Raises ValueError where a sampled item cannot be read."""
    return sum(store.imagery(source, split, derived).stored_bytes(condition) for split, condition, derived in needs)


class Earlier(NamedTuple):
    """Numbers of trial folders in a storage that this version neither reads nor changes, although their trials are planned."""

    formats: int
    """Folders of an earlier format, of whatever trial."""
    revisions: int
    """Folders that differ from a planned trial by an earlier revision of an architecture or a recipe, its parents' included."""


def earlier_trials(plan: Plan) -> Earlier:
    """Count the trial folders of earlier formats and revisions, from `trial.json` of every folder that is not in the plan."""
    planned = {trial.key: trial for entry in plan.entries if (trial := plan.trial(entry)) is not None}
    folder, formats = plan.storage.child(TRIALS), 0
    others: dict[str, Trial] = {}
    for key in sorted(
        {name.removesuffix("/trial.json") for name in folder.names() if name.endswith("/trial.json")} - planned.keys()
    ):
        try:
            record = TrialFolder(folder.child(key)).read_json("trial.json")
            earlier = int(record["format"]) < FORMAT
            trial = None if earlier else Trial.from_json(record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not readable as a trial of this version or an earlier one
        formats += earlier
        if trial is not None and trial.key == key:
            others[key] = trial
    known = planned | others
    expected = {_unrevised(trial, known) for trial in planned.values()}
    return Earlier(formats=formats, revisions=sum(_unrevised(trial, known) in expected for trial in others.values()))


def _unrevised(trial: Trial, known: Mapping[str, Trial]) -> str:
    """Key of a trial without its own revisions and those of its ancestors, where `known` has them."""
    parents = tuple(_unrevised(known[key], known) if key in known else key for key in trial.parents)
    return replace(trial, architecture_revision=0, recipe_revision=0, parents=parents).key
