"""What a launch shows while it runs: a live table on a terminal, a line an event elsewhere."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from study.plan import Entry, Plan

ENCODING_SECONDS = 15.0
"""Between two lines that tell only how far an encoding is."""


@dataclass
class _Row:
    entry: Entry
    state: str
    epoch: int = 0
    conditions: int = 0
    objective: float | None = None

    @property
    def left(self) -> tuple[int, int]:
        """Epochs and conditions still to do."""
        return self.entry.trial.epochs - self.epoch, len(self.entry.conditions) - self.conditions


@dataclass
class _Pace:
    """Mean seconds of a step of one kind."""

    steps: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.steps += 1
        self.seconds += seconds


@dataclass
class Progress:
    """Cells done, epoch, metric and time left. Use as a context manager."""

    plan: Plan
    console: Console
    slots: int
    """Trials that run side by side."""
    _rows: dict[str, _Row] = field(init=False)
    _live: Live | None = field(init=False, default=None)
    _paces: dict[tuple[str, str], _Pace] = field(init=False, default_factory=dict)
    _started: float = field(init=False, default_factory=time.monotonic)
    _told: float = field(init=False, default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._rows = {entry.trial.key: self._row(entry) for entry in self.plan.entries}

    def _row(self, entry: Entry) -> _Row:
        folder = self.plan.folder(entry.trial)
        progress = folder.progress(entry.conditions)
        epoch = entry.trial.epochs if progress.trained else len(folder.history())
        conditions = len(entry.conditions) - len(progress.missing)
        return _Row(entry, "done" if progress.done else "waiting", epoch, conditions)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live = Live(self._table(), console=self.console, refresh_per_second=2, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def started(self, key: str) -> None:
        """A trial was handed out."""
        self._rows[key].state = "starting"
        self._show()

    def result(self, key: str, result: Mapping[str, Any]) -> None:
        """A step of a trial ended."""
        row = self._rows[key]
        row.state = str(result["phase"])
        architecture = row.entry.cell.architecture
        if result["phase"] == "train":
            row.epoch, row.objective = int(result["epoch"]), float(result["objective"])
            self._line(row, f"epoch {row.epoch}/{row.entry.trial.epochs}")
        elif result["phase"] == "score":
            row.conditions += 1
            row.objective = float(result["objective"])
        if result["phase"] in {"train", "score"}:
            self._paces.setdefault((architecture.name, row.state), _Pace()).add(float(result["seconds"]))
        elif result["phase"] == "encode":
            row.state = f"encoding {result['pack']}: {result['built']}/{result['items']}"
            if time.monotonic() - self._told > ENCODING_SECONDS:
                self._line(row, row.state)
        elif result["phase"] == "done":
            row.conditions = len(row.entry.conditions)
            self._line(row, "done")
        elif result["phase"] == "failed":
            self._line(row, f"FAILED: {result['failure']}")
        self._show()

    def again(self, key: str) -> None:
        """A trial's process is gone and another continues it."""
        row = self._rows[key]
        row.state = "starting again"
        self._line(row, "its process died, another continues after its last epoch")
        self._show()

    def died(self, key: str) -> None:
        """A trial's process is gone."""
        self._rows[key].state = "failed"
        self._line(self._rows[key], "FAILED: its process died; see Ray's logs")
        self._show()

    def _line(self, row: _Row, event: str) -> None:
        """One line for those who read a file or a pipe."""
        if self._live is not None:
            return
        self._told = time.monotonic()
        metric = row.entry.cell.architecture.metric
        value = "" if row.objective is None else f", {metric} {row.objective:.3f}"
        self.console.print(
            f"{row.entry.cell.name} seed {row.entry.seed}: {event}{value} ({self._summary()})", soft_wrap=True, highlight=False
        )

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._table())

    def _summary(self) -> str:
        done = sum(row.state == "done" for row in self._rows.values())
        left = self._seconds_left()
        eta = "" if left is None else f", ETA {timedelta(seconds=round(left))}"
        return f"{done} of {len(self._rows)} trials done{eta}"

    def _seconds_left(self) -> float | None:
        """Work left at the pace seen so far, over the trials that run side by side; None before anything was seen."""
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
        """Seconds of a step: of this architecture and kind, else the mean of whatever was seen."""
        pace = self._paces.get((architecture, kind))
        seen = [pace] if pace else list(self._paces.values())
        return sum(each.seconds for each in seen) / sum(each.steps for each in seen)

    def _table(self) -> Table:
        table = Table(
            title=f"{self.plan.space.name}: {self._summary()}, {timedelta(seconds=round(time.monotonic() - self._started))} so far"
        )
        for heading in ("cell", "seed", "state", "epoch", "conditions", "metric"):
            table.add_column(heading, justify="left" if heading in {"cell", "state"} else "right")
        rows = list(self._rows.values())
        shown = rows if len(rows) <= self.console.height - 6 else [row for row in rows if row.state not in {"done", "waiting"}]
        for row in shown:
            epochs = row.entry.trial.epochs
            metric = "" if row.objective is None else f"{row.entry.cell.architecture.metric} {row.objective:.3f}"
            table.add_row(
                row.entry.cell.name, str(row.entry.seed), row.state, f"{row.epoch}/{epochs}",
                f"{row.conditions}/{len(row.entry.conditions)}", metric,
            )  # fmt: skip
        return table
