"""The report's figures and its HTML page."""

import io
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from PIL import Image

from analysis.figures import Drawing, by_level, by_rate, gains, heat_map
from analysis.page import Page, page, pictured
from analysis.paper import paper_tables
from analysis.recovery import Study, beside_paper, matrix, recovery
from analysis.report import report
from analysis.results import Results
from tests.by_hand import OTHER_LADDER, OTHER_SCORES, SCORES, results

if TYPE_CHECKING:
    from tests.tiny import Launched

CHROMIUM = shutil.which("chromium")
ALL = {**SCORES, "uniform": SCORES["constant-5"]}


def png() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((60, 40), 80).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def page_of(made: Results, *, tracking_uri: str = "sqlite:///runs/mlflow.db", pictures: bool = True) -> Page:
    study = Study(made)
    tables = {"recovery": recovery(study), "matrix": matrix(study), "beside_paper": beside_paper(study, paper_tables())}
    wanted = pictured(study, tables["recovery"], tables["matrix"]) if pictures else set()
    return page(study, panels={(trial, "jpeg"): png() for trial in wanted}, tracking_uri=tracking_uri, **tables)


def drawings(scores: Mapping[str, Sequence[tuple[float, ...]]], mode: str = "max") -> list[Drawing]:
    study = Study(results(scores, mode=mode))
    rows, scored = recovery(study), matrix(study)
    return [by_level(scored, "jpeg"), by_rate(scored, "jpeg"), gains(rows, "jpeg"), heat_map(scored)]


