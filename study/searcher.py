"""Hands the plan's trials to Ray Tune: each when its parents are trained, so that no processor waits for a stage to end."""

from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from study.plan import Entry, Plan


class PlanSearcher(Searcher):
    """Suggests what is not done, in the plan's order. Children of a trial that failed are dropped."""

    def __init__(self, plan: Plan, todo: Sequence[Entry], *, started: Callable[[str], None]) -> None:
        super().__init__()
        self._plan = plan
        self._todo = list(todo)
        self._live: dict[str, Entry] = {}
        self._started = started
        progress = {entry.trial.key: plan.folder(entry.trial).progress(entry.conditions) for entry in plan.entries}
        self._trained = {key for key, found in progress.items() if found.trained}
        self._scored = {key for key, found in progress.items() if found.done}

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles this for a restore that never happens."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial that can run; None while all wait for parents."""
        for entry in self._todo:
            if set(entry.trial.parents) <= (self._scored if entry.of_scores else self._trained):
                self._todo.remove(entry)
                self._live[trial_id] = entry
                self._started(entry.trial.key)
                return self._plan.job(entry).to_config()
        return None if self._todo else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note that a trial is trained: its children need its weights, and do not wait for its scores."""
        if result["phase"] in {"score", "done"}:
            self._trained.add(self._live[trial_id].trial.key)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note the end of a trial; drop the children of one that failed."""
        key = self._live.pop(trial_id).trial.key
        if not error and result and result["phase"] == "done":
            self._trained.add(key)
            self._scored.add(key)
            return
        lost = {key}
        for waiting in list(self._todo):  # in the plan's order, so that grandchildren come after children
            if lost & set(waiting.trial.parents) and (waiting.of_scores or key not in self._trained):
                lost.add(waiting.trial.key)
                self._todo.remove(waiting)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the trials' folders hold all state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see `save`."""
