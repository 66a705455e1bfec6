import io
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, asdict, field, fields, make_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainables import CLEAN, CODECS, Condition, Folder, Job, Numerics, Score, SplitName, Trial, TrialFolder, View, identity
from trainables.trials.panels import GAP, HEADING
from trainables.trials.trial import FORMAT, Mark, now, output_file, panel_file, picture_file, replicate_file, score_file

JPEG = CODECS["jpeg"]
AT_10, AT_5 = Condition(codec="jpeg", level=10), Condition(codec="jpeg", level=5)
TRIAL = Trial(
    architecture="segnet",
    recipe="constant-10",
    dataset="street_scenes",
    fingerprint="0123456789abcdef",
    seed=1,
    codec="jpeg",
    ladder=(10,),
    epochs=8,
    hyper={"lr": 0.004, "batch_size": 6, "optimiser": "adamw"},
    parents=("fedcba9876543210",),
    identities=("00112233445566ff",),
)
OTHER: dict[str, Any] = {
    "architecture": "another",
    "recipe": "uniform",
    "dataset": "camvid",
    "fingerprint": "",
    "seed": 2,
    "codec": None,
    "ladder": (10, 5),
    "shape": {"at": 12},
    "stage": "search",
    "withheld": 0.1,
    "source_codec": "h264",
    "source_level": 75,
    "epochs": 9,
    "hyper": {"lr": 0.004, "batch_size": 7, "optimiser": "adamw"},
    "initial": "imagenet",
    "numerics": Numerics(channels_last=True),
    "parents": (),
    "identities": ("00112233445566ff", "0000000000000000"),
    "architecture_revision": 1,
    "recipe_revision": 1,
}
"""Another value for every field of `TRIAL`."""
DEFAULTS: dict[str, Any] = {
    each.name: each.default_factory() if each.default_factory is not MISSING else each.default
    for each in fields(Trial)
    if each.default is not MISSING or each.default_factory is not MISSING
}
JOB = Job(
    trial=TRIAL,
    entry="segnet/jpeg/constant-10 seed 1",
    views=(View("val", CLEAN), View("val", AT_10), View("test", CLEAN), View("test", AT_5)),
    validation=(CLEAN, AT_5),
    folder="file:///t/a",
    parents=("file:///t/b",),
    weights="file:///t/weights",
    data=None,
    launched="/t",
    threads=1,
    workers=0,
    gpu=True,
)


def views(*conditions: Condition, split: SplitName = "test") -> tuple[View, ...]:
    return tuple(View(split, condition) for condition in conditions)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_a_key_is_16_hexadecimal_digits() -> None:
    assert len(TRIAL.key) == 16
    assert set(TRIAL.key) <= set("0123456789abcdef")


def test_this_file_has_another_value_for_every_field_of_a_trial() -> None:
    assert list(OTHER) == [each.name for each in fields(Trial)]


@pytest.mark.parametrize("name", OTHER)
def test_the_key_changes_with_every_field(name: str) -> None:
    assert replace(TRIAL, **{name: OTHER[name]}).key != TRIAL.key


