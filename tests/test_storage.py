import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables import Folder

MEGABYTE = 2**20


@pytest.fixture(params=["plain path", "file://", "child"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """`tmp_path/runs`, which does not exist yet, by each way to name it."""
    if request.param == "child":
        return Folder.at(str(tmp_path)).child("runs")
    return Folder.at(f"{'file://' if request.param == 'file://' else ''}{tmp_path}/runs")


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_was_written_is_read(folder: Folder) -> None:
    folder.write("a.bin", bytes(range(256)))
    assert folder.read("a.bin") == bytes(range(256))


def test_a_file_lies_at_its_path(folder: Folder, tmp_path: Path) -> None:
    folder.write("scores/clean.json", b"{}")
    assert (tmp_path / "runs" / "scores" / "clean.json").read_bytes() == b"{}"


def test_writing_replaces(folder: Folder) -> None:
    folder.write("a", b"a long one")
    folder.write("a", b"short")
    assert folder.read("a") == b"short"


def test_an_empty_file_can_be_written(folder: Folder) -> None:
    folder.write("a", b"")
    assert folder.read("a") == b""
    assert folder.names() == {"a"}


def test_a_compressed_file_is_read_as_it_is(folder: Folder) -> None:
    folder.write("a.gz", b"not really")
    assert folder.read("a.gz") == b"not really"


def test_names_are_relative_at_any_depth(folder: Folder) -> None:
    for name in ("a", "b/c", "b/d/e"):
        folder.write(name, b"")
    assert folder.names() == {"a", "b/c", "b/d/e"}


def test_a_folder_that_does_not_exist_has_no_names(folder: Folder) -> None:
    assert folder.names() == set()


def test_temporary_files_have_no_names(folder: Folder, tmp_path: Path) -> None:
    folder.write("b/a", b"")
    (tmp_path / "runs" / "b" / ".a.x1y2").write_bytes(b"half")
    assert folder.names() == {"b/a"}


def test_a_removed_file_is_gone(folder: Folder) -> None:
    folder.write("a", b"")
    folder.write("b", b"")
    folder.remove("a")
    assert folder.names() == {"b"}


def test_removing_what_is_not_there_does_nothing(folder: Folder) -> None:
    folder.write("b", b"")
    folder.remove("a")
    folder.remove("c/a")
    assert folder.names() == {"b"}


def test_reading_what_is_not_there_is_a_missing_file(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        folder.read("a")


def test_writing_leaves_no_temporary_file(folder: Folder, tmp_path: Path) -> None:
    folder.write("a", b"1")
    folder.write("a", b"2")
    assert files(tmp_path) == ["runs/a"]


def test_a_local_folder_knows_its_path(folder: Folder, tmp_path: Path) -> None:
    assert folder.local == tmp_path / "runs"


def test_a_file_of_a_child_is_a_file_of_its_parent(folder: Folder) -> None:
    folder.child("b").write("c", b"1")
    assert folder.names() == {"b/c"}
    assert folder.read("b/c") == b"1"


def test_a_plain_path_and_its_uri_are_one_folder(tmp_path: Path) -> None:
    assert Folder.at(str(tmp_path)) == Folder.at(f"file://{tmp_path}")


def test_a_relative_path_is_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Folder.at("runs").write("a", b"1")
    assert files(tmp_path) == ["runs/a"]


@pytest.mark.parametrize("name", ["with space", "per%20cent", "que?stion", "ha#sh", "ümlaut", "pl+us"])
def test_a_path_of_odd_characters_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    Folder.at(str(tmp_path / name)).child("b").write("a", b"1")
    assert files(tmp_path) == [f"{name}/b/a"]
    assert Folder.at(str(tmp_path / name)).names() == {"b/a"}


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file of this process may grow beyond a megabyte: a real write that fails half way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("no_room")
def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(folder: Folder, tmp_path: Path) -> None:
    folder.write("a", b"old")
    with pytest.raises(OSError, match="cannot write"):
        folder.write("a", bytes(2 * MEGABYTE))
    assert folder.read("a") == b"old"
    assert files(tmp_path) == ["runs/a"]


@pytest.mark.usefixtures("no_room")
def test_a_write_that_fails_half_way_names_the_file_and_the_cause(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"cannot write {tmp_path}/runs/a: {os.strerror(errno.EFBIG)}") as failed:
        folder.write("a", bytes(2 * MEGABYTE))
    assert failed.value.errno == errno.EFBIG
    assert files(tmp_path) == []


def test_a_disk_that_is_full_when_synced_leaves_the_old_file_and_no_other(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("a", b"old")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=f"cannot write {tmp_path}/runs/a: No space left"):
            folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert files(tmp_path) == ["runs/a"]


def test_a_file_is_synced_before_it_takes_its_place_and_its_folder_after(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, bool, bytes]] = []
    sync, target = os.fsync, tmp_path / "runs" / "a"

    def watched(descriptor: int) -> None:
        what = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        content = b"" if what == "folder" else Path(f"/proc/self/fd/{descriptor}").read_bytes()
        events.append((what, target.exists(), content))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    folder.write("a", b"new")
    assert events == [("file", False, b"new"), ("folder", True, b"")]


def test_a_write_where_a_file_is_in_the_way_names_the_file(folder: Folder, tmp_path: Path) -> None:
    folder.write("a", b"old")
    with pytest.raises(OSError, match=f"{tmp_path}/runs/a"):
        folder.write("a/b", b"new")
    assert folder.read("a") == b"old"
    assert files(tmp_path) == ["runs/a"]


@pytest.mark.parametrize("place", ["nosuch://bucket/path", "http://host/path", "file://relative"])
def test_a_uri_that_is_not_understood_is_refused_in_one_line_that_names_it(place: str) -> None:
    with pytest.raises(ValueError, match=place) as refused:
        Folder.at(place)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://b/p?region=x", "s3://b/p/c?region=x"),
        ("s3://b/p/?region=x&endpoint_override=h%3A9", "s3://b/p/c?region=x&endpoint_override=h%3A9"),
        ("s3://b", "s3://b/c"),
        ("file:///a/b", "file:///a/b/c"),
        ("file:///", "file:///c"),
    ],
)
def test_a_child_keeps_the_query_of_its_parent(uri: str, expected: str) -> None:
    assert Folder(uri).child("c") == Folder(expected)
