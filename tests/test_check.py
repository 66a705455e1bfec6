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
from study.check.data import architecture_findings, data_findings, open_source
from study.check.findings import NAMED, Finding, without_secrets
from study.check.machine import codec_findings, gpu_finding, read_probe, storage_findings, store_findings, tracking_finding
from study.plan import Needs
from trainables import CODECS, DATASETS, Architecture, Condition, Folder, Frames, Source
from trainables.data.inspection import luminance

CAMVID = DATASETS["camvid"]
CLASSES = 11
"""Labels 0..10; 11 is void."""


def labels() -> Any:
    """(12, 16): every class and void."""
    return (np.arange(12 * 16).reshape(12, 16) % (CLASSES + 1)).astype(np.uint8)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A valid CamVid tree: two items per split, 16x12 pixels."""
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
    """The findings for a CamVid tree."""
    source = open_source(CAMVID, root)
    return list(data_findings(CAMVID, source)) if isinstance(source, Source) else list(source)


def trouble(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.state != "ok"]


def the_line(findings: Sequence[Finding], state: str = "error") -> str:
    """The line of the only finding that is not ok."""
    (found,) = trouble(findings)
    assert found.state == state
    assert "\n" not in found.line
    return found.line


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def cut(name: str) -> Callable[[Path], None]:
    """Truncate a file to half its length."""
    return lambda root: _put(root / name, lambda data: data[: len(data) // 2])


def _put(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def annotate(value: int) -> Callable[[Path], None]:
    """Set one pixel of one annotation to a label."""

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
    "a malformed list": (append("train.txt", "one.png\n"), "train.txt, line 3", "expected an image and an annotation"),
    "a missing image": (remove("train/train_1.png"), "train/train_1.png", "restore it or remove it from its list"),
    "a missing annotation": (remove("testannot/test_0.png"), "testannot/test_0.png", "restore it or remove it from its list"),
    "a truncated image": (cut("test/test_0.png"), "test/test_0.png", "restore the file or remove it from its list"),
    "a truncated annotation": (cut("valannot/val_1.png"), "valannot/val_1.png", "restore the file or remove it from its list"),
    "an image without an RGB reading": (cmyk, "test/test_0.png", "convert the file"),
    "a label out of range": (annotate(12), "valannot/val_1.png", "label 12 does not exist in this data set"),
    "an item in two splits": (
        append("val.txt", "/x/test/test_1.png /x/testannot/test_1.png\n"),
        "test/test_1.png is in val and test",
        "correct the lists",
    ),
}


@pytest.mark.parametrize(("change", "place", "remedy"), FAILURES.values(), ids=FAILURES)
def test_a_broken_tree_is_reported_in_one_line_with_place_and_remedy(
    tree: Path, change: Callable[[Path], None], place: str, remedy: str
) -> None:
    change(tree)
    line = the_line(checked(tree))
    assert place in line
    assert remedy in line


def test_a_valid_tree_is_ok(tree: Path) -> None:
    (found,) = checked(tree)
    assert found.state == "ok"
    assert found.line.startswith("2 train (11 of 11 classes), 2 val (11 of 11 classes), 2 test (11 of 11 classes); 16x12 pixels")
    assert found.facts["items"] == {"train": 2, "val": 2, "test": 2}
    assert found.facts["smallest"] == found.facts["largest"] == "16x12"
    assert found.facts["classes"]["train"]["sky"] == 2


def test_the_digest_of_the_contents_changes_where_the_fingerprint_does_not(tree: Path) -> None:
    (before,) = checked(tree)
    _put(tree / "train/train_0.png", lambda data: data[:-5] + b"\0" + data[-4:])  # same size, other bytes
    (after,) = checked(tree)
    assert before.facts["fingerprint"] == after.facts["fingerprint"]
    assert before.facts["contents"] != after.facts["contents"]


def test_reading_in_threads_gives_the_same_findings(tree: Path) -> None:
    source = CAMVID.source(tree)
    assert list(data_findings(CAMVID, source)) == list(data_findings(CAMVID, source, threads=3))


def test_every_missing_file_is_listed(tree: Path) -> None:
    for name in ("train/train_0.png", "valannot/val_0.png", "test/test_1.png"):
        (tree / name).unlink()
    assert len(checked(tree)) == 3


def test_a_long_list_of_problems_ends_with_a_count(tree: Path) -> None:
    append("train.txt", "".join(f"/x/train/{number}.png /x/trainannot/{number}.png\n" for number in range(NAMED)))(tree)
    found = checked(tree)
    assert len(found) == NAMED + 1
    assert found[-1].line.startswith(f"{NAMED} more files")


def test_a_data_set_without_a_path_says_which_flag_to_pass() -> None:
    found = open_source(CAMVID, None)
    assert not isinstance(found, Source)
    assert "pass --data camvid=PATH" in the_line(found)


def test_a_class_without_training_items_is_a_warning(tree: Path) -> None:
    without = np.where(labels() == 5, 4, labels()).astype(np.uint8)
    for name in ("train_0.png", "train_1.png"):
        Image.fromarray(without).save(tree / "trainannot" / name)
    line = the_line(checked(tree), "warning")
    assert "no training item shows tree" in line
    assert "correct the lists" in line


@dataclass(frozen=True, kw_only=True)
class Part:
    """A split of black frames, or of files."""

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
    """A source of one class with two items per split; `parts` replace splits."""
    made = {
        split: Part(names=[f"{split}/{number}" for number in range(2)], groups=[f"{split}-{number}" for number in range(2)])
        for split in ("train", "val", "test")
    }
    return Source(name="byhand", classes=("void",), fingerprint="0", **made | parts)  # type: ignore[arg-type]


def test_a_valid_source_has_no_problem() -> None:
    assert not trouble(list(data_findings(CAMVID, by_hand())))


def test_a_group_in_two_splits_is_named() -> None:
    leaking = Part(names=["test/0", "test/1"], groups=["train-1", "test-1"])
    line = the_line(list(data_findings(CAMVID, by_hand(test=leaking))))
    assert "group train-1 is in train and test" in line
    assert "correct the lists" in line


def test_a_label_outside_the_classes_is_named() -> None:
    wrong = Part(names=["val/0"], groups=["val-0"], shown=7)
    assert "val/0: label 7 is outside 0..0; correct the annotation" in the_line(list(data_findings(CAMVID, by_hand(val=wrong))))


def test_an_empty_split_is_named() -> None:
    assert "split val is empty; correct its list" in the_line(list(data_findings(CAMVID, by_hand(val=Part(names=[], groups=[])))))


def jpegs(folder: Path, *options: dict[str, Any]) -> Source:
    """A source whose training images are JPEG files, each saved with one set of options."""
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
def test_the_quality_of_jpeg_sources_is_estimated_and_levels_without_saving_are_flagged(
    tmp_path: Path, quality: int, no_saving: list[int]
) -> None:
    found = coding(jpegs(tmp_path, *[{"quality": quality}] * 3))
    assert (found.facts["level"], found.facts["exact"], found.facts["files"]) == (quality, 3, 3)
    assert found.facts["no_saving"] == no_saving
    assert found.state == ("warning" if no_saving else "ok")
    assert ("recompression, no saving" in found.line) == bool(no_saving)


def test_the_median_quality_is_reported(tmp_path: Path) -> None:
    assert coding(jpegs(tmp_path, *({"quality": quality} for quality in (20, 90, 60)))).facts["level"] == 60


def test_unknown_quantisation_tables_get_the_nearest_quality(tmp_path: Path) -> None:
    table = [step + (place % 3 == 0) for place, step in enumerate(luminance(80))]
    found = coding(jpegs(tmp_path, {"qtables": [table, table]}))
    assert found.facts["exact"] == 0
    assert abs(found.facts["level"] - 80) <= 2


def test_every_quality_has_its_own_table() -> None:
    assert len({luminance(quality) for quality in range(1, 101)}) == 100


def test_every_codec_encodes_and_decodes_the_probe() -> None:
    found = list(codec_findings(CODECS.values()))
    assert [finding.state for finding in found] == ["ok"] * len(CODECS)
    assert set(found[0].facts["identities"]) == {str(level) for level in CODECS["jpeg"].levels}


def test_a_level_that_fails_is_named() -> None:
    broken = replace(CODECS["jpeg"], levels=(95, 0))  # type: ignore[type-var]
    line = the_line(list(codec_findings([broken])))
    assert "level 0" in line
    assert "reinstall" in line


def without_network(*_: object) -> Any:
    raise RuntimeError("no such layer")


def test_a_mistake_that_fails_many_checks_is_reported_once(segnet: Architecture, hyper: Any, streets: Source) -> None:
    line = the_line(list(architecture_findings(replace(segnet, learner=without_network), hyper, streets)))
    assert "a learner has what the loop calls (and" in line
    assert line.endswith("more checks): RuntimeError: no such layer")


def test_offering_more_gpus_than_exist_is_an_error() -> None:
    assert "--gpus 99" in the_line([gpu_finding(offered=99)])


def test_checking_a_storage_leaves_nothing_behind(tmp_path: Path) -> None:
    assert not trouble(list(storage_findings(Folder.at(str(tmp_path / "new/runs")))))
    assert list(tmp_path.iterdir()) == []


def test_a_storage_path_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "runs"
    place.write_text("")
    line = the_line(list(storage_findings(Folder.at(str(place)))))
    assert str(place) in line
    assert "pass another --storage" in line


def test_a_missing_probe_file_is_reported_with_its_reason(tmp_path: Path) -> None:
    assert "No such file or directory" in (read_probe(tmp_path.as_uri(), ".check-0") or "")


@pytest.fixture
def closed_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.timeout(60)
def test_an_unreachable_tracking_server_is_reported_without_its_password(
    tmp_path: Path, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # retries take 12 s
    line = the_line([tracking_finding(f"http://me:secret@127.0.0.1:{closed_port}", Folder.at(str(tmp_path)))])
    assert f"http://127.0.0.1:{closed_port}: Connection refused" in line
    assert "pass another --tracking-uri" in line
    assert "secret" not in line


def test_an_unreachable_cluster_is_reported_within_seconds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, store: Path, closed_port: int
) -> None:
    assert main(["check", "--address", f"127.0.0.1:{closed_port}", "--storage", str(tmp_path / "runs")]) == 1
    said = capsys.readouterr().out
    assert f"error   Ray: 127.0.0.1:{closed_port}: Connection refused; check that a cluster" in said
    assert said.count("error ") == 1
    assert store.exists()


def test_checking_a_tracking_store_does_not_create_it(tmp_path: Path) -> None:
    found = tracking_finding(None, Folder.at(str(tmp_path / "runs")))
    assert found.state == "ok"
    assert "created by the first run" in found.line
    assert list(tmp_path.iterdir()) == []


def test_a_tracking_store_that_is_not_a_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 100)
    line = the_line([tracking_finding(None, Folder.at(str(tmp_path)))])
    assert str(tmp_path / "mlflow.db") in line
    assert "not a database" in line


def test_a_locked_tracking_store_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect
    holder = connect(tmp_path / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=timeout / 100))
    assert "database is locked" in the_line([tracking_finding(None, Folder.at(str(tmp_path)))])
    holder.close()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "store"
    monkeypatch.setenv("STUDY_STORE", str(root))
    monkeypatch.delenv("STUDY_STORE_GB", raising=False)
    return root


def test_a_writable_store_is_ok(store: Path) -> None:
    (found,) = store_findings()
    assert found.state == "ok"
    root = Path(found.facts["root"])
    assert root.parent == store
    assert [path.name for path in root.iterdir()] == ["CACHEDIR.TAG"]


@pytest.mark.usefixtures("store")
def test_a_store_limit_that_is_not_a_number_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE_GB", "plenty")
    line = the_line(list(store_findings()))
    assert "STUDY_STORE_GB='plenty'" in line
    assert "expected a positive number" in line


def test_a_store_path_that_is_a_file_is_an_error(store: Path) -> None:
    store.write_text("")
    line = the_line(list(store_findings()))
    assert str(store) in line
    assert "set STUDY_STORE to a writable directory" in line


class Many(Sequence[str]):
    """Names of more items than any disk holds."""

    def __len__(self) -> int:
        return 10**14

    def __getitem__(self, index: Any) -> Any:
        return str(index)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("iterating over all names would take too long")


NEED: Needs = frozenset({("train", Condition(codec="jpeg", level=10), None)})


def test_a_disk_that_is_too_small_for_the_study_is_an_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE_GB", str(10**9))
    line = the_line(list(store_findings([(by_hand(train=Part(names=Many(), groups=[])), NEED)])))
    assert str(store) in line
    assert "set STUDY_STORE to another disk" in line


@pytest.mark.usefixtures("store")
def test_a_store_limit_below_the_predicted_size_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_secrets_are_removed(text: str, kept: str) -> None:
    assert without_secrets(text) == kept


@pytest.mark.parametrize("arguments", [["mars"], ["demo", "--data", "mars=1"], ["--storage", "mars://x"]])
def test_an_unknown_name_is_a_usage_error(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(["check", *arguments]) == 2
    assert "mars" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_the_json_output_holds_every_finding_and_the_versions(
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
def test_every_node_of_a_cluster_reads_the_storage_and_the_cluster_keeps_running(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("study.check.machine.NODE_SECONDS", 300.0)  # a busy machine starts Ray's workers slowly
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        for _ in range(2):  # the first check leaves the cluster running
            assert main(["check", "--address", cluster.address, "--storage", str(tmp_path / "runs")]) == 0
            assert "read by all 2 nodes" in capsys.readouterr().out.replace("\n", " ")
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
