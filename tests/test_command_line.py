import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from study.__main__ import main

SPACE = """
from search_spaces import Budget, Space

MINE = Space(
    name="mine",
    summary="a user's own space",
    data={"segmentation": "street_scenes"},
    codecs=("jpeg",),
    cells=("*/clean/*", "*/jpeg/constant-10"),
    budgets={"segnet": Budget(initial="none", epochs=1, hyper={"batch_size": 4})},
    ladders={"jpeg": (50, 10)},
    validation={"jpeg": (10,)},
)
"""


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error of a command that exits with code 2."""
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith("study: ")
    assert line.count("\n") == 1
    return line


def test_list_prints_every_kind_of_name_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    listing = as_json(capsys, "list", "--json")
    assert listing["schema"] == 1
    assert {"tasks", "architectures", "codecs", "recipes", "data_sets", "search_spaces"} < set(listing)
    assert {"codec": "jpeg", "ladder": [95, 75, 50, 15, 10, 5]} in listing["codecs"]


def test_list_prints_one_constant_recipe_per_level(capsys: pytest.CaptureFixture[str]) -> None:
    names = [row["recipe"] for row in as_json(capsys, "list", "--json")["recipes"]]
    assert {"baseline", "continued", "constant-95", "constant-5", "uniform"} <= set(names)


def test_list_prints_readable_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("segnet/clean/baseline to " in line for line in lines)
    assert max(map(len, lines)) < 400


def test_plan_prints_every_trial_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    planned = as_json(capsys, "plan", "demo", "segnet/*", "--json", "--storage", str(tmp_path), "--seeds", "2")
    assert planned["schema"] == 1
    assert len(planned["trials"]) == 14
    assert 10**7 < planned["store"]["predicted_bytes"] < 10**8  # 384 scenes of 37 kB decoded, and their levels
    first = planned["trials"][0]
    assert first["cell"] == "segnet/clean/baseline"
    assert first["state"] == "missing"
    assert first["scores"][0] == "clean of val"
    assert (len(first["scores"]), first["scores_done"]) == (14, 0)


def test_plan_of_a_space_without_data_says_which_flag_to_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    planned = as_json(capsys, "plan", "paper", "--json", "--storage", str(tmp_path))
    assert {row["state"] for row in planned["trials"]} == {"no data"}
    assert "--data" in planned["trials"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "demmo"], "unknown search space 'demmo'; did you mean 'demo'?"),
        (["plan", "demo", "*/jpeg/constnt-5"], "pattern '*/jpeg/constnt-5' matches no cell; did you mean 'segnet/jpeg/constant-5'"),
        (["plan", "demo", "--data", "camvd=1"], "'camvd' is neither a data set nor a task; did you mean 'camvid'?"),
        (["plan", "demo", "--data", "camvid"], "--data camvid: expected NAME=PATH or TASK=NAME"),
        (["plan", "demo", "--storage", "mars://x"], "storage 'mars://x'"),
        (["plan", "demo", "--baseline", "own.pt"], "write ARCHITECTURE=own.pt"),
        (["plan", "no_such_module:MINE"], "cannot import no_such_module"),
        (["plan", "tests.tiny:TINNY"], "defines no 'TINNY'; did you mean 'TINY'?"),
        (["plan", "tests.tiny:launch"], "expected Space, got function"),
        (["run", "paper"], "--data cityscapes=PATH"),
        (["run", "paper", "--data", "cityscapes=/nowhere"], "/nowhere: no such directory"),
        (["evaluate", "segnett", "own.pt"], "unknown architecture 'segnett'; did you mean 'segnet'"),
        (["evaluate", "segnet/jpg", "own.pt"], "unknown codec 'jpg'; did you mean 'jpeg'?"),
        (["evaluate", "segnet/h264", "own.pt"], "segnet takes still images, h264 encodes video clips"),
        (["evaluate", "two_stream", "own.pt"], "evaluate one of two_stream_spatial, two_stream_motion"),
    ],
)  # fmt: skip
def test_a_usage_error_is_one_line_with_a_remedy_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    storage = [] if "--storage" in arguments else ["--storage", str(tmp_path)]
    assert message in usage_error(capsys, *arguments, *storage)


@pytest.fixture
def own_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module with a user's search space in the launch directory."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_spaces", raising=False)
    module = tmp_path / "my_spaces.py"
    module.write_text(SPACE)
    return module


@pytest.mark.usefixtures("own_space")
def test_a_users_space_is_planned_on_its_own_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    trials = as_json(capsys, "plan", "my_spaces:MINE", "--json")["trials"]
    assert [row["cell"] for row in trials] == ["segnet/clean/baseline", "segnet/clean/continued", "segnet/jpeg/constant-10"]
    ladder = ("clean", "jpeg-50", "jpeg-10")
    assert {tuple(row["scores"]) for row in trials} == {tuple(f"{each} of {split}" for split in ("val", "test") for each in ladder)}


@pytest.mark.parametrize(
    ("correct", "wrong", "message"),
    [
        ('"batch_size"', '"batchsize"', "segnet has no hyper-parameter 'batchsize'; did you mean 'batch_size'"),
        ('"segnet"', '"segnett"', "unknown architecture 'segnett'; did you mean 'segnet'"),
        ('"street_scenes"', '"street_scene"', "unknown data set 'street_scene'; did you mean 'street_scenes'"),
        ('codecs=("jpeg",)', 'codecs=("jpg",)', "unknown codec 'jpg'; did you mean 'jpeg'?"),
        ('    codecs=("jpeg",),\n', "", "missing 1 required keyword-only argument: 'codecs'"),
        ("(50, 10)", "(10, 50)", "ladder (10, 50) of jpeg: give distinct levels, mildest first (falling)"),
        ("(50, 10)", "(50, 0)", "quality 0"),
        ('ladders={"jpeg"', 'ladders={"jpg"', "`ladders` names 'jpg', which `codecs` does not; did you mean 'jpeg'?"),
        ('validation={"jpeg"', 'validation={"jpg"', "`validation` names 'jpg', which `codecs` does not; did you mean 'jpeg'?"),
        ("constant-10", "constant-11", "pattern '*/jpeg/constant-11' matches no cell; did you mean 'segnet/jpeg/constant-10'"),
        ('data={"segmentation"', 'data={"segmentatio"', "no data set for segmentation, which segnet needs"),
        ("epochs=1", "epochs=1, iterations=1", "the budget of segnet needs epochs or iterations, not both"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_users_space_is_one_line_with_a_remedy(
    capsys: pytest.CaptureFixture[str], own_space: Path, correct: str, wrong: str, message: str
) -> None:
    assert correct in SPACE
    own_space.write_text(SPACE.replace(correct, wrong))
    assert message in usage_error(capsys, "plan", "my_spaces:MINE")


def test_report_without_a_study_says_to_run_one_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "run a study first" in usage_error(capsys, "report", "--storage", str(tmp_path))


def test_report_from_an_unreachable_server_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert uri in usage_error(capsys, "report", "demo", "--storage", str(tmp_path), "--tracking-uri", uri)


@pytest.mark.parametrize("flags", [["--seeds", "0"], ["--seeds", "many"], ["--gpus", "-1"], ["--cpus", "1.5"]])
def test_an_impossible_number_is_refused_with_its_value(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "demo", *flags])
    assert stopped.value.code == 2
    assert repr(flags[1]) in capsys.readouterr().err


def test_a_command_without_a_verb_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
