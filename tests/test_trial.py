import io
import json
from dataclasses import FrozenInstanceError, asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import CODECS, Condition, Folder, Job, Numerics, Score, Trial, TrialFolder, identity
from trainables.trials.panels import GAP, HEADING
from trainables.trials.trial import FORMAT, now, panel_file, picture_file, score_file

JPEG = CODECS["jpeg"]
CLEAN, AT_10, AT_5 = Condition(), Condition(codec="jpeg", level=10), Condition(codec="jpeg", level=5)
TRIAL = Trial(
    architecture="segnet",
    recipe="constant-10",
    codec="jpeg",
    dataset="street_scenes",
    fingerprint="0123456789abcdef",
    seed=1,
    stage="final",
    epochs=8,
    hyper={"lr": 0.004, "batch_size": 6, "optimiser": "adamw"},
    initial="none",
    numerics=Numerics(),
    parents=("fedcba9876543210",),
    identities=("00112233445566ff",),
)
OTHER: dict[str, Any] = {
    "architecture": "another",
    "recipe": "uniform",
    "codec": None,
    "dataset": "camvid",
    "fingerprint": "",
    "seed": 2,
    "stage": "search",
    "epochs": 9,
    "hyper": {"lr": 0.004, "batch_size": 7, "optimiser": "adamw"},
    "initial": "imagenet",
    "numerics": Numerics(channels_last=True),
    "parents": (),
    "identities": ("00112233445566ff", "0000000000000000"),
}
JOB = Job(
    trial=TRIAL,
    conditions=(CLEAN, AT_10, AT_5),
    folder="file:///t/a",
    parents=("file:///t/b",),
    weights="file:///t/weights",
    data=None,
    launched="/t",
    threads=1,
    workers=0,
    gpu=True,
)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_a_key_is_16_hexadecimal_digits() -> None:
    assert len(TRIAL.key) == 16
    assert set(TRIAL.key) <= set("0123456789abcdef")


def test_there_is_another_value_here_for_every_field_of_a_trial() -> None:
    assert list(OTHER) == [field.name for field in fields(Trial)]


@pytest.mark.parametrize("name", OTHER)
def test_the_key_changes_with_every_field(name: str) -> None:
    assert replace(TRIAL, **{name: OTHER[name]}).key != TRIAL.key


def test_no_two_changes_give_one_key() -> None:
    keys = [replace(TRIAL, **{name: value}).key for name, value in OTHER.items()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["lr", "batch_size", "optimiser"])
def test_the_key_changes_with_the_name_of_a_hyper_parameter(name: str) -> None:
    hyper = {f"{key}_" if key == name else key: value for key, value in TRIAL.hyper.items()}
    assert replace(TRIAL, hyper=hyper).key != TRIAL.key


def test_the_key_does_not_change_with_the_order_of_fields_and_hyper_parameters() -> None:
    backwards = {name: getattr(TRIAL, name) for name in reversed(OTHER)}
    assert Trial(**{**backwards, "hyper": dict(reversed(list(TRIAL.hyper.items())))}).key == TRIAL.key


def test_the_key_changes_with_the_order_of_parents() -> None:
    assert replace(TRIAL, parents=("a", "b")).key != replace(TRIAL, parents=("b", "a")).key


def test_the_key_of_a_trial_is_this_one() -> None:
    # Folders of trials are named by it: a change makes every trial that anyone has trained be trained again.
    assert TRIAL.key == "a006f9cc465a9593"


def test_a_trial_survives_json() -> None:
    assert Trial.from_json(through_json(TRIAL.to_json())) == TRIAL


def test_the_key_of_a_trial_with_a_tuple_among_its_hyper_parameters_survives_json() -> None:
    trial = replace(TRIAL, hyper={"convolutions": (1, 1, 1, 1, 1)})
    assert Trial.from_json(through_json(trial.to_json())).key == trial.key


@pytest.mark.parametrize("format_", [None, 0, FORMAT + 1, str(FORMAT)])
def test_a_trial_of_another_format_is_refused_in_one_line(format_: Any) -> None:
    with pytest.raises(ValueError, match=rf"^trial record of format {format_}, this version reads {FORMAT}$"):
        Trial.from_json({**TRIAL.to_json(), "format": format_})


def test_a_trial_cannot_be_assigned_to() -> None:
    with pytest.raises(FrozenInstanceError):
        TRIAL.seed = 2  # type: ignore[misc]


