"""Progress of a launch: a live table on a terminal, one line per event elsewhere."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from study.plan import Entry, Plan, budget_of

LINE_SECONDS = 15.0
"""Minimum time between two lines about how far an encoding or a scoring is."""


@dataclass
class _Row:
    entry: Entry
    state: str
    epochs: int
    """Epochs in all."""
    epoch: int = 0
    scores: int = 0
    objective: float | None = None

    @property
    def left(self) -> tuple[int, int]:
        """Epochs and scores still to do."""
        return self.epochs - self.epoch, len(self.entry.views) - self.scores


@dataclass
class _Pace:
    """Mean duration of one kind of step."""

    steps: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.steps += 1
        self.seconds += seconds


@dataclass
class Progress:
    """Finished cells, epoch, metric and time left. Use as a context manager."""

    plan: Plan
    console: Console
    slots: int
    """Number of trials that run side by side."""
    _rows: dict[str, _Row] = field(init=False, default_factory=dict)
    _live: Live | None = field(init=False, default=None)
    _paces: dict[tuple[str, str], _Pace] = field(init=False, default_factory=dict)
    _started: float = field(init=False, default_factory=time.monotonic)
    _told: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        for entry in self.plan.entries:
            self._row(entry)

    def _row(self, entry: Entry) -> _Row:
        """The row of an entry, made when the plan has gained the entry or its trial."""
        row = self._rows.get(str(entry))
        trial, folder = self.plan.trial(entry), self.plan.folder(entry)
        if row is None or (row.state == "waiting" and trial is not None and not row.epochs):
            row = _Row(entry, "waiting", epochs=trial.epochs if trial else budget_of(entry.cell).epochs or 0)
            if trial is not None and folder is not None:
                progress = folder.progress(entry.views)
                row.epoch = trial.epochs if progress.trained else len(folder.history())
                row.scores = len(entry.views) - len(progress.missing)
                row.state = "done" if progress.done else "waiting"
            self._rows[str(entry)] = row
        return row

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live = Live(self._table(), console=self.console, refresh_per_second=2, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def started(self, entry: Entry) -> None:
        """Note that an entry was handed out."""
        self._row(entry).state = "starting"
        self._show()

    def finished(self, entry: Entry) -> None:
        """Note that an entry turned out to be done, because another one shares its trial."""
        row = self._row(entry)
        row.state, row.epoch, row.scores = "done", row.epochs, len(entry.views)
        self._show()

    def result(self, name: str, result: Mapping[str, Any]) -> None:
        """Note the result of one step of an entry, by its name."""
        row = self._rows[name]
        row.state = str(result["phase"])
        architecture = row.entry.cell.architecture
        if result["phase"] == "train":
            row.epoch, row.objective = int(result["epoch"]), float(result["objective"])
            self._line(row, f"epoch {row.epoch}/{row.epochs}")
        elif result["phase"] == "score":
            row.scores += 1
            row.objective = float(result["objective"])
        if result["phase"] in {"train", "score"}:
            self._paces.setdefault((architecture.name, row.state), _Pace()).add(float(result["seconds"]))
        elif result["phase"] in {"encode", "measure"}:
            what = f"encoding {result['pack']}" if result["phase"] == "encode" else f"scoring {result['view']}"
            row.state = f"{what}, {result['built']}/{result['items']}"
            if time.monotonic() - self._told > LINE_SECONDS:
                self._line(row, row.state)
        elif result["phase"] == "done":
            row.scores = len(row.entry.views)
            self._line(row, "done")
        elif result["phase"] == "failed":
            self._line(row, f"FAILED: {result['failure']}")
        self._show()

    def again(self, name: str) -> None:
        """Note that an entry's process died and that another continues it."""
        row = self._rows[name]
        row.state = "restarting"
        self._line(row, "its process died; another continues after the last epoch")
        self._show()

    def died(self, name: str) -> None:
        """Note that an entry's process died for good."""
        self._rows[name].state = "failed"
        self._line(self._rows[name], "FAILED: its process died; see Ray's logs")
        self._show()

    def _line(self, row: _Row, event: str) -> None:
        """Print one line, where the output is a file or a pipe."""
        if self._live is not None:
            return
        self._told = time.monotonic()
        metric = row.entry.cell.architecture.task.metric
        value = "" if row.objective is None else f", {metric} {row.objective:.3f}"
        self.console.print(f"{row.entry}: {event}{value} ({self._summary()})", soft_wrap=True, markup=False, highlight=False)

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._table())

    def _summary(self) -> str:
        done = sum(row.state == "done" for row in self._rows.values())
        left = self._seconds_left()
        eta = "" if left is None else f", ETA {timedelta(seconds=round(left))}"
        return f"{done} of {len(self._rows)} trials done{eta}"

    def _seconds_left(self) -> float | None:
        """Estimated seconds left at the pace so far, over the trials that run side by side; None before the first step."""
        if not self._paces:
            return None
        total = 0.0
        for row in self._rows.values():
            if row.state in {"done", "failed"}:
                continue
            for kind, steps in zip(("train", "score"), row.left, strict=True):
                total += steps * self._pace(row.entry.cell.architecture.name, kind)
        waiting = sum(row.state not in {"done", "failed"} for row in self._rows.values())
        return total / max(1, min(self.slots, waiting))

    def _pace(self, architecture: str, kind: str) -> float:
        """Seconds per step of this architecture and kind, or the mean over all steps where none was seen."""
        pace = self._paces.get((architecture, kind))
        seen = [pace] if pace else list(self._paces.values())
        return sum(each.seconds for each in seen) / sum(each.steps for each in seen)

    def _table(self) -> Table:
        table = Table(
            title=f"{self.plan.space.name}: {self._summary()}, {timedelta(seconds=round(time.monotonic() - self._started))} so far"
        )
        for heading in ("cell", "seed", "state", "epoch", "scores", "metric"):
            table.add_column(heading, justify="left" if heading in {"cell", "state"} else "right")
        rows = list(self._rows.values())
        shown = rows if len(rows) <= self.console.height - 6 else [row for row in rows if row.state not in {"done", "waiting"}]
        for row in shown:
            metric = "" if row.objective is None else f"{row.entry.cell.architecture.task.metric} {row.objective:.3f}"
            table.add_row(
                row.entry.cell.name, str(row.entry.seed), row.state, f"{row.epoch}/{row.epochs}",
                f"{row.scores}/{len(row.entry.views)}", metric,
            )  # fmt: skip
        return table
