import errno
import os
import stat
from pathlib import Path

import pytest

from tests.full_disk import in_a_child, limit_files
from trainables import Folder

MEGABYTE = 2**20


@pytest.fixture(params=["plain path", "file://", "child"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """The folder `tmp_path/runs`, which does not exist yet, named in each possible way."""
    if request.param == "child":
        return Folder.at(str(tmp_path)).child("runs")
    return Folder.at(f"{'file://' if request.param == 'file://' else ''}{tmp_path}/runs")


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_a_written_file_reads_back(folder: Folder) -> None:
    folder.write("a.bin", bytes(range(256)))
    assert folder.read("a.bin") == bytes(range(256))


def test_a_file_is_stored_at_its_path(folder: Folder, tmp_path: Path) -> None:
    folder.write("scores/clean.json", b"{}")
    assert (tmp_path / "runs" / "scores" / "clean.json").read_bytes() == b"{}"


def test_writing_a_file_again_replaces_it(folder: Folder) -> None:
    folder.write("a", b"a long one")
    folder.write("a", b"short")
    assert folder.read("a") == b"short"


def test_an_empty_file_can_be_written(folder: Folder) -> None:
    folder.write("a", b"")
    assert folder.read("a") == b""
    assert folder.names() == {"a"}


def test_a_file_named_like_a_compressed_one_is_not_decompressed(folder: Folder) -> None:
    folder.write("a.gz", b"not really")
    assert folder.read("a.gz") == b"not really"


def test_files_are_listed_by_relative_name_at_any_depth(folder: Folder) -> None:
    for name in ("a", "b/c", "b/d/e"):
        folder.write(name, b"")
    assert folder.names() == {"a", "b/c", "b/d/e"}


def test_sizes_are_in_bytes(folder: Folder) -> None:
    folder.write("a", b"123")
    folder.write("b/c", b"")
    assert folder.sizes() == {"a": 3, "b/c": 0}


def test_a_folder_that_does_not_exist_lists_no_files(folder: Folder) -> None:
    assert folder.names() == set()


def test_temporary_files_are_not_listed(folder: Folder, tmp_path: Path) -> None:
    folder.write("b/a", b"")
    (tmp_path / "runs" / "b" / ".a.x1y2").write_bytes(b"half")
    assert folder.names() == {"b/a"}


def test_a_removed_file_is_no_longer_listed(folder: Folder) -> None:
    folder.write("a", b"")
    folder.write("b", b"")
    folder.remove("a")
    assert folder.names() == {"b"}


def test_removing_a_missing_file_does_nothing(folder: Folder) -> None:
    folder.write("b", b"")
    folder.remove("a")
    folder.remove("c/a")
    assert folder.names() == {"b"}


def test_reading_a_missing_file_raises_file_not_found(folder: Folder) -> None:
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
def test_special_characters_in_a_path_are_kept(tmp_path: Path, name: str) -> None:
    Folder.at(str(tmp_path / name)).child("b").write("a", b"1")
    assert files(tmp_path) == [f"{name}/b/a"]
    assert Folder.at(str(tmp_path / name)).names() == {"b/a"}


def fail_half_way(folder: Folder, old: bytes | None) -> tuple[int | None, str | None]:
    """Write 2 MB to a file where files may grow to 1 MB. Runs in a child process; returns the number and text of the error."""
    if old is not None:
        folder.write("a", old)
    limit_files(MEGABYTE)
    with pytest.raises(OSError, match="cannot write") as failed:
        folder.write("a", bytes(2 * MEGABYTE))
    return failed.value.errno, failed.value.strerror


def test_a_write_that_fails_half_way_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    folder = Folder.at(str(tmp_path / "runs"))
    in_a_child(fail_half_way, folder, b"old")
    assert folder.read("a") == b"old"
    assert files(tmp_path) == ["runs/a"]


def test_a_write_that_fails_half_way_names_the_file_and_the_cause(tmp_path: Path) -> None:
    number, message = in_a_child(fail_half_way, Folder.at(str(tmp_path / "runs")), None)
    assert (number, message) == (errno.EFBIG, f"cannot write {tmp_path}/runs/a: {os.strerror(errno.EFBIG)}")
    assert files(tmp_path) == []


def test_a_disk_that_is_full_at_the_sync_leaves_the_old_file_and_no_other(
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


def test_a_file_is_synced_before_the_rename_and_its_folder_afterwards(
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


def test_writing_below_a_file_fails_with_its_name(folder: Folder, tmp_path: Path) -> None:
    folder.write("a", b"old")
    with pytest.raises(OSError, match=f"{tmp_path}/runs/a"):
        folder.write("a/b", b"new")
    assert folder.read("a") == b"old"
    assert files(tmp_path) == ["runs/a"]


@pytest.mark.parametrize("place", ["nosuch://bucket/path", "http://host/path", "file://relative"])
def test_an_unsupported_uri_is_refused_in_one_line_that_names_it(place: str) -> None:
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