def test_no_two_changes_give_the_same_key() -> None:
    keys = [replace(TRIAL, **{name: value}).key for name, value in OTHER.items()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("name", ["lr", "batch_size", "optimiser"])
def test_the_key_changes_with_the_name_of_a_hyper_parameter(name: str) -> None:
    hyper = {f"{key}_" if key == name else key: value for key, value in TRIAL.hyper.items()}
    assert replace(TRIAL, hyper=hyper).key != TRIAL.key


def test_the_key_does_not_depend_on_the_order_of_fields_and_hyper_parameters() -> None:
    backwards = {name: getattr(TRIAL, name) for name in reversed(OTHER)}
    assert Trial(**{**backwards, "hyper": dict(reversed(list(TRIAL.hyper.items())))}).key == TRIAL.key


def test_the_key_changes_with_the_order_of_parents() -> None:
    assert replace(TRIAL, parents=("a", "b")).key != replace(TRIAL, parents=("b", "a")).key


def test_the_key_of_a_trial_never_changes() -> None:
    # Trial folders are named by it: with another key, every user's trials would be trained again.
    assert TRIAL.key == "e1c53cad8f44234c"
    assert replace(TRIAL, numerics=Numerics(precision="bfloat16"), shape={"at": 12}, recipe_revision=2).key == "afcbee4bee7dfd97"


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_field_at_its_default_is_left_out_of_the_record(name: str) -> None:
    assert name not in replace(TRIAL, **{name: DEFAULTS[name]}).to_json()
    assert name in replace(TRIAL, **{name: OTHER[name] or getattr(TRIAL, name)}).to_json()


def test_numerics_record_only_what_differs_from_the_default() -> None:
    assert replace(TRIAL, numerics=Numerics(channels_last=True)).to_json()["numerics"] == {"channels_last": True}


Grown: Any = make_dataclass("Grown", [("teacher", str, field(default="none"))], bases=(Trial,), frozen=True, kw_only=True)
"""A trial of a later version, which has one more field."""


def grown(**more: Any) -> Any:
    return Grown(**{name: getattr(TRIAL, name) for name in OTHER}, **more)


def test_a_further_field_at_its_default_changes_neither_key_nor_record() -> None:
    assert grown().key == TRIAL.key
    assert grown().to_json() == TRIAL.to_json()


def test_a_further_field_changes_the_key_where_it_differs_from_its_default() -> None:
    assert grown(teacher="baseline").key != TRIAL.key


def test_a_record_without_a_further_field_loads_with_the_default() -> None:
    assert Grown.from_json(through_json(TRIAL.to_json())) == grown()


def test_a_record_with_an_unknown_field_is_refused_in_one_line() -> None:
    record = through_json(grown(teacher="baseline").to_json())
    with pytest.raises(ValueError, match=r"^trial record has unknown fields teacher: a newer version wrote it; [^\n]*$"):
        Trial.from_json(record)


GrownNumerics: Any = make_dataclass("GrownNumerics", [("tf32", bool, False)], bases=(Numerics,), frozen=True, kw_only=True)
"""The numerics of a later version, which have one more field."""
GrownInside: Any = make_dataclass(
    "GrownInside", [("numerics", Any, field(default_factory=GrownNumerics))], bases=(Trial,), frozen=True, kw_only=True
)


def grown_inside(**numerics: Any) -> Any:
    values = {name: getattr(TRIAL, name) for name in OTHER if name != "numerics"}
    return GrownInside(**values, numerics=GrownNumerics(**numerics))


@pytest.mark.parametrize("numerics", [{}, {"channels_last": True}])
def test_a_further_field_of_numerics_at_its_default_changes_neither_key_nor_record(numerics: dict[str, Any]) -> None:
    trial = replace(TRIAL, numerics=Numerics(**numerics))
    assert grown_inside(**numerics).key == trial.key
    assert grown_inside(**numerics).to_json() == trial.to_json()
    assert grown_inside(**numerics, tf32=True).key != trial.key


def test_a_record_loads_missing_fields_of_numerics_with_their_default() -> None:
    record = {**TRIAL.to_json(), "numerics": {"compiled": True}}
    assert Trial.from_json(record).numerics == Numerics(compiled=True)


def test_a_record_with_an_unknown_field_of_numerics_is_refused_in_one_line() -> None:
    record = through_json(grown_inside(tf32=True).to_json())
    with pytest.raises(ValueError, match=r"^trial record has unknown fields numerics\.tf32: a newer version wrote it; [^\n]*$"):
        Trial.from_json(record)


@pytest.mark.parametrize("name", OTHER)
def test_a_trial_survives_json(name: str) -> None:
    trial = replace(TRIAL, **{name: OTHER[name]})
    assert Trial.from_json(through_json(trial.to_json())) == trial


@pytest.mark.parametrize("name", ["hyper", "shape"])
def test_tuples_among_hyper_parameters_and_schedule_fields_survive_json(name: str) -> None:
    changes: dict[str, Any] = {name: {"convolutions": (1, 1, 1, 1, 1)}}
    trial = replace(TRIAL, **changes)
    again = Trial.from_json(through_json(trial.to_json()))
    assert (again, again.key) == (trial, trial.key)


@pytest.mark.parametrize("format_", [None, 0, FORMAT - 1, FORMAT + 1, str(FORMAT)])
def test_a_trial_of_another_format_is_refused_in_one_line(format_: Any) -> None:
    with pytest.raises(ValueError, match=rf"^trial record has format {format_}; this version reads format {FORMAT}$"):
        Trial.from_json({**TRIAL.to_json(), "format": format_})


def test_a_trial_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        TRIAL.seed = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("initial", "epochs", "imported"), [("none", 0, False), ("imagenet", 0, False), ("sha256:12", 8, False), ("sha256:12", 0, True)]
)
def test_a_trial_is_imported_where_it_has_a_weights_file_and_trains_no_epoch(initial: str, epochs: int, imported: bool) -> None:
    assert replace(TRIAL, initial=initial, epochs=epochs).imported is imported