def opened(path: Path, scratch: Path) -> tuple[list[str], list[str]]:
    """Console messages of Chromium while it shows a page, and the URLs that the page requests; no host name resolves."""
    log = scratch / "net.json"
    done = subprocess.run(
        [
            *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={scratch / 'profile'}"),
            *("--enable-logging=stderr", "--v=0", f"--log-net-log={log}", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "</html>" in done.stdout
    net = json.loads(log.read_text())
    events: list[dict[str, Any]] = [event.get("params", {}) for event in net["events"]]
    # requests that the browser makes on its own have no origin
    asked = {event["url"] for event in events if "url" in event and event.get("initiator", "not an origin") != "not an origin"}
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line], sorted(asked)


chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")


@chromium
@pytest.mark.parametrize("policy", [True, False], ids=["as written", "without its content security policy"])
def test_the_page_makes_no_requests_and_the_browser_reports_no_errors(tmp_path: Path, policy: bool) -> None:
    html = page_of(results(ALL)).html
    if not policy:
        html, removed = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
        assert removed == 1
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    assert opened(tmp_path / "report.html", tmp_path) == ([], [])


@chromium
def test_a_page_with_a_request_and_an_error_is_detected(tmp_path: Path) -> None:
    written = '<!DOCTYPE html><html><img src="http://report.invalid/x.png"><script>console.error("boom")</script></html>'
    (tmp_path / "page.html").write_text(written)
    console, asked = opened(tmp_path / "page.html", tmp_path)
    assert "boom" in console[0]
    assert asked == ["http://report.invalid/x.png"]


def test_every_source_and_link_is_inside_the_page() -> None:
    html = page_of(results(ALL)).html
    targets = re.findall(r'(?:src|href|action|srcset|data)="([^"]*)"', html)
    assert targets
    assert all(target.startswith(("data:", "#")) for target in targets)
    assert "url(" not in re.sub(r"url\(#\w+\)", "", html)
    assert "<script" not in html
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in html


def test_every_link_within_the_page_has_a_target_and_no_id_occurs_twice() -> None:
    html = page_of(results(ALL)).html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)
    assert len(ids) == len(set(ids))


def test_text_from_the_tracking_store_is_escaped() -> None:
    made = results(ALL)
    attack = '"><script>alert(1)</script>$x^2$'
    trials = made.trials.assign(
        **{name: [f"{value}{attack}" for value in made.trials[name]] for name in ("cell", "architecture", "recipe", "git_commit")}
    )
    html = page_of(Results(study=attack, trials=trials, scores=made.scores)).html
    assert "<script" not in html
    assert "alert(1)" in html


def test_the_page_states_results_provenance_and_the_command_that_reproduces_them() -> None:
    html = page_of(results(ALL), tracking_uri="https://me:secret@mlflow.example.org").html
    assert "constant-5, trained at this level: 0.520 at jpeg 5 against the control&#39;s 0.370, 0.150 better." in html
    assert "Two seeds:" in html
    assert "study run hand &#39;segnet/jpeg/constant-5&#39; &#39;segnet/jpeg/uniform&#39; --seeds 2" in html
    assert "c0ffee" in html
    assert "d474" in html
    assert "Table I of the paper beside segnet on streets" in html
    assert "https://mlflow.example.org" in html
    assert "secret" not in html


def test_predictions_of_baseline_and_retrained_network_are_shown_side_by_side() -> None:
    html = page_of(results(ALL)).html
    assert re.findall(r'alt="predictions of ([^"]*) by condition"', html) == ["baseline, seed 0", "segnet/jpeg/constant-5, seed 0"]
    assert html.count("data:image/webp;base64,") == 2


def test_a_page_without_pictures_has_no_section_of_predictions() -> None:
    assert "Predictions" not in page_of(results(ALL), pictures=False).html


def test_a_study_of_baselines_only_has_scores_curves_and_a_matrix() -> None:
    made = page_of(results({"baseline": SCORES["baseline"]}))
    assert "only scores can be shown, no recovery" in made.html
    assert "trained (row) &times; tested (column)" in made.html
    assert [drawing.name for drawing in made.drawings] == [
        "segnet-streets-jpeg-miou-by-level",
        "segnet-streets-jpeg-miou-by-rate",
        "segnet-streets-miou-matrix",
    ]


def test_a_network_tested_on_clean_only_has_a_page() -> None:
    made = results({"baseline": SCORES["baseline"]})
    clean = replace(made, scores=made.scores[made.scores["codec"] == ""])
    assert [drawing.name for drawing in page_of(clean).drawings] == ["segnet-streets-miou-by-level", "segnet-streets-miou-matrix"]


def test_an_undefined_score_leaves_a_gap_and_raises_no_error() -> None:
    undefined = {**SCORES, "constant-5": [(float("nan"),) * 3] * 2, "uniform": [(0.6, 0.6, float("nan"))] * 2}
    made = page_of(results(undefined))
    assert "undefined" in made.html
    assert "rgba(0,114,178,nan)" not in made.html


def test_networks_with_equal_scores_have_a_page() -> None:
    alike = {name: [(0.5, 0.5, 0.5)] for name in SCORES}
    assert "no better and no worse" in page_of(results(alike, noise=0)).html


def test_the_best_score_has_the_strongest_colour_for_either_direction_of_the_metric() -> None:
    def deepest(mode: str) -> str:
        html = page_of(results({"baseline": [(0.6, 0.5, 0.2)]}, mode=mode)).html
        return str(re.findall(r'rgba\(0,114,178,0\.55\)">([^<]*)<', html)[0])

    assert deepest("max") == "0.600"
    assert deepest("min") == "0.200"


def test_page_and_figures_show_the_ladder_of_the_study() -> None:
    made = page_of(results(OTHER_SCORES, ladder=OTHER_LADDER))
    assert re.findall(r'<th scope="col">(clean|jpeg-\d+)</th>', made.html) == ["clean", "jpeg-90", "jpeg-60", "jpeg-30"]
    assert "0.520 at jpeg 30 against the control&#39;s 0.370, 0.150 better." in made.html
    curves = next(drawing.svg for drawing in made.drawings if drawing.name.endswith("-by-level"))
    assert re.findall(r">(clean|\d+)</text>", curves) == ["clean", "90", "60", "30"]
    assert "Table I of the paper" not in made.html


def test_equal_tables_give_equal_figures_byte_for_byte() -> None:
    assert drawings(ALL) == drawings(ALL)


def test_figures_keep_their_text_and_label_every_curve() -> None:
    curves = drawings(ALL)[0].svg
    for recipe in ALL:
        assert f">{recipe}</text>" in curves


def test_a_figure_states_in_which_direction_scores_improve() -> None:
    assert "lower is better ↓" in drawings(ALL, mode="min")[0].svg
    assert "higher is better ↑" in drawings(ALL)[0].svg


def test_a_figure_in_a_page_takes_the_text_colour_of_the_page() -> None:
    drawing = drawings(ALL)[0]
    assert "currentColor" in drawing.inline()
    assert "currentColor" not in drawing.svg
    assert drawing.inline().startswith("<svg")


@pytest.mark.slow
def test_report_writes_its_tables_as_files_and_json(
    launched: "Launched", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(launched.uri, study="tiny", folder=tmp_path, as_json=True) == 0
    tables = json.loads(capsys.readouterr().out)["studies"]["tiny"]
    assert {row["cell"] for row in tables["recovery"]} == {"segnet/jpeg/constant-5"}
    assert {"baseline", "continued", "retrained", "compression", "gap_closed_clean", "seen", "matched"} <= set(
        tables["recovery"][0]
    )
    assert len(pd.read_csv(tmp_path / "tiny" / "recovery.csv")) == 3 * 7
    assert len(pd.read_csv(tmp_path / "tiny" / "matrix.csv")) == 3 * 3 * 7


@pytest.mark.slow
def test_report_writes_a_page_with_real_predictions_and_prints_its_path(
    launched: "Launched", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(launched.uri, study="tiny", folder=tmp_path, as_json=False) == 0
    target = tmp_path / "tiny"
    assert f"Page: {target / 'report.html'}" in capsys.readouterr().out.splitlines()
    html = (target / "report.html").read_text(encoding="utf-8")
    assert html.count("data:image/webp;base64,") == 2
    assert len(html) < 5_000_000
    names = {path.name for path in (target / "figures").iterdir()}
    assert "segnet-some_streets-jpeg-miou-by-level.svg" in names
    assert len(names) == 3 * 4
