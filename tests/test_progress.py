from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from search_spaces import DEMO
from search_spaces.demo import STILLS
from study.plan import make_plan
from study.progress import Progress
from trainables import Folder

BASELINE = "segnet/clean/baseline seed 0"


@pytest.fixture
def progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Progress:
    """The progress of one baseline, which prints every line at once."""
    monkeypatch.setattr("study.progress.LINE_SECONDS", 0.0)
    space = replace(DEMO, cells=STILLS, budgets={"segnet": replace(DEMO.budgets["segnet"], epochs=8)})
    plan = make_plan(space, patterns=["segnet/clean/baseline"], storage=Folder.at(str(tmp_path)))
    return Progress(plan, Console(record=True, width=200), slots=1)


def test_scoring_is_shown_with_its_view_and_the_items_so_far(progress: Progress) -> None:
    progress.result(BASELINE, {"phase": "measure", "view": "jpeg-15 of val", "built": 68, "items": 233})
    assert f"{BASELINE}: scoring jpeg-15 of val, 68/233" in progress.console.export_text()


def test_encoding_is_shown_with_its_pack_and_the_items_so_far(progress: Progress) -> None:
    progress.result(BASELINE, {"phase": "encode", "pack": "test jpeg-15", "built": 5, "items": 60})
    assert f"{BASELINE}: encoding test jpeg-15, 5/60" in progress.console.export_text()


def test_an_epoch_is_shown_with_the_metric_and_from_the_second_on_with_the_time_left(progress: Progress) -> None:
    for epoch in (1, 2):
        progress.result(BASELINE, {"phase": "train", "epoch": epoch, "objective": epoch / 8, "seconds": 3.0})
    lines = progress.console.export_text().splitlines()
    assert lines[0] == f"{BASELINE}: epoch 1/8, miou 0.125 (0 of 1 trials done)"
    assert lines[1] == f"{BASELINE}: epoch 2/8, miou 0.250 (0 of 1 trials done, ETA 0:01:00)"
