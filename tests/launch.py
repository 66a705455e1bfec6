"""Launches the small study that the fault tests disturb: `python tests/launch.py STORAGE [--tracking-uri URI] [...]`.

It trains three networks for two epochs each, with one seed. `--die-in-mlflow N` kills this process inside the N-th write to MLflow.
"""

import argparse
import os
import signal
import sys
from dataclasses import replace
from typing import Any

from rich.console import Console

from search_spaces import DEMO
from search_spaces.demo import STILLS
from study.cluster import Resources
from study.plan import Plan, make_plan
from study.run import run
from study.tracking import default_uri
from trainables import Folder

TINY = replace(DEMO, name="tiny", cells=STILLS, budgets={"segnet": replace(DEMO.budgets["segnet"], epochs=2, retraining=None)})
PATTERNS = ("segnet/jpeg/constant-5",)


def tiny_plan(storage: str) -> Plan:
    return make_plan(TINY, patterns=PATTERNS, storage=Folder.at(storage))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("storage")
    parser.add_argument("--tracking-uri")
    parser.add_argument("--address")
    parser.add_argument("--die-in-mlflow", type=int, default=0)
    options = parser.parse_args()
    if options.die_in_mlflow:
        _die_in_mlflow(options.die_in_mlflow)
    plan = tiny_plan(options.storage)
    uri = options.tracking_uri or default_uri(plan.storage)
    console = Console(width=200)
    try:
        outcome = run(plan, tracking_uri=uri, resources=Resources(address=options.address, cpus=2), console=console)
    except ValueError as error:
        console.print(f"refused: {error}", soft_wrap=True)
        return 2
    console.print(f"outcome: {outcome}", soft_wrap=True)
    return outcome.exit_code


def _die_in_mlflow(call: int) -> None:
    from mlflow.tracking import MlflowClient

    real, calls = MlflowClient.log_batch, 0

    def log_batch(self: MlflowClient, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *arguments, **named)

    MlflowClient.log_batch = log_batch  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
