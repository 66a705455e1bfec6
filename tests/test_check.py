import json
import socket
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from study.__main__ import main
from study.check import (
    NAMED,
    Finding,
    codec_findings,
    data_findings,
    gpu_finding,
    open_source,
    read_probe,
    storage_findings,
    store_findings,
    tracking_finding,
    without_secrets,
)
from trainables import CODECS, DATASETS, Folder, Frames, Source
from trainables.data.inspection import luminance

CAMVID = DATASETS["camvid"]
CLASSES = 11
"""Labels 0..10; 11 is void."""


def labels() -> Any:
    """(12, 16): every class and void."""
    return (np.arange(12 * 16).reshape(12, 16) % (CLASSES + 1)).astype(np.uint8)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A sound CamVid tree: two items a split, 16x12 pixels."""
    root = tmp_path / "CamVid"
    for split in ("train", "val", "test"):
        (root / split).mkdir(parents=True)
        (root / f"{split}annot").mkdir()
        names = [f"{split}_{number}.png" for number in range(2)]
        for number, name in enumerate(names):
            pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
            Image.fromarray(pixels).save(root / split / name)
            Image.fromarray(labels()).save(root / f"{split}annot" / name)
        lines = (f"/SegNet/CamVid/{split}/{name} /SegNet/CamVid/{split}annot/{name}\n" for name in names)
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def checked(root: Path) -> list[Finding]:
    """What is found of a CamVid tree."""
    source = open_source(CAMVID, root)
    return list(data_findings(CAMVID, source)) if isinstance(source, Source) else list(source)


def trouble(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.state != "ok"]


def the_line(findings: Sequence[Finding], state: str = "error") -> str:
    """Of the one finding that is not well."""
    (found,) = trouble(findings)
    assert found.state == state
    assert "\n" not in found.line
    return found.line


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    """Leave half of a file."""
    return lambda root: _put(root / name, lambda data: data[: len(data) // 2])


def _put(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def annotate(value: int) -> Callable[[Path], None]:
    """Give one pixel of one annotation a label."""

    def change(root: Path) -> None:
        wrong = labels()
        wrong[3, 4] = value
        Image.fromarray(wrong).save(root / "valannot/val_1.png")

    return change


def append(name: str, text: str) -> Callable[[Path], None]:
    return lambda root: _put(root / name, lambda data: data + text.encode())


def empty(name: str) -> Callable[[Path], None]:
    return lambda root: _put(root / name, lambda data: b"\n")  # noqa: ARG005


def cmyk(root: Path) -> None:
    Image.new("CMYK", (16, 12)).save(root / "test/test_0.png", "TIFF")


FAILURES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a missing list": (remove("val.txt"), "val.txt", "--data camvid=PATH must be the folder"),
    "an empty list": (empty("test.txt"), "test.txt", "lists no image"),
    "a malformed list": (append("train.txt", "one.png\n"), "train.txt, line 3", "is not an image and an annotation"),
    "a missing image": (remove("train/train_1.png"), "train/train_1.png", "restore it or take it off its list"),
    "a missing annotation": (remove("testannot/test_0.png"), "testannot/test_0.png", "restore it or take it off its list"),
    "a truncated image": (cut("test/test_0.png"), "test/test_0.png", "restore the file or take it off its list"),
    "a truncated annotation": (cut("valannot/val_1.png"), "valannot/val_1.png", "restore the file or take it off its list"),
    "an image without an RGB reading": (cmyk, "test/test_0.png", "convert it to"),
    "a label out of range": (annotate(12), "valannot/val_1.png", "label 12 is none of this data set's"),
    "an item in two splits": (
        append("val.txt", "/x/test/test_1.png /x/testannot/test_1.png\n"),
        "test/test_1.png is in val and test",
        "mend the lists",
    ),
}


@pytest.mark.parametrize(("change", "place", "remedy"), FAILURES.values(), ids=FAILURES)
def test_what_is_wrong_with_a_tree_is_one_line_that_names_place_and_remedy(
    tree: Path, change: Callable[[Path], None], place: str, remedy: str
) -> None:
    change(tree)
    line = the_line(checked(tree))
    assert place in line
    assert remedy in line


def test_a_sound_tree_is_well(tree: Path) -> None:
    (found,) = checked(tree)
    assert found.state == "ok"
    assert found.facts["items"] == {"train": 2, "val": 2, "test": 2}
    assert found.facts["smallest"] == found.facts["largest"] == "16x12"
    assert found.facts["classes"]["train"]["sky"] == 2


def test_contents_change_where_the_light_fingerprint_does_not(tree: Path) -> None:
    (before,) = checked(tree)
    _put(tree / "train/train_0.png", lambda data: data[:-5] + b"\0" + data[-4:])  # in the last chunk's checksum
    (after,) = checked(tree)
    assert before.facts["fingerprint"] == after.facts["fingerprint"]
    assert before.facts["contents"] != after.facts["contents"]


def test_threads_read_the_same(tree: Path) -> None:
    source = CAMVID.source(tree)
    assert list(data_findings(CAMVID, source)) == list(data_findings(CAMVID, source, threads=3))


def test_every_missing_file_is_named(tree: Path) -> None:
    for name in ("train/train_0.png", "valannot/val_0.png", "test/test_1.png"):
        (tree / name).unlink()
    assert len(checked(tree)) == 3


def test_beyond_the_first_many_files_the_rest_is_counted(tree: Path) -> None:
    append("train.txt", "".join(f"/x/train/{number}.png /x/trainannot/{number}.png\n" for number in range(NAMED)))(tree)
    found = checked(tree)
    assert len(found) == NAMED + 1
    assert found[-1].line.startswith(f"{NAMED} more files")


def test_a_data_set_without_a_place_says_what_to_pass() -> None:
    found = open_source(CAMVID, None)
    assert not isinstance(found, Source)
    assert "pass --data camvid=PATH" in the_line(found)


def test_a_class_that_training_never_shows_is_a_warning(tree: Path) -> None:
    without = np.where(labels() == 5, 4, labels()).astype(np.uint8)
    for name in ("train_0.png", "train_1.png"):
        Image.fromarray(without).save(tree / "trainannot" / name)
    line = the_line(checked(tree), "warning")
    assert "train never shows tree" in line
    assert "mend the lists" in line


@dataclass(frozen=True, kw_only=True)
class Part:
    """A split by hand: black frames, or files."""

    names: Sequence[str]
    groups: Sequence[str]
    images: tuple[Path, ...] = ()
    shown: int = 0

    def frames(self, index: int) -> Frames:  # noqa: ARG002
        return np.zeros((1, 8, 8, 3), np.uint8)

    def target(self, index: int) -> Any:  # noqa: ARG002
        return np.full((8, 8), self.shown, np.uint8)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.images[index : index + 1]


def by_hand(**parts: Part) -> Source:
    """A source of one class, with three splits of two items."""
    made = {
        split: Part(names=[f"{split}/{number}" for number in range(2)], groups=[f"{split}-{number}" for number in range(2)])
        for split in ("train", "val", "test")
    }
    return Source(name="byhand", classes=("void",), fingerprint="0", **made | parts)  # type: ignore[arg-type]


def test_a_source_by_hand_is_well() -> None:
    assert not trouble(list(data_findings(CAMVID, by_hand())))


def test_a_group_in_two_splits_is_named() -> None:
    leaking = Part(names=["test/0", "test/1"], groups=["train-1", "test-1"])
    line = the_line(list(data_findings(CAMVID, by_hand(test=leaking))))
    assert "group train-1 is in train and test" in line
    assert "mend the lists" in line


def test_a_label_that_is_no_class_is_named() -> None:
    wrong = Part(names=["val/0"], groups=["val-0"], shown=7)
    assert "val/0: label 7 is outside 0..0; correct the annotation" in the_line(list(data_findings(CAMVID, by_hand(val=wrong))))


def test_a_split_without_items_is_named() -> None:
    assert "val has no item" in the_line(list(data_findings(CAMVID, by_hand(val=Part(names=[], groups=[])))))


def jpegs(folder: Path, *options: dict[str, Any]) -> Source:
    """A source whose training images are JPEG files, saved with options."""
    images = tuple(folder / f"{number}.jpg" for number in range(len(options)))
    for image, each in zip(images, options, strict=True):
        Image.effect_noise((32, 24), 60).convert("RGB").save(image, **each)
    names = [image.name for image in images]
    return by_hand(train=Part(names=names, groups=names, images=images))


def coding(source: Source) -> Finding:
    return next(finding for finding in data_findings(CAMVID, source) if "codec" in finding.facts)


@pytest.mark.parametrize(
    ("quality", "no_saving"), [(10, [95, 75, 50, 15, 10]), (50, [95, 75, 50]), (75, [95, 75]), (95, [95]), (96, [])]
)
def test_the_quality_of_jpeg_sources_is_estimated_and_levels_that_save_nothing_are_flagged(
    tmp_path: Path, quality: int, no_saving: list[int]
) -> None:
    found = coding(jpegs(tmp_path, *[{"quality": quality}] * 3))
    assert (found.facts["level"], found.facts["exact"], found.facts["files"]) == (quality, 3, 3)
    assert found.facts["no_saving"] == no_saving
    assert found.state == ("warning" if no_saving else "ok")
    assert ("recompression, no saving" in found.line) == bool(no_saving)


def test_the_median_quality_counts(tmp_path: Path) -> None:
    assert coding(jpegs(tmp_path, *({"quality": quality} for quality in (20, 90, 60)))).facts["level"] == 60


def test_tables_of_another_make_have_a_nearest_quality(tmp_path: Path) -> None:
    table = [step + (place % 3 == 0) for place, step in enumerate(luminance(80))]
    found = coding(jpegs(tmp_path, {"qtables": [table, table]}))
    assert found.facts["exact"] == 0
    assert abs(found.facts["level"] - 80) <= 2


def test_every_quality_has_a_table_of_its_own() -> None:
    assert len({luminance(quality) for quality in range(1, 101)}) == 100


def test_every_codec_codes_its_probe() -> None:
    found = list(codec_findings(CODECS.values()))
    assert [finding.state for finding in found] == ["ok"] * len(CODECS)
    assert set(found[0].facts["identities"]) == {str(level) for level in CODECS["jpeg"].levels}


def test_a_level_that_does_not_code_is_named() -> None:
    broken = replace(CODECS["jpeg"], levels=(95, 0))  # type: ignore[type-var]
    line = the_line(list(codec_findings([broken])))
    assert "level 0" in line
    assert "reinstall" in line


def test_more_gpus_than_there_are_is_an_error() -> None:
    assert "--gpus 99" in the_line([gpu_finding(offered=99)])


def test_a_storage_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    assert not trouble(list(storage_findings(Folder.at(str(tmp_path / "new/runs")))))
    assert list(tmp_path.iterdir()) == []


def test_a_storage_that_is_a_file_is_named(tmp_path: Path) -> None:
    place = tmp_path / "runs"
    place.write_text("")
    line = the_line(list(storage_findings(Folder.at(str(place)))))
    assert str(place) in line
    assert "pass --storage another place" in line


def test_a_probe_that_is_not_there_is_told_with_its_reason(tmp_path: Path) -> None:
    assert "No such file or directory" in (read_probe(tmp_path.as_uri(), ".check-0") or "")


@pytest.fixture
def closed_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.timeout(60)
def test_a_tracking_server_that_is_down_is_told_without_its_password(tmp_path: Path, closed_port: int) -> None:
    line = the_line([tracking_finding(f"http://me:secret@127.0.0.1:{closed_port}", Folder.at(str(tmp_path)))])
    assert f"http://127.0.0.1:{closed_port}: Connection refused" in line
    assert "pass --tracking-uri" in line
    assert "secret" not in line


def test_a_cluster_that_is_down_is_told_in_seconds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, store: Path, closed_port: int
) -> None:
    assert main(["check", "--address", f"127.0.0.1:{closed_port}", "--storage", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().out
    assert f"error   Ray: 127.0.0.1:{closed_port}: Connection refused; is it running" in said
    assert said.count("error ") == 1
    assert store.exists()


def test_a_tracking_store_that_is_yet_to_be_made_is_not_made(tmp_path: Path) -> None:
    found = tracking_finding(None, Folder.at(str(tmp_path / "runs")))
    assert found.state == "ok"
    assert "made by the first run" in found.line
    assert list(tmp_path.iterdir()) == []


def test_a_tracking_store_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    line = the_line([tracking_finding(None, Folder.at(str(tmp_path)))])
    assert str(tmp_path / "mlflow.db") in line
    assert "not a database" in line


def test_a_tracking_store_that_another_holds_is_named(tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    assert "database is locked" in the_line([tracking_finding(None, Folder.at(str(tmp_path)))])
    holder.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "store"
    monkeypatch.setenv("STUDY_STORE", str(root))
    monkeypatch.delenv("STUDY_STORE_GB", raising=False)
    return root


def test_a_store_that_can_be_written_is_well(store: Path) -> None:
    (found,) = store_findings()
    assert found.state == "ok"
    assert found.facts["root"] == str(store)
    assert list(store.iterdir()) == []


def test_a_store_limit_that_is_no_number_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE_GB", "plenty")
    line = the_line(list(store_findings()))
    assert "STUDY_STORE_GB='plenty'" in line
    assert "unset it" in line
    assert not any(store.iterdir())


def test_a_store_that_is_a_file_is_named(store: Path) -> None:
    store.write_text("")
    line = the_line(list(store_findings()))
    assert str(store) in line
    assert "set STUDY_STORE to a folder" in line


class Many(Sequence[str]):
    """More names than any disk can hold items of."""

    def __len__(self) -> int:
        return 10**14

    def __getitem__(self, index: Any) -> Any:
        return str(index)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("nobody has the time")


NEED = frozenset({("train", "jpeg", 10, None)})


def test_a_disk_that_is_too_small_for_the_study_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE_GB", str(10**9))
    line = the_line(list(store_findings([(by_hand(train=Part(names=Many(), groups=[])), NEED)])))
    assert str(store) in line
    assert "set STUDY_STORE to another disk" in line


@pytest.mark.usefixtures("store")
def test_a_limit_below_what_the_study_takes_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE_GB", "1e-7")
    assert "raise STUDY_STORE_GB" in the_line(list(store_findings([(by_hand(), NEED)])), "warning")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("postgresql://me:pa/ss@host/db", "postgresql://host/db"),
        ("http://token@host:5000: down", "http://host:5000: down"),
        ("s3://bucket/a@b?region=x&secret_key=abc", "s3://bucket/a@b?region=x&secret_key=***"),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
    ],
)
def test_secrets_are_taken_out(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


@pytest.mark.parametrize("arguments", [["mars"], ["demo", "--data", "mars=1"], ["--storage", "mars://x"]])
def test_an_unknown_name_is_an_error_of_use(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["check", *arguments]) == 2
    assert "mars" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_check_in_json_holds_every_finding_and_the_versions(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tree: Path
) -> None:
    arguments = ["tests.tiny:TINY", "--data", "segmentation=camvid", "--data", f"camvid={tree}", "--cpus", "1"]
    assert main(["check", *arguments, "--storage", str(tmp_path / "runs"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["schema"] == 1
    assert {finding["subject"] for finding in told["findings"]} >= {"GPUs", "Ray", "storage", "MLflow", "store", "data camvid"}
    assert {"python", "torch", "ray", "mlflow"} <= set(told["versions"])
    (tree / "val/val_0.png").unlink()
    assert main(["check", *arguments, "--storage", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().out
    assert f"error   data camvid: {tree / 'val/val_0.png'}: listed but missing" in said.replace("\n", "")
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_every_node_of_a_cluster_reads_the_storage_and_the_cluster_stays(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        for _ in range(2):  # the first check leaves the cluster running
            assert main(["check", "--address", cluster.address, "--storage", str(tmp_path / "runs")]) == 0
            assert "read by all 2 nodes" in capsys.readouterr().out.replace("\n", " ")
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
