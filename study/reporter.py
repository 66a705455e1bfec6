"""Reports to MLflow in the background. Training does not depend on it: folders hold everything, and reports are repaired later."""

import threading
from collections.abc import Callable

from study.plan import Entry, Plan, State
from study.tracking import Status, Tracker

RETRY_SECONDS = 15.0
STATUSES: dict[State, Status] = {"done": "FINISHED", "failed": "FAILED", "partial": "KILLED"}


class Reporter:
    """A thread that reports trials as they change. A dead tracking server does not stop training.

    Use as a context manager. Leaving it repairs every run of the plan; `trouble` then says what could not be reported.
    """

    def __init__(self, plan: Plan, uri: str) -> None:
        self.trouble: str | None = None
        self._plan, self._uri = plan, uri
        self._tracker: Tracker | None = None
        self._changed: dict[str, tuple[Entry, Status]] = {}
        self._wake, self._closing = threading.Condition(), False
        self._thread = threading.Thread(target=self._work, name="reporter", daemon=True)

    def __enter__(self) -> "Reporter":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()
        self.trouble = None
        self._attempt(self._repair)

    def changed(self, entry: Entry, status: Status) -> None:
        """Queue an entry whose folder has changed."""
        with self._wake:
            self._changed[str(entry)] = (entry, status)
            self._wake.notify()

    def _work(self) -> None:
        self._attempt(lambda tracker: tracker.end_orphans())
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._changed or self._closing)
                if self._closing:
                    return
                changed, self._changed = self._changed, {}
            for key, (entry, status) in changed.items():
                if self._attempt(lambda tracker, entry=entry, status=status: tracker.project(entry, status)):  # type: ignore[misc]
                    continue
                with self._wake:
                    self._changed.setdefault(key, (entry, status))
            if self.trouble:
                with self._wake:
                    self._wake.wait_for(lambda: self._closing, timeout=RETRY_SECONDS)

    def _repair(self, tracker: Tracker) -> None:
        """Make every run agree with its folder, then write the summary."""
        states = [self._plan.state(entry) for entry in self._plan.entries]
        for entry, state in zip(self._plan.entries, states, strict=True):
            if state in STATUSES:
                tracker.project(entry, STATUSES[state])
        tracker.end_orphans()
        tracker.summarise("FAILED" if "failed" in states else "FINISHED" if set(states) == {"done"} else "KILLED")

    def _attempt(self, act: Callable[[Tracker], None]) -> bool:
        try:
            if self._tracker is None:
                self._tracker = Tracker(self._uri, self._plan)
            act(self._tracker)
        except Exception as error:  # MLflow's client may raise anything; training must go on
            self.trouble = f"cannot report to MLflow at {self._uri}: {' '.join(str(error).split())[:300]}"
            return False
        self.trouble = None
        return True