def test_a_job_survives_json() -> None:
    assert Job.from_config(through_json(JOB.to_config())) == JOB


def test_the_config_of_a_job_has_all_its_fields() -> None:
    assert set(JOB.to_config()) == {each.name for each in fields(Job)}


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    return TrialFolder(Folder.at(str(tmp_path / "trial")))


def reopened(folder: TrialFolder) -> TrialFolder:
    """The folder as another process opens it, which has written nothing yet."""
    return TrialFolder(folder.folder)


def path_of(folder: TrialFolder, name: str) -> Path:
    local = folder.folder.local
    assert local is not None
    return local / name


def score(condition: Condition, *, split: SplitName = "test", pictures: int = 2, shade: int = 0, width: int = 330) -> Score:
    coded = condition.codec is not None
    return Score(
        split=split,
        condition=condition,
        bits_per_pixel=0.75 if coded else None,
        stream_bits_per_pixel=None,
        bytes_per_item=1152.5 if coded else None,
        metrics={"miou": 0.1 + 0.2, "global_accuracy": 0.5},
        chosen={"threshold": 0.25},
        replicates={"miou": np.array([0.25, 1 / 3]), "global_accuracy": np.array([0.5, 0.125])},
        pictures=[np.full((10, width, 3), shade, np.uint8)] * pictures,
    )


def train(folder: TrialFolder, *, stage: str = "final") -> None:
    """Write the files that a training leaves."""
    folder.write_json("trial.json", TRIAL.to_json())
    folder.write_json("history.json", [{"epoch": 1}])
    if stage == "final":
        folder.write_state("weights.pt", {"weights": {"a": torch.arange(100.0)}})
    folder.seal()


def finish(folder: TrialFolder, *conditions: Condition) -> None:
    """Write the files of a trained and scored trial."""
    train(folder)
    for condition in conditions:
        folder.write_score(score(condition))
    folder.seal()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"0")


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


lost = pytest.mark.parametrize("lose", [truncate, grow, Path.unlink], ids=["truncated", "grown", "deleted"])


def test_a_folder_that_does_not_exist_has_nothing_done(folder: TrialFolder) -> None:
    progress = folder.progress(views(CLEAN, AT_10))
    assert asdict(progress) == {
        "started": False,
        "trained": False,
        "missing": (("test", {"codec": None, "level": None}), ("test", {"codec": "jpeg", "level": 10})),
        "sealed": False,
        "failed": False,
    }
    assert not progress.done


def test_a_trial_has_started_once_it_is_recorded(folder: TrialFolder) -> None:
    folder.write_json("trial.json", TRIAL.to_json())
    assert (folder.progress().started, folder.progress().trained) == (True, False)


def test_a_training_state_does_not_count_as_a_finished_training(folder: TrialFolder) -> None:
    folder.write_state("state.pt", {"epoch": 1})
    assert not folder.progress().trained


def test_weights_without_a_manifest_do_not_count_as_a_finished_training(folder: TrialFolder) -> None:
    folder.write_state("weights.pt", {"weights": {}})
    assert not folder.progress().trained


def test_a_trial_is_trained_once_its_manifest_lists_its_files(folder: TrialFolder) -> None:
    train(folder)
    progress = folder.progress(views(CLEAN))
    assert (progress.trained, progress.sealed, progress.missing, progress.done) == (True, False, views(CLEAN), False)


