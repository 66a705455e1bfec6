"""Hands the plan's trials to Ray Tune: each when its parents are trained, so that no processor waits for a stage to end."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from study.plan import Entry, Plan


class PlanSearcher(Searcher):
    """Suggests what is not done, in the plan's order. Children of a trial that failed are dropped and kept in `dropped`."""

    def __init__(self, plan: Plan, todo: Sequence[Entry], *, started: Callable[[str], None]) -> None:
        super().__init__()
        self._plan = plan
        self._todo = list(todo)
        self._live: dict[str, Entry] = {}
        self._started = started
        self.failed: dict[str, str] = {}
        self.dropped: list[Entry] = []

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles this for a restore that never happens."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial that can run; None while all wait for parents."""
        for entry in self._todo:
            if all(map(self._trained, entry.parents)):
                self._todo.remove(entry)
                self._live[trial_id] = entry
                self._started(entry.trial.key if entry.trial else "")
                return self._plan.job(entry).to_config()
        return None if self._todo else Searcher.FINISHED

    def _trained(self, entry: Entry) -> bool:
        """A child needs its parent's weights; it does not wait for its scores."""
        return entry.trial is not None and self._plan.folder(entry.trial).trained

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note the end of a trial; drop the children of one that failed."""
        entry = self._live.pop(trial_id, None)
        if entry is None or entry.trial is None or not (error or (result or {}).get("failure")):
            return
        self.failed[entry.trial.key] = str((result or {}).get("failure") or "the worker process died")
        lost = {entry.trial.key}
        for waiting in list(self._todo):  # in the plan's order, so that grandchildren come after children
            if waiting.trial and lost & set(waiting.trial.parents):
                lost.add(waiting.trial.key)
                self._todo.remove(waiting)
                self.dropped.append(waiting)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the trials' folders hold all state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""
