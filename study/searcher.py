"""Hands the plan's trials to Ray Tune, each as soon as its parents are trained, so that no processor waits for a stage to end."""

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from study.plan import Entry, Plan


class PlanSearcher(Searcher):
    """Suggests what is not done, in the plan's order, until nothing can run any more. The plan may grow meanwhile.

    Entries whose parents failed are never suggested.
    """

    def __init__(self, plan: Plan, *, started: Callable[[Entry], None], finished: Callable[[Entry], None]) -> None:
        """`started` is called with each entry handed out, `finished` with each that turns out to be done already."""
        super().__init__()
        self._plan, self._started, self._finished = plan, started, finished
        self._todo: list[Entry] = []
        self._live: dict[str, Entry] = {}
        self._trained: set[str] = set()
        self._scored: set[str] = set()
        self._add(plan.entries)

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles this for a restore that never happens."""
        return {}

    def suggest(self, trial_id: str) -> Any:
        """The config of the next trial that can run; None while some must wait for trials that are running."""
        self._add(self._plan.grow())
        running = {self._key(entry) for entry in self._live.values()}
        for entry in list(self._todo):
            key = self._key(entry)
            if key is None or key in running or not self._ready(entry):
                continue
            self._todo.remove(entry)
            if self._done(entry):  # another entry with equal values shares its trial
                self._finished(entry)
                continue
            self._live[trial_id] = entry
            self._started(entry)
            return self._plan.job(entry).to_config()
        # FINISHED as soon as nothing can follow: Tune then ends idle actors, which otherwise might die and be reused dead.
        waits = self._live and (self._todo or self._plan.growth.more(self._plan))
        return None if waits else Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note when a trial is trained: its children need its weights, not its scores."""
        if result["phase"] in {"score", "done"}:
            self._trained.add(str(self._live[trial_id]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note the end of a trial."""
        entry = str(self._live.pop(trial_id))
        if not error and result and result["phase"] == "done":
            self._trained.add(entry)
            self._scored.add(entry)

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the trials' folders hold all state."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing, see `save`."""

    def _add(self, entries: list[Entry]) -> None:
        self._todo += [entry for entry in entries if not self._done(entry)]

    def _done(self, entry: Entry) -> bool:
        """Whether an entry's folder says it is done; notes what its children may start from."""
        folder = self._plan.folder(entry)
        if folder is None:
            return False
        progress = folder.progress(entry.views)
        if progress.trained:
            self._trained.add(str(entry))
        if progress.done:
            self._scored.add(str(entry))
        return progress.done

    def _ready(self, entry: Entry) -> bool:
        return {str(parent) for parent in entry.parents} <= (self._scored if entry.needs_scores else self._trained)

    def _key(self, entry: Entry) -> str | None:
        trial = self._plan.trial(entry)
        return None if trial is None else trial.key