def test_a_job_survives_json() -> None:
    assert Job.from_config(through_json(JOB.to_config())) == JOB


def test_the_config_of_a_job_names_all_its_fields() -> None:
    assert set(JOB.to_config()) == {field.name for field in fields(Job)}


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder(Folder.at(str(tmp_path / "trial")))


def score(condition: Condition, *, pictures: int = 2, shade: int = 0, width: int = 330) -> Score:
    coded = condition.codec is not None
    return Score(
        condition=condition,
        bits_per_pixel=0.75 if coded else None,
        stream_bits_per_pixel=None,
        bytes_per_item=1152.5 if coded else None,
        metrics={"miou": 0.1 + 0.2, "global_accuracy": 0.5},
        chosen={"threshold": 0.25},
        replicates={"miou": np.array([0.25, 1 / 3]), "global_accuracy": np.array([0.5, 0.125])},
        pictures=[np.full((10, width, 3), shade, np.uint8)] * pictures,
    )


def test_a_folder_that_is_not_there_has_nothing_done(folder: TrialFolder) -> None:
    progress = folder.progress([CLEAN, AT_10])
    assert asdict(progress) == {
        "started": False,
        "trained": False,
        "missing": ({"codec": None, "level": None}, {"codec": "jpeg", "level": 10}),
        "failed": False,
    }
    assert not progress.done


def test_a_trial_has_started_when_it_is_written_down(folder: TrialFolder) -> None:
    folder.write_json("trial.json", TRIAL.to_json())
    assert (folder.progress([]).started, folder.progress([]).trained) == (True, False)


def test_a_training_state_is_not_a_training_that_is_done(folder: TrialFolder) -> None:
    folder.write_state("state.pt", {"epoch": 1})
    assert not folder.progress([]).trained


def test_a_trial_is_trained_when_its_weights_are_there(folder: TrialFolder) -> None:
    folder.write_state("weights.pt", {"weights": {}})
    assert folder.progress([CLEAN]).trained
    assert not folder.progress([CLEAN]).done


def test_what_has_no_score_is_missing_in_the_order_given(folder: TrialFolder) -> None:
    folder.write_score(score(AT_10))
    assert folder.progress([AT_5, AT_10, CLEAN]).missing == (AT_5, CLEAN)


def test_a_trial_that_is_trained_and_scored_is_done(folder: TrialFolder) -> None:
    folder.write_state("weights.pt", {"weights": {}})
    for condition in (CLEAN, AT_10):
        folder.write_score(score(condition))
    assert folder.progress([CLEAN, AT_10]).done
    assert not folder.progress([CLEAN, AT_10, AT_5]).done


def test_a_score_by_another_codec_identity_does_not_count(folder: TrialFolder) -> None:
    folder.write_json("scores/jpeg-10-0000000000000000.json", {})
    assert folder.progress([AT_10]).missing == (AT_10,)


def test_a_picture_alone_is_no_score(folder: TrialFolder) -> None:
    folder.folder.write(picture_file(CLEAN), b"")
    assert folder.progress([CLEAN]).missing == (CLEAN,)


def test_a_trial_has_failed_while_its_failure_is_there(folder: TrialFolder) -> None:
    folder.write_failure("ValueError: no")
    assert folder.progress([]).failed
    folder.folder.remove("failure.json")
    assert not folder.progress([]).failed


def test_a_failure_is_read_back(folder: TrialFolder) -> None:
    assert folder.failure() is None
    folder.write_failure("ValueError: no")
    assert folder.failure() == "ValueError: no"


def test_history_is_empty_before_the_first_epoch(folder: TrialFolder) -> None:
    assert folder.history() == []


def test_history_is_read_back(folder: TrialFolder) -> None:
    folder.write_json("history.json", [{"epoch": 1}, {"epoch": 2}])
    assert folder.history() == [{"epoch": 1}, {"epoch": 2}]


def test_a_state_is_read_back(folder: TrialFolder) -> None:
    folder.write_state("state.pt", {"epoch": 3, "weights": {"a": torch.tensor([1.5, 0.1])}, "history": [{"loss": 0.1}]})
    state = folder.read_state("state.pt")
    assert torch.equal(state["weights"]["a"], torch.tensor([1.5, 0.1]))
    assert (state["epoch"], state["history"]) == (3, [{"loss": 0.1}])