def test_the_manifest_lists_name_size_and_checksum_of_every_file(folder: TrialFolder) -> None:
    finish(folder, CLEAN)
    folder.write_state("state.pt", {"epoch": 1})
    folder.write_failure("ValueError: no")
    folder.seal()
    record = json.loads(path_of(folder, "done.json").read_bytes())
    assert record["format"] == FORMAT
    listed = {"trial.json", "history.json", "weights.pt", "scores/test/clean.json", "replicates/test.npz", "pictures/clean.png"}
    assert set(record["files"]) == listed
    for name, (size, checksum) in record["files"].items():
        data = path_of(folder, name).read_bytes()
        assert (size, checksum) == (len(data), zlib.crc32(data))
    assert folder.manifest() == {name: Mark(*mark) for name, mark in record["files"].items()}


def test_another_process_seals_with_the_same_manifest(folder: TrialFolder) -> None:
    finish(folder, CLEAN, AT_10)
    before = folder.folder.read("done.json")
    reopened(folder).seal()
    assert folder.folder.read("done.json") == before


@pytest.mark.parametrize("name", ["weights.pt", "history.json", "trial.json"])
@lost
def test_a_trial_with_a_truncated_or_deleted_training_file_is_not_trained(
    folder: TrialFolder, name: str, lose: Callable[[Path], None]
) -> None:
    finish(folder, CLEAN)
    assert folder.progress(views(CLEAN)).done
    lose(path_of(folder, name))
    progress = folder.progress(views(CLEAN))
    assert (progress.trained, progress.done) == (False, False)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"no"', json.dumps({"format": FORMAT + 1, "files": {}}).encode()])
def test_a_damaged_or_foreign_manifest_counts_as_none(folder: TrialFolder, content: bytes) -> None:
    finish(folder, CLEAN)
    folder.folder.write("done.json", content)
    assert folder.manifest() == {}
    assert not folder.progress(views(CLEAN)).trained


def test_weights_of_the_right_size_but_the_wrong_checksum_are_refused_in_one_line(folder: TrialFolder) -> None:
    finish(folder, CLEAN)
    flip_a_bit(path_of(folder, "weights.pt"))
    assert folder.progress(views(CLEAN)).trained  # a listing shows sizes only
    with pytest.raises(ValueError, match=r"^file:.*/trial/weights\.pt: corrupt file \(checksum mismatch\); delete it, [^\n]*$"):
        reopened(folder).read_state("weights.pt")


def test_scores_are_missing_in_the_order_given(folder: TrialFolder) -> None:
    folder.write_score(score(AT_10))
    assert folder.progress(views(AT_5, AT_10, CLEAN)).missing == views(AT_5, CLEAN)


def test_a_trial_that_is_trained_scored_and_sealed_is_done(folder: TrialFolder) -> None:
    finish(folder, CLEAN, AT_10)
    assert folder.progress(views(CLEAN, AT_10)).done
    assert folder.progress(views(AT_10)).done
    assert not folder.progress(views(CLEAN, AT_10, AT_5)).done


def test_a_scored_trial_is_not_done_before_its_manifest_lists_the_scores(folder: TrialFolder) -> None:
    train(folder)
    folder.write_score(score(CLEAN))
    progress = folder.progress(views(CLEAN))
    assert (progress.trained, progress.missing, progress.sealed, progress.done) == (True, (), False, False)
    folder.seal()
    assert folder.progress(views(CLEAN)).done


@lost
def test_a_score_file_whose_size_differs_from_the_manifest_is_missing(folder: TrialFolder, lose: Callable[[Path], None]) -> None:
    finish(folder, CLEAN, AT_10)
    lose(path_of(folder, score_file(AT_10)))
    progress = folder.progress(views(CLEAN, AT_10))
    assert (progress.trained, progress.missing, progress.done) == (True, views(AT_10), False)
    assert folder.unscored(views(CLEAN, AT_10)) == views(AT_10)


