"""The committed results, and the README's blocks, which are rendered from them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analysis.published.__main__ import main
from analysis.published.blocks import block, figures, rendered, stale
from analysis.published.files import LIMIT, joined, load, write
from analysis.recovery import Study, matrix, recovery
from analysis.results import Results, export
from tests.by_hand import SCORES, results

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "docs" / "results").glob("*.parquet"))
README = "Before.\n\n<!-- results:segmentation -->\nold\n<!-- /results:segmentation -->\n\nAfter.\n"
ALL = {**SCORES, "uniform": SCORES["constant-5"], "recalibrated-5": SCORES["continued"]}


def written(made: Results, folder: Path, **options: str) -> Path:
    (path,) = write(joined({"one": made}), folder, origin=options)
    return path


def second_metric(made: Results) -> Results:
    """The same results with a further metric, which is not the primary one."""
    other = made.scores.assign(metric="accuracy", value=made.scores["value"] / 2)
    return replace(made, scores=pd.concat([made.scores, other], ignore_index=True))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_readme_shows_the_committed_results(path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert rendered(text, path.parent, [path.stem]) == text
    assert path.stat().st_size <= LIMIT
    for name, drawing in figures(load(path)).items():
        assert (path.parent / name).read_text(encoding="utf-8") == drawing.svg


def test_every_block_of_the_readme_is_closed() -> None:
    stale((ROOT / "README.md").read_text(encoding="utf-8"), ROOT / "docs" / "results")


def test_a_file_gives_the_tables_of_the_results_that_it_was_written_from(tmp_path: Path) -> None:
    made = results(ALL)
    read = load(written(made, tmp_path)).results
    pd.testing.assert_frame_equal(matrix(Study(read)), matrix(Study(made)))
    pd.testing.assert_frame_equal(recovery(Study(read)), recovery(Study(made)), rtol=1e-4)


def test_a_file_keeps_every_value_but_replicates_of_the_primary_metric_only(tmp_path: Path) -> None:
    made = second_metric(results(SCORES))
    read = load(written(made, tmp_path)).results.scores
    assert read["value"].tolist() == made.scores["value"].tolist()
    assert {(metric, len(each)) for metric, each in zip(read["metric"], read["replicates"], strict=True)} == {
        ("miou", 50),
        ("accuracy", 0),
    }
    primary = made.scores[made.scores["metric"] == "miou"]
    assert np.array_equal(
        np.stack(list(read.loc[read["metric"] == "miou", "replicates"])), np.stack(list(primary["replicates"])).astype(np.float32)
    )


def test_a_file_keeps_every_value_on_validation_without_replicates(tmp_path: Path) -> None:
    made = second_metric(results(SCORES))
    made = replace(made, validation=made.scores.assign(value=made.scores["value"] - 0.02))
    read = load(written(made, tmp_path)).results
    columns = ["trial", "codec", "level", "metric", "mode", "value"]
    pd.testing.assert_frame_equal(read.validation[columns], made.validation[columns])
    pd.testing.assert_frame_equal(read.scores[columns], made.scores[columns])
    assert {len(each) for each in read.validation["replicates"]} == {0}


def test_a_file_of_trials_that_were_scored_on_test_alone_has_no_validation_scores(tmp_path: Path) -> None:
    assert load(written(results(SCORES), tmp_path)).results.validation.empty


def test_a_file_keeps_group_sizes_and_states_its_origin(tmp_path: Path) -> None:
    read = load(written(results(SCORES), tmp_path, processor="A processor"))
    assert read.results.trials["group_sizes"].iloc[0] == [3, 3, 2]
    assert (read.origin.study, read.origin.processor, read.origin.commit) == ("hand", "A processor", "c0ffee")
    assert read.origin.date == "2026-11-22"
    assert read.origin.command == "study run hand 'segnet/jpeg/constant-5' --seeds 2 --data segmentation=streets"


def test_equal_results_give_equal_files_byte_for_byte(tmp_path: Path) -> None:
    first, second = (written(results(ALL), tmp_path / name) for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_three_seeds_of_seven_networks_under_seven_conditions_with_14_metrics_fit_the_limit(tmp_path: Path) -> None:
    ladder, rng = (95, 75, 50, 15, 10, 5), np.random.default_rng(0)
    names = ("baseline", "continued", "constant-15", "constant-10", "constant-5", "uniform", "recalibrated-10")
    made = results({name: [tuple(rng.random(7)) for _ in range(3)] for name in names}, ladder=ladder)
    scores = made.scores.assign(replicates=list(rng.random((len(made.scores), 400))))
    others = [scores.assign(metric=f"metric-{number}", value=rng.random(len(scores))) for number in range(13)]
    every = pd.concat([scores, *others], ignore_index=True)
    path = written(replace(made, scores=every, validation=every.assign(value=rng.random(len(every)))), tmp_path)
    assert 100_000 < path.stat().st_size < LIMIT


def test_a_file_above_the_limit_is_refused_and_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.published.files.LIMIT", 1000)
    with pytest.raises(ValueError, match=r"segmentation.parquet: [\d,]+ bytes, but a file may have 1,000"):
        written(results(SCORES), tmp_path)
    assert not list(tmp_path.iterdir())


def part(made: Results, recipes: Sequence[str], study: str = "hand") -> Results:
    trials = made.trials[made.trials["recipe"].isin(recipes)]
    return Results(study=study, trials=trials, scores=made.scores[made.scores["trial"].isin(trials.index)].reset_index(drop=True))


def test_exports_of_several_launches_are_joined_by_trial(tmp_path: Path) -> None:
    made = results(ALL)
    first, second = part(made, ["baseline", "continued", "constant-5"]), part(made, ["baseline", "uniform"], "other")
    (path,) = write(joined({"first": first, "second": second}), tmp_path)
    read = load(path)
    assert sorted(read.results.trials.index) == sorted({*first.trials.index, *second.trials.index})
    assert not read.results.scores.duplicated(["trial", "codec", "level", "metric"]).any()
    assert read.origin.study == "hand, other"
    assert read.origin.command.splitlines() == [
        "study run hand 'segnet/jpeg/constant-5' --seeds 2 --data segmentation=streets",
        "study run other 'segnet/jpeg/uniform' --seeds 2 --data segmentation=streets",
    ]
    assert set(recovery(Study(read.results))["cell"]) == {"segnet/jpeg/constant-5", "segnet/jpeg/uniform"}


def test_two_exports_that_disagree_on_a_score_are_refused() -> None:
    made = results(SCORES)
    other = replace(made, scores=made.scores.assign(value=made.scores["value"] + 0.01))
    with pytest.raises(ValueError, match=r"trial baseline-0 has other scores in b than in a: leave one of them out"):
        joined({"a": made, "b": other})
    one, other = (replace(made, validation=frame) for frame in (made.scores, other.scores))
    with pytest.raises(ValueError, match=r"trial baseline-0 has other scores in b than in a: leave one of them out"):
        joined({"a": one, "b": other})


def test_trials_of_an_earlier_setup_are_left_out(tmp_path: Path) -> None:
    made = results(SCORES)
    earlier = made.trials.rename(index=lambda key: f"earlier-{key}").assign(setup="earlier", ended=0, baseline="", control="")
    earlier["parents"] = [[] for _ in range(len(earlier))]
    scores = made.scores.assign(trial="earlier-" + made.scores["trial"])
    both = Results(study="hand", trials=pd.concat([earlier, made.trials]), scores=pd.concat([scores, made.scores]))
    assert list(load(written(both, tmp_path)).results.trials.index) == list(made.trials.index)


def shown(scores: Mapping[str, Sequence[tuple[float, ...]]], folder: Path, mode: str = "max") -> str:
    return block(load(written(results(scores, mode=mode), folder, processor="A processor")))


def test_a_block_shows_each_network_and_the_gain_over_the_control_with_its_interval(tmp_path: Path) -> None:
    lines = shown(ALL, tmp_path).splitlines()
    assert lines[3:6] == [
        "| JPEG quality | bit/px | baseline | continued | retrained at this level | R - C | uniform | R - C |",
        "|---|---|---|---|---|---|---|---|",
        "| clean | | 0.610 ± 0.014 | 0.670 ± 0.014 | | | 0.630 ± 0.014 | -0.040 [-0.042, -0.038] |",
    ]
    assert lines[7].startswith(
        "| 5 | 0.25 | 0.310 ± 0.014 | 0.370 ± 0.014 | 0.520 ± 0.014 | +0.150 [+0.148, +0.152] | 0.520 ± 0.014 |"
    )
    assert lines[-2].startswith("Made on A processor, at commit c0ffee, 2026-11-22, by `study run hand 'segnet/jpeg/constant-5'")


def test_sentences_state_seeds_shares_and_clean_cost(tmp_path: Path) -> None:
    text = " ".join(shown(ALL, tmp_path).split())
    assert "At JPEG quality 5, segnet constant-5 beats its control in 2 of 2 seeds (R - C: +0.150 and +0.150)." in text
    assert "It closes 50 % [49 %, 51 %] of the gap that compression opens; without the control it would seem to close 70 %." in text
    assert "On clean imagery R - C is -0.040 [-0.042, -0.038]." in text
    assert "recalibrated-5 changes the baseline's score at JPEG quality 5 by" in text
    assert "8 test items in 3 groups" in text


def test_a_gain_is_positive_where_lower_scores_are_better(tmp_path: Path) -> None:
    swapped = {**SCORES, "constant-5": [(0.6, 0.5, 0.2)] * 2}
    text = " ".join(shown(swapped, tmp_path, mode="min").split())
    assert "lower is better" in text
    assert "beats its control in 2 of 2 seeds (R - C: +0.16 and +0.18)" in text.replace("0.160", "0.16").replace("0.180", "0.18")


def test_one_seed_has_no_deviation_and_says_so(tmp_path: Path) -> None:
    text = shown({name: seeds[:1] for name, seeds in SCORES.items()}, tmp_path)
    assert "±" not in text
    assert "one seed" in text
    assert '"these networks"' in text


def test_a_study_of_baselines_has_a_table_of_scores(tmp_path: Path) -> None:
    text = shown({"baseline": SCORES["baseline"]}, tmp_path)
    assert "| JPEG quality | bit/px | baseline |\n|---|---|---|\n| clean | | 0.610 ± 0.014 |" in text
    assert "R - C" not in text


def test_a_tuned_metric_is_compared_with_the_plain_one(tmp_path: Path) -> None:
    made = results(SCORES)
    tuned = made.scores.assign(metric="miou_tuned", value=made.scores["value"] + 0.004)
    both = replace(made, scores=pd.concat([made.scores, tuned], ignore_index=True))
    assert "changes no network's mIoU by more than 0.004." in block(load(written(both, tmp_path)))


def test_no_line_of_a_block_can_be_taken_for_a_list(tmp_path: Path) -> None:
    for width in range(60, 132):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("analysis.published.blocks.WIDTH", width)
            lines = shown(ALL, tmp_path).splitlines()
        assert not [line for line in lines if line.lstrip().startswith(("- C", "+ ", "%", "±"))]
        assert sum(line.startswith("- ") for line in lines) == 3


def test_a_block_is_replaced_and_the_text_around_it_stays(tmp_path: Path) -> None:
    path = written(results(ALL), tmp_path)
    text = rendered(README, tmp_path)
    assert text.startswith("Before.\n\n<!-- results:segmentation -->\n\n**segnet on streets**")
    assert text.endswith("`.\n\n<!-- /results:segmentation -->\n\nAfter.\n")
    assert block(load(path)) in text
    assert rendered(text, tmp_path) == text


def test_a_number_that_is_edited_by_hand_is_found(tmp_path: Path) -> None:
    written(results(ALL), tmp_path)
    text = rendered(README, tmp_path)
    assert stale(text, tmp_path) == []
    assert stale(text.replace("0.520", "0.530"), tmp_path) == ["segmentation"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Nothing.\n", r"no block for segmentation: add the lines `<!-- results:segmentation -->`"),
        ("<!-- results:segmentation -->\n", r"block segmentation is not closed"),
        ("<!-- /results:segmentation -->\n<!-- results:segmentation -->\n", r"block segmentation is not closed, or not opened"),
        (README + README, r"block segmentation occurs twice: keep one"),
        (
            README + README.replace("segmentation", "pose"),
            r"pose.parquet: no such file: write it with `python -m analysis.published",
        ),
    ],
)
def test_a_readme_that_cannot_be_rendered_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    written(results(SCORES), tmp_path)
    with pytest.raises(ValueError, match=message) as raised:
        rendered(text, tmp_path)
    assert "\n" not in str(raised.value)


def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    path = written(results(SCORES), tmp_path)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"format": "7"}), path)
    with pytest.raises(ValueError, match=r"segmentation.parquet: format 7, but this version reads format 2: write it with"):
        load(path)


def test_figures_are_equal_byte_for_byte_and_carry_no_date(tmp_path: Path) -> None:
    published = load(written(results(ALL), tmp_path))
    (name, drawing), (_, again) = *figures(published).items(), *figures(published).items()
    assert name == "segmentation.svg"
    assert drawing.svg == again.svg
    assert "<dc:date>" not in drawing.svg


def test_the_commands_write_files_render_the_readme_and_draw_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(results(ALL), tmp_path / "report")
    readme, folder = tmp_path / "README.md", tmp_path / "results"
    readme.write_text(README, encoding="utf-8")
    options = ["--readme", str(readme), "--results", str(folder)]
    assert main(["readme", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert readme.read_text(encoding="utf-8") == README
    command = "segmentation=study run demo 'segnet/*' --seeds 3"
    assert main(["export", str(tmp_path / "report"), str(folder), "--command", command]) == 0
    assert "segmentation.parquet: 10 trials of 10 in all" in capsys.readouterr().out
    assert main(["readme", "--check", *options]) == 1
    assert main(["readme", *options]) == 0
    assert main(["readme", "--check", *options]) == 0
    assert "by `study run demo 'segnet/*' --seeds 3`." in readme.read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["segmentation.parquet", "segmentation.svg"]


@pytest.mark.parametrize("command", ["nonsense", "pose=study run demo"])
def test_a_command_for_no_file_is_refused_in_one_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(results(SCORES), tmp_path / "report")
    assert main(["export", str(tmp_path / "report"), str(tmp_path / "results"), "--command", command]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def fusion() -> Results:
    """A fusion of two streams, retrained whole and in one stream alone; each way has its own control."""
    made = results({**SCORES, "continued-spatial": [(0.64, 0.62, 0.33)] * 2, "constant-5-spatial": [(0.63, 0.61, 0.43)] * 2})
    rows = made.trials.reset_index().to_dict("records")
    for row in rows:
        row |= {"streams": "spatial + motion", "epochs": 0}
        if row["recipe"] == "continued-spatial":
            row |= {"streams": "spatial", "role": "continued", "control": ""}
        if row["recipe"] == "constant-5-spatial":
            row |= {"streams": "spatial", "control": f"continued-spatial-{row['seed']}", "training_levels": [5]}
    return replace(made, trials=pd.DataFrame(rows).set_index("trial"))


def test_one_stream_retrained_alone_has_a_column_of_its_own_against_its_own_control(tmp_path: Path) -> None:
    published = load(written(fusion(), tmp_path))
    text = block(published)
    assert "| retrained at this level | R - C | retrained at this level, spatial alone | R - C |" in text
    row = next(line for line in text.splitlines() if line.startswith("| 5 |"))
    assert "| 0.370 ± 0.014 | 0.520 ± 0.014 | +0.150 [" in row
    assert "| 0.430 ± 0.000 | +0.100 [" in row
    assert "Where one stream alone is retrained, one stream alone is trained on in the control too." in text
    assert "spatial" not in figures(published)["segmentation.svg"].svg