@pytest.mark.parametrize("state", [{"format": FORMAT + 1}, {"epoch": 1}, [1, 2]])
def test_a_state_of_another_format_is_refused_in_one_line_that_names_the_file(folder: TrialFolder, state: Any) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    folder.folder.write("state.pt", buffer.getvalue())
    with pytest.raises(ValueError, match=rf"^.*/trial/state\.pt: not of format {FORMAT}; [^\n]*$"):
        folder.read_state("state.pt")


def test_a_state_that_is_not_there_is_a_missing_file(folder: TrialFolder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read_state("state.pt")


def test_a_score_is_read_back(folder: TrialFolder) -> None:
    folder.write_score(score(AT_10))
    (record,) = folder.scores([AT_10])
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "format": FORMAT,
        "codec": "jpeg",
        "level": 10,
        "bits_per_pixel": 0.75,
        "stream_bits_per_pixel": None,
        "bytes_per_item": 1152.5,
        "metrics": {"miou": 0.1 + 0.2, "global_accuracy": 0.5},
        "chosen": {"threshold": 0.25},
        "replicates": {"miou": [0.25, 1 / 3], "global_accuracy": [0.5, 0.125]},
    }


def test_a_clean_score_has_no_codec_level_or_rate(folder: TrialFolder) -> None:
    folder.write_score(score(CLEAN))
    (record,) = folder.scores([CLEAN])
    assert [record[name] for name in ("codec", "level", "bits_per_pixel", "bytes_per_item")] == [None] * 4


def test_scores_are_those_that_are_done_in_the_order_given(folder: TrialFolder) -> None:
    for condition in (CLEAN, AT_5):
        folder.write_score(score(condition))
    assert [record["level"] for record in folder.scores([AT_5, AT_10, CLEAN])] == [5, None]


def test_a_score_is_filed_by_condition_and_codec_identity() -> None:
    assert score_file(AT_10) == f"scores/jpeg-10-{identity(JPEG, 10)}.json"
    assert score_file(CLEAN) == "scores/clean.json"


def test_a_score_without_pictures_writes_none(folder: TrialFolder) -> None:
    folder.write_score(score(CLEAN, pictures=0))
    assert folder.folder.names() == {"scores/clean.json"}


def image(folder: TrialFolder, name: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(folder.folder.read(name))))


def test_the_pictures_of_a_score_are_below_one_another(folder: TrialFolder) -> None:
    folder.write_score(score(CLEAN, shade=40))
    found = image(folder, picture_file(CLEAN))
    assert found.shape == (2 * (10 + GAP), 330, 3)
    assert (found[:10] == 40).all()
    assert (found[10 + GAP : 20 + GAP] == 40).all()


@pytest.mark.parametrize(("width", "times"), [(1, 320), (100, 3), (160, 2), (161, 1), (320, 1), (500, 1)])
def test_small_pictures_are_enlarged_a_whole_number_of_times(folder: TrialFolder, width: int, times: int) -> None:
    folder.write_score(score(CLEAN, pictures=1, width=width))
    found = image(folder, picture_file(CLEAN))
    assert found.shape == (10 * times + GAP, width * times, 3)
    assert not found[: 10 * times].any()


def test_a_panel_sets_clean_beside_the_levels_that_the_codec_shows(folder: TrialFolder) -> None:
    conditions = [CLEAN, *(Condition(codec="jpeg", level=level) for level in JPEG.shown)]
    for number, condition in enumerate(reversed(conditions)):
        folder.write_score(score(condition, shade=10 * number))
    folder.write_panel(JPEG)
    found = image(folder, panel_file("jpeg"))
    assert found.shape == (HEADING + 2 * (10 + GAP), 3 * 330 + 2 * GAP, 3)
    assert [found[HEADING, column * (330 + GAP)].tolist() for column in range(3)] == [[20] * 3, [10] * 3, [0] * 3]


def test_a_panel_leaves_out_what_is_not_scored(folder: TrialFolder) -> None:
    folder.write_score(score(CLEAN))
    folder.write_panel(JPEG)
    assert image(folder, panel_file("jpeg")).shape[1] == 330


def test_there_is_no_panel_without_pictures(folder: TrialFolder) -> None:
    folder.write_panel(JPEG)
    assert folder.folder.names() == set()


def test_now_is_in_utc_to_the_millisecond() -> None:
    found = datetime.fromisoformat(now())
    assert found.utcoffset() == UTC.utcoffset(None)
    assert found.microsecond % 1000 == 0
    assert abs((datetime.now(UTC) - found).total_seconds()) < 10