def test_a_lost_score_that_is_written_again_is_done_after_the_next_seal(folder: TrialFolder) -> None:
    finish(folder, CLEAN, AT_10)
    truncate(path_of(folder, score_file(AT_10)))
    again = reopened(folder)
    again.write_score(score(AT_10))
    again.seal()
    assert folder.progress(views(CLEAN, AT_10)).done


def test_a_lost_picture_leaves_the_trial_done(folder: TrialFolder) -> None:
    finish(folder, CLEAN)
    path_of(folder, picture_file(CLEAN)).unlink()
    assert folder.progress(views(CLEAN)).done


def test_a_score_by_another_codec_identity_does_not_count(folder: TrialFolder) -> None:
    folder.write_json("scores/test/jpeg-10-0000000000000000.json", {})
    assert folder.progress(views(AT_10)).missing == views(AT_10)


def test_a_picture_does_not_count_as_a_score(folder: TrialFolder) -> None:
    folder.folder.write(picture_file(CLEAN), b"")
    assert folder.progress(views(CLEAN)).missing == views(CLEAN)


def test_a_search_trial_is_done_without_weights_and_test_scores(folder: TrialFolder) -> None:
    train(folder, stage="search")
    assert folder.progress().done
    assert folder.folder.names() == {"trial.json", "history.json", "done.json"}


def test_a_failure_is_known_until_it_is_removed(folder: TrialFolder) -> None:
    folder.write_failure("ValueError: no")
    assert folder.progress().failed
    folder.folder.remove("failure.json")
    assert not folder.progress().failed


def test_the_reason_of_a_failure_reads_back(folder: TrialFolder) -> None:
    assert folder.failure() is None
    folder.write_failure("ValueError: no")
    assert folder.failure() == "ValueError: no"


def test_history_is_empty_before_the_first_epoch(folder: TrialFolder) -> None:
    assert folder.history() == []


def test_history_reads_back(folder: TrialFolder) -> None:
    folder.write_json("history.json", [{"epoch": 1}, {"epoch": 2}])
    assert folder.history() == [{"epoch": 1}, {"epoch": 2}]


def test_a_state_reads_back(folder: TrialFolder) -> None:
    folder.write_state("state.pt", {"epoch": 3, "weights": {"a": torch.tensor([1.5, 0.1])}, "history": [{"loss": 0.1}]})
    state = folder.read_state("state.pt")
    assert torch.equal(state["weights"]["a"], torch.tensor([1.5, 0.1]))
    assert (state["epoch"], state["history"]) == (3, [{"loss": 0.1}])


@pytest.mark.parametrize("state", [{"format": FORMAT + 1}, {"epoch": 1}, [1, 2]])
def test_a_state_of_another_format_is_refused_in_one_line_that_names_the_file(folder: TrialFolder, state: Any) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    folder.folder.write("state.pt", buffer.getvalue())
    with pytest.raises(ValueError, match=rf"^file:.*/trial/state\.pt: not of format {FORMAT}; [^\n]*$"):
        folder.read_state("state.pt")


def test_reading_a_missing_state_raises_file_not_found(folder: TrialFolder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read_state("state.pt")


def test_a_score_reads_back(folder: TrialFolder) -> None:
    folder.write_score(score(AT_10))
    (record,) = folder.scores([AT_10])
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "format": FORMAT,
        "split": "test",
        "codec": "jpeg",
        "level": 10,
        "bits_per_pixel": 0.75,
        "stream_bits_per_pixel": None,
        "bytes_per_item": 1152.5,
        "metrics": {"miou": 0.1 + 0.2, "global_accuracy": 0.5},
        "chosen": {"threshold": 0.25},
    }


def test_a_clean_score_has_no_codec_level_or_rate(folder: TrialFolder) -> None:
    folder.write_score(score(CLEAN))
    (record,) = folder.scores([CLEAN])
    assert [record[name] for name in ("codec", "level", "bits_per_pixel", "bytes_per_item")] == [None] * 4


def test_scores_come_in_the_order_given_without_missing_ones(folder: TrialFolder) -> None:
    for condition in (CLEAN, AT_5):
        folder.write_score(score(condition))
    assert [record["level"] for record in folder.scores([AT_5, AT_10, CLEAN])] == [5, None]


