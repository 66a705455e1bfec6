"""The study shared by the tests of MLflow, the report and the notebook: three networks, one epoch, one seed."""

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from search_spaces import DEMO
from search_spaces.demo import STILLS
from study.cluster import Resources
from study.plan import Plan, make_plan
from study.run import Outcome, run
from study.tracking import default_uri
from trainables import Folder

TINY = replace(
    DEMO,
    name="tiny",
    data={"segmentation": "tests.few:SOME"},
    cells=STILLS,
    budgets={"segnet": replace(DEMO.budgets["segnet"], epochs=1, retraining=None)},
)


@dataclass(frozen=True)
class Launched:
    plan: Plan
    uri: str
    first: Outcome
    log: str


def launch(folder: Path) -> Launched:
    storage = Folder.at(str(folder))
    plan = make_plan(TINY, patterns=["segnet/jpeg/constant-5"], storage=storage)
    uri = default_uri(storage)
    console = Console(record=True, width=200)
    outcome = run(plan, tracking_uri=uri, resources=Resources(cpus=2), console=console)
    return Launched(plan, uri, outcome, console.export_text())
