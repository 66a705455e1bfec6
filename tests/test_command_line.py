import json
import socket
from pathlib import Path
from typing import Any

import pytest

from study.__main__ import main


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main(arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_list_says_in_json_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    listing = as_json(capsys, "list", "--json")
    assert listing["schema"] == 1
    assert {"tasks", "architectures", "codecs", "recipes", "data_sets", "search_spaces"} < set(listing)
    assert {"codec": "jpeg", "ladder": [95, 75, 50, 15, 10, 5]} in listing["codecs"]


def test_list_writes_out_one_recipe_for_each_level(capsys: pytest.CaptureFixture[str]) -> None:
    names = [row["recipe"] for row in as_json(capsys, "list", "--json")["recipes"]]
    assert {"baseline", "continued", "constant-95", "constant-5", "uniform"} <= set(names)


def test_list_is_readable_text_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("segnet/clean/baseline to " in line for line in lines)
    assert max(map(len, lines)) < 400


def test_plan_lists_every_trial_in_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    planned = as_json(capsys, "plan", "demo", "segnet/*", "--json", "--storage", str(tmp_path), "--seeds", "2")
    assert planned["schema"] == 1
    assert len(planned["trials"]) == 14
    assert 10**7 < planned["store"]["predicted_bytes"] < 10**8  # 384 scenes of 37 kB decoded, and their levels
    first = planned["trials"][0]
    assert first["cell"] == "segnet/clean/baseline"
    assert first["state"] == "missing"
    assert first["conditions"][0] == "clean"


def test_plan_of_a_space_whose_data_is_elsewhere_says_what_to_pass(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    planned = as_json(capsys, "plan", "paper", "--json", "--storage", str(tmp_path))
    assert {row["state"] for row in planned["trials"]} == {"no data"}
    assert "--data" in planned["trials"][0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "mars"], "unknown search space 'mars'"),
        (["plan", "demo", "nothing/*"], "pattern 'nothing/*' matches no cell"),
        (["plan", "demo", "--data", "mars=1"], "'mars' is neither a data set"),
        (["plan", "demo", "--storage", "mars://x"], "mars"),
        (["run", "paper"], "--data cityscapes=PATH"),
        (["run", "paper", "--data", "cityscapes=/nowhere"], "/nowhere: no such folder"),
    ],
)
def test_an_error_of_use_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    where = [] if "--storage" in arguments else ["--storage", str(tmp_path)]
    assert main([*arguments, *where]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_report_of_an_empty_store_says_to_run_first(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["report", "--storage", str(tmp_path)]) == 2
    assert "run a study first" in capsys.readouterr().err


def test_report_of_a_dead_server_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
    assert main(["report", "demo", "--storage", str(tmp_path), "--tracking-uri", uri]) == 2
    error = capsys.readouterr().err
    assert f"MLflow at {uri} does not answer" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("flags", [["--seeds", "0"], ["--seeds", "many"], ["--gpus", "-1"], ["--cpus", "1.5"]])
def test_a_number_that_is_none_is_refused_with_its_value(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["run", "demo", *flags])
    assert stopped.value.code == 2
    assert repr(flags[1]) in capsys.readouterr().err


def test_no_verb_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