def test_a_score_is_named_by_split_condition_and_codec_identity() -> None:
    assert score_file(AT_10) == f"scores/test/jpeg-10-{identity(JPEG, 10)}.json"
    assert score_file(AT_10, "val") == f"scores/val/jpeg-10-{identity(JPEG, 10)}.json"
    assert score_file(CLEAN) == "scores/test/clean.json"
    assert score_file(CLEAN, "val") == "scores/val/clean.json"


def test_validation_scores_are_kept_beside_test_scores(folder: TrialFolder) -> None:
    train(folder)
    folder.write_score(score(CLEAN))
    folder.write_score(replace(score(AT_10, split="val", pictures=0), metrics={"miou": 0.75}))
    folder.seal()
    assert folder.progress(views(CLEAN, AT_10)).missing == views(AT_10)
    assert folder.progress(views(CLEAN, AT_10, split="val")).missing == views(CLEAN, split="val")
    assert folder.progress(views(AT_10, split="val")).done
    assert [record["metrics"] for record in folder.scores([CLEAN, AT_10], "val")] == [{"miou": 0.75}]
    assert (set(folder.replicates()), set(folder.replicates("val"))) == ({"clean"}, {"jpeg-10"})


def test_a_trial_whose_validation_scores_are_missing_is_trained_and_not_done(folder: TrialFolder) -> None:
    finish(folder, CLEAN, AT_10)
    progress = folder.progress((*views(CLEAN, AT_10, split="val"), *views(CLEAN, AT_10)))
    assert (progress.trained, progress.missing, progress.done) == (True, views(CLEAN, AT_10, split="val"), False)


def test_a_trial_is_done_once_the_scores_of_every_split_are_sealed(folder: TrialFolder) -> None:
    finish(folder, CLEAN)
    folder.write_score(score(CLEAN, split="val", pictures=0))
    both = (*views(CLEAN, split="val"), *views(CLEAN))
    assert (folder.progress(both).missing, folder.progress(both).done) == ((), False)
    folder.seal()
    assert folder.progress(both).done


def test_damaged_replicates_of_one_split_leave_the_other_split_scored(folder: TrialFolder) -> None:
    finish(folder, CLEAN)
    folder.write_score(score(CLEAN, split="val", pictures=0))
    path_of(folder, replicate_file()).unlink()
    assert folder.unscored((*views(CLEAN, split="val"), *views(CLEAN))) == views(CLEAN)


def test_the_replicates_of_a_split_are_one_file_in_float32(folder: TrialFolder) -> None:
    generator = np.random.default_rng(0)
    given = {condition: {name: generator.random(400) for name in ("miou", "global_accuracy")} for condition in (CLEAN, AT_10, AT_5)}
    for condition, replicates in given.items():
        folder.write_score(replace(score(condition), replicates=replicates))
    assert [name for name in folder.folder.names() if "replicates" in name] == ["replicates/test.npz"]
    found = reopened(folder).replicates()
    assert list(found) == ["clean", "jpeg-10", "jpeg-5"]
    for (condition, replicates), label in zip(given.items(), found, strict=True):
        assert str(condition) == label
        assert list(found[label]) == list(replicates)
        for name, values in replicates.items():
            assert found[label][name].dtype == np.float32
            assert np.array_equal(found[label][name], values.astype(np.float32))


def test_scoring_a_condition_again_replaces_its_replicates_alone(folder: TrialFolder) -> None:
    finish(folder, CLEAN, AT_10)
    reopened(folder).write_score(replace(score(AT_10), replicates={"miou": np.array([0.75, 0.5])}))
    found = folder.replicates()
    assert {name: values.tolist() for name, values in found["jpeg-10"].items()} == {"miou": [0.75, 0.5]}
    assert found["clean"]["global_accuracy"].tolist() == [0.5, 0.125]


def replace_by_text(path: Path) -> None:
    path.write_text("no archive")


@pytest.mark.parametrize("damage", [truncate, Path.unlink, replace_by_text])
def test_conditions_whose_replicates_are_damaged_are_unscored(folder: TrialFolder, damage: Callable[[Path], None]) -> None:
    finish(folder, CLEAN, AT_10)
    assert folder.unscored(views(CLEAN, AT_10)) == ()
    damage(path_of(folder, replicate_file()))
    assert folder.unscored(views(CLEAN, AT_10)) == views(CLEAN, AT_10)
    assert not folder.progress(views(CLEAN, AT_10)).done


def test_no_damaged_byte_of_the_replicates_raises_or_changes_a_value(folder: TrialFolder) -> None:
    finish(folder, CLEAN)
    path, before = path_of(folder, replicate_file()), folder.replicates()["clean"]
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        for name, values in folder.replicates().get("clean", {}).items():
            assert np.array_equal(values, before[name])


def test_a_condition_without_replicates_is_unscored(folder: TrialFolder) -> None:
    finish(folder, CLEAN, AT_10)
    path_of(folder, replicate_file()).unlink()
    reopened(folder).write_score(score(CLEAN))
    assert folder.unscored(views(CLEAN, AT_10)) == views(AT_10)


def test_outputs_read_back(folder: TrialFolder) -> None:
    outputs = np.arange(6, dtype=np.float32).reshape(3, 2)
    folder.write_score(replace(score(AT_10), outputs=outputs))
    assert output_file(AT_10) == f"outputs/test/jpeg-10-{identity(JPEG, 10)}.npy"
    assert np.array_equal(folder.outputs(AT_10), outputs)
    with pytest.raises(FileNotFoundError):
        folder.outputs(CLEAN)


def test_the_score_file_is_written_last(folder: TrialFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = Folder.write

    def recording(self: Folder, name: str, data: bytes) -> None:
        written.append(name)
        real(self, name, data)

    monkeypatch.setattr(Folder, "write", recording)
    folder.write_score(replace(score(CLEAN), outputs=np.zeros((1, 1), np.float32)))
    assert len(written) == 4
    assert written[-1] == score_file(CLEAN)


def test_a_score_without_pictures_writes_none(folder: TrialFolder) -> None:
    folder.write_score(score(CLEAN, pictures=0))
    assert folder.folder.names() == {"scores/test/clean.json", "replicates/test.npz"}


def image(folder: TrialFolder, name: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(folder.folder.read(name))))


def test_the_pictures_of_a_score_are_stacked_vertically(folder: TrialFolder) -> None:
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


SHOWN = [CLEAN, *(Condition(codec="jpeg", level=level) for level in JPEG.shown)]


def test_a_panel_sets_clean_beside_the_levels_that_the_codec_shows(folder: TrialFolder) -> None:
    for number, condition in enumerate(reversed([*SHOWN, AT_5])):
        folder.write_score(score(condition, shade=10 * number))
    folder.write_panel(JPEG, [*SHOWN, AT_5])
    found = image(folder, panel_file("jpeg"))
    assert found.shape == (HEADING + 2 * (10 + GAP), 3 * 330 + 2 * GAP, 3)
    assert [found[HEADING, column * (330 + GAP)].tolist() for column in range(3)] == [[30] * 3, [20] * 3, [10] * 3]


def test_a_panel_leaves_out_conditions_without_pictures(folder: TrialFolder) -> None:
    folder.write_score(score(CLEAN))
    folder.write_panel(JPEG, SHOWN)
    assert image(folder, panel_file("jpeg")).shape[1] == 330


def test_a_panel_shows_only_the_conditions_given(folder: TrialFolder) -> None:
    for condition in SHOWN:
        folder.write_score(score(condition))
    folder.write_panel(JPEG, [CLEAN])
    assert image(folder, panel_file("jpeg")).shape[1] == 330


def test_there_is_no_panel_without_pictures(folder: TrialFolder) -> None:
    folder.write_panel(JPEG, SHOWN)
    assert folder.folder.names() == set()


def test_now_is_in_utc_to_the_millisecond() -> None:
    found = datetime.fromisoformat(now())
    assert found.utcoffset() == UTC.utcoffset(None)
    assert found.microsecond % 1000 == 0
    assert abs((datetime.now(UTC) - found).total_seconds()) < 10
