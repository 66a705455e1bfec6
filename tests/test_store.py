import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.full_disk import in_a_child, limit_files
from trainables import (
    CLEAN,
    CODECS,
    Condition,
    Frames,
    Runtime,
    Source,
    Split,
    Workload,
    evaluate,
    find_dataset,
    find_recipe,
    train,
)
from trainables.contracts import Size
from trainables.recipes.recipes import BASELINE
from trainables.store.imagery import OWN, SIGNATURE, TAG, Direct, Store, Stored, default_store

JPEG = CODECS["jpeg"]


def at(level: int) -> Condition:
    return Condition(codec="jpeg", level=level)


EVERY = (CLEAN, *map(at, JPEG.levels))


@dataclass(frozen=True)
class CountingCodec:
    """JPEG that records the level of each encoding."""

    name: str = "jpeg"
    levels: tuple[int, ...] = JPEG.levels
    shown: tuple[int, ...] = JPEG.shown
    clips: bool = False
    encoded: list[int] = field(default_factory=list, compare=False)

    def encode(self, frames: Frames, level: int) -> bytes:
        self.encoded.append(level)
        return JPEG.encode(frames, level)

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        return JPEG.decode(data, wanted)

    def size(self, data: bytes) -> Size:
        return JPEG.size(data)


@dataclass(frozen=True)
class CountingSplit:
    """A split that records which of its items are decoded from the source."""

    split: Split
    decoded: list[int] = field(default_factory=list)

    @property
    def names(self) -> Any:
        return self.split.names

    @property
    def groups(self) -> Any:
        return self.split.groups

    def frames(self, index: int) -> Frames:
        self.decoded.append(index)
        return self.split.frames(index)

    def target(self, index: int) -> Any:
        return self.split.target(index)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.split.files(index)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", 10**9)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> CountingCodec:
    """Takes the place of JPEG in the table of codecs."""
    codec = CountingCodec()
    monkeypatch.setitem(CODECS, "jpeg", codec)
    return codec


def all_items(imagery: Stored | Direct, count: int) -> list[tuple[bytes, Size]]:
    coded = [imagery.item(index, condition) for condition in EVERY for index in range(count)]
    return [(item.frames.tobytes(), item.size) for item in coded]


def build(imagery: Stored, *conditions: Condition) -> None:
    for _ in imagery.prepare(conditions):
        pass


def packs(store: Store) -> list[Path]:
    return sorted(store.packs())


def test_stored_items_equal_items_that_are_encoded_on_every_read(store: Store, streets: Source) -> None:
    assert all_items(store.imagery(streets, "test"), 6) == all_items(Direct(split=streets.test), 6)


def test_a_window_selects_frames_of_stored_items_too(store: Store, streets: Source) -> None:
    def twice(count: int) -> list[int]:
        return [count - 1, 0]

    for condition in (CLEAN, at(10)):
        stored = store.imagery(streets, "test").item(2, condition, twice)
        direct = Direct(split=streets.test).item(2, condition, twice)
        assert stored.frames.shape == (2, 96, 128, 3)
        assert np.array_equal(stored.frames, direct.frames)
        assert (stored.size, stored.shape) == (direct.size, direct.shape)


@pytest.mark.slow
def test_a_second_epoch_encodes_nothing_and_decodes_no_source(store: Store, workload: Workload, counting: CountingCodec) -> None:
    split = CountingSplit(workload.data.train)
    constant = replace(find_recipe(workload.architecture, "constant-5", "jpeg", (5,)), parents=())
    stored = replace(workload, data=replace(workload.data, train=split), runtime=Runtime(store=store))
    epochs = train(stored, constant, epochs=2, seed=0, validation=(at(5),))
    next(epochs)
    encoded, decoded = len(counting.encoded), len(split.decoded)
    assert encoded >= 12 + 4  # training and validation items once each, and the probe that identifies the codec
    assert decoded > 0
    next(epochs)
    assert (len(counting.encoded), len(split.decoded)) == (encoded, decoded)


def test_a_slow_source_is_decoded_once_for_all_levels(store: Store, streets: Source) -> None:
    split = CountingSplit(streets.test)
    build(store.imagery(replace(streets, test=split), "test"), *EVERY)
    sampled = 4  # items from which the size of the decoded frames is predicted
    assert len(split.decoded) == 6 + sampled


def test_figures_are_the_same_with_and_without_a_store(store: Store, workload: Workload) -> None:
    def figures(runtime: Runtime) -> Any:
        running = replace(workload, runtime=runtime)
        (epoch,) = train(running, BASELINE, epochs=1, seed=0)
        scores = evaluate(running, epoch.weights, conditions=[CLEAN, at(10)])
        return epoch.losses, epoch.validation, [(score.metrics, score.bits_per_pixel) for score in scores]

    assert figures(Runtime(store=store)) == figures(Runtime())


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4)
        file.write(b"damage")


def spoil_the_offset_table(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 40)
        file.write(b"damage")


@pytest.mark.parametrize("damage", [cut, empty, flip, spoil_the_offset_table, Path.unlink])
@pytest.mark.parametrize("opened", [True, False], ids=["opened", "closed"])
def test_a_damaged_pack_is_detected_and_rebuilt(
    store: Store, streets: Source, damage: Callable[[Path], None], opened: bool
) -> None:
    imagery = store.imagery(streets, "test")
    before = all_items(imagery, 6)
    for pack in packs(store):
        damage(pack)
    again = imagery if opened else store.imagery(streets, "test")
    assert all_items(again, 6) == before


def test_repairing_a_pack_encodes_only_its_damaged_items(store: Store, streets: Source, counting: CountingCodec) -> None:
    source = replace(streets, slow=False)
    imagery = store.imagery(source, "test")
    build(imagery, at(10))
    flip(packs(store)[0])
    counting.encoded.clear()
    for index in range(6):
        store.imagery(source, "test").item(index, at(10))
    assert counting.encoded == [10]


BUILDER = """
import sys
from pathlib import Path
from trainables import CODECS, DATASETS, Condition
from trainables.store.imagery import Store
codec = CODECS["jpeg"]
encoded = 0
class Counting:
    name, levels, shown, clips, size = codec.name, codec.levels, codec.shown, codec.clips, codec.size
    def encode(self, frames, level):
        global encoded
        encoded += frames.shape[1] == 96
        return codec.encode(frames, level)
    def decode(self, data, wanted=None):
        return codec.decode(data, wanted)
CODECS["jpeg"] = Counting()
imagery = Store(Path(sys.argv[1]), 10**9).imagery(DATASETS["street_scenes"].source(None), "test")
print("ready", flush=True)
for _ in imagery.prepare([Condition(codec="jpeg", level=10)]):
    pass
print(encoded)
"""


@pytest.mark.slow
def test_two_builders_at_once_encode_every_item_once(store: Store) -> None:
    command = [sys.executable, "-c", BUILDER, str(store.root)]
    builders = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    encoded = [int(builder.communicate(timeout=120)[0].split()[1]) for builder in builders]
    assert sum(encoded) == 60


@pytest.mark.slow
def test_the_build_of_a_killed_process_is_resumed_and_never_read_as_a_pack(store: Store) -> None:
    command = [sys.executable, "-c", BUILDER, str(store.root)]
    builder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(store.root.rglob("*.building")) and time.monotonic() < deadline:
        time.sleep(0.001)
    builder.kill()
    builder.communicate()
    assert list(store.root.rglob("*.building"))
    assert not packs(store)
    undisturbed = Store(store.root.parent / "undisturbed", 10**9)
    for each in (store, undisturbed):
        subprocess.run([*command[:-1], str(each.root)], check=True, capture_output=True, timeout=120)
    assert not list(store.root.rglob("*.building"))
    resumed, whole = ({path.name: path.read_bytes() for path in packs(each)} for each in (store, undisturbed))
    assert resumed == whole
    assert len(whole) > 1


@pytest.mark.parametrize("torn", [b"", b"half an item", b"\xff" * 100])
def test_an_interrupted_build_is_resumed_after_its_last_intact_item(
    store: Store, streets: Source, torn: bytes, counting: CountingCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, undisturbed = replace(streets, slow=False), Store(store.root / "undisturbed", 10**9)
    build(undisturbed.imagery(source, "test"), at(10))
    (expected,) = packs(undisturbed)
    imagery = store.imagery(source, "test")
    monkeypatch.setattr("trainables.store.imagery.PROGRESS_SECONDS", 0)
    building = imagery.prepare([at(10)])
    for _ in range(4):
        next(building)
    building.close()  # type: ignore[attr-defined]
    (unfinished,) = store.root.rglob("*.building")
    unfinished.write_bytes(unfinished.read_bytes() + torn)
    counting.encoded.clear()
    build(imagery, at(10))
    assert unfinished.with_suffix(".pack").read_bytes() == expected.read_bytes()
    assert counting.encoded.count(10) == 2


def test_the_packs_opened_longest_ago_are_evicted(streets: Source, tmp_path: Path) -> None:
    source = replace(streets, slow=False)
    roomy = Store(tmp_path, 10**9)
    build(roomy.imagery(source, "test"), *map(at, (95, 75, 50)))
    for age, pack in enumerate(reversed(packs(roomy))):  # jpeg-95 is the oldest, then 75, then 50
        os.utime(pack, (0, age))
    sizes = {pack.name.split("-")[1]: pack.stat().st_size for pack in packs(roomy)}
    tight = Store(tmp_path, sizes["95"] + sizes["75"])
    build(tight.imagery(source, "test"), at(15))
    left = {pack.name.split("-")[1] for pack in packs(tight)}
    assert left == {"15", "75", "50"}
    assert sum(pack.stat().st_size for pack in packs(tight)) <= tight.limit


def test_a_pack_that_was_just_built_stays_even_above_the_limit(streets: Source, tmp_path: Path) -> None:
    store = Store(tmp_path, 1)
    build(store.imagery(replace(streets, slow=False), "test"), at(15), at(10))
    assert [pack.name.split("-")[1] for pack in packs(store)] == ["10"]


def test_an_evicted_pack_that_is_open_still_reads(store: Store, streets: Source) -> None:
    imagery = store.imagery(streets, "test")
    before = imagery.item(0, at(10))
    for pack in packs(store):
        pack.unlink()
    assert np.array_equal(imagery.item(0, at(10)).frames, before.frames)


def test_imagery_that_is_dropped_closes_its_files(store: Store, streets: Source) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    store.imagery(streets, "test").item(0, at(10))
    before = opened()
    for _ in range(5):
        store.imagery(streets, "test").item(0, at(10))
    assert opened() == before


def test_decoded_frames_are_stored_only_within_their_share_of_the_limit(streets: Source, tmp_path: Path) -> None:
    raw = 6 * 96 * 128 * 3
    for limit, stored in ((2 * raw, True), (2 * raw - 1, False)):
        store = Store(tmp_path / str(limit), limit)
        imagery = store.imagery(streets, "test")
        imagery.item(0, CLEAN)
        assert bool(packs(store)) is stored
        assert imagery.stored_bytes(CLEAN) == (raw if stored else 0)


def test_the_decoded_frames_of_a_fast_source_are_not_stored(store: Store, streets: Source) -> None:
    imagery = store.imagery(replace(streets, slow=False), "test")
    imagery.item(0, CLEAN)
    assert packs(store) == []
    assert imagery.predicted_bytes(CLEAN) == 0


def test_the_predicted_size_is_near_the_real_one(store: Store, streets: Source) -> None:
    imagery = store.imagery(streets, "train")
    for level in JPEG.levels:
        build(imagery, at(level))
        real = next(pack for pack in packs(store) if f"jpeg-{level}-" in pack.name).stat().st_size
        assert imagery.predicted_bytes(at(level)) == pytest.approx(real, rel=0.25)


def test_a_build_reports_its_progress(store: Store, streets: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.store.imagery.PROGRESS_SECONDS", 0.0)
    reports = list(store.imagery(replace(streets, slow=False), "test").prepare([at(10)]))
    assert [(report.built, report.items) for report in reports] == [(built, 6) for built in range(1, 7)]
    assert {report.pack for report in reports} == {"test jpeg-10"}


def build_on_a_full_disk(root: Path) -> str:
    """Build a pack where files may grow to 4096 bytes. Runs in a child process; returns the error."""
    source = find_dataset("street_scenes").source(None)
    limit_files(4096)
    with pytest.raises(OSError, match="cannot build") as refused:
        Store(root, 10**9).imagery(source, "val").item(0, at(10))
    return str(refused.value)


@pytest.mark.slow
def test_a_full_disk_is_reported_with_the_file_and_leaves_nothing_behind(store: Store) -> None:
    message = in_a_child(build_on_a_full_disk, store.root)
    assert f"cannot build {store.folder}/street_scenes-" in message
    assert message.endswith("/val/raw.pack: File too large; free disk space, or set STUDY_STORE")
    assert not [path for path in store.root.rglob("*") if path.suffix in {".pack", ".building"}]


def test_an_item_that_the_codec_refuses_is_named(store: Store, streets: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(CountingCodec):
        def encode(self, frames: Frames, level: int) -> bytes:
            if frames.shape[1] == 96:
                raise ValueError("too dark")
            return super().encode(frames, level)

    monkeypatch.setitem(CODECS, "jpeg", Refusing())
    for imagery in (store.imagery(streets, "test"), Direct(split=streets.test)):
        with pytest.raises(ValueError, match=r"0000[03]: too dark"):
            imagery.item(3, at(10))


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory of the user's that STUDY_STORE names; the default directory of the store is below `tmp_path` as well."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "place"))
    monkeypatch.delenv("STUDY_STORE_GB", raising=False)
    return tmp_path / "place"


def test_the_store_marks_its_own_directory_below_study_store(place: Path) -> None:
    store = default_store()
    assert store.folder == place / OWN == place / "encoded-imagery"
    assert [path.name for path in store.folder.iterdir()] == [TAG] == ["CACHEDIR.TAG"]
    assert (store.folder / TAG).read_text().splitlines()[0] == SIGNATURE == "Signature: 8a477f597d28d172789f06886806bc55"


def test_opening_the_store_again_changes_nothing(place: Path) -> None:
    default_store()
    before = (place / OWN / TAG).stat().st_mtime_ns
    assert default_store().folder == place / OWN
    assert (place / OWN / TAG).stat().st_mtime_ns == before


def test_packs_are_built_only_below_the_marked_directory(place: Path, streets: Source) -> None:
    build(default_store().imagery(streets, "test"), at(10))
    assert [path.name for path in place.iterdir()] == [OWN]
    assert len(packs(default_store())) == 2


def test_eviction_removes_no_file_beside_the_stores_directory(
    place: Path, streets: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STUDY_STORE may name a directory that holds other work, such as a git repository whose objects are `*.pack` files too."""
    place.mkdir()

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
        return subprocess.run(["git", *identity, *arguments], cwd=place, check=True, capture_output=True, text=True).stdout

    git("init", "--quiet")
    (place / "notes.txt").write_text("months of work\n" * 1000)
    (place / "flow.pack").write_bytes(b"another program's file")
    git("add", "--all")
    git("commit", "--quiet", "--message", "notes")
    git("gc", "--quiet")
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert [path for path in before if path.suffix == ".pack" and ".git" in path.parts]
    monkeypatch.setenv("STUDY_STORE_GB", "0.00002")  # 20 kB: the packs of one split do not fit
    store = default_store()
    build(store.imagery(streets, "test"), *map(at, JPEG.levels))
    assert len(packs(store)) < len(JPEG.levels)
    assert {path: path.read_bytes() for path in before} == before
    assert git("fsck", "--full", "--strict") == ""


def test_an_unmarked_directory_that_holds_files_is_refused_in_one_line(place: Path) -> None:
    (place / OWN).mkdir(parents=True)
    (place / OWN / "mine.pack").write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"^{place / OWN} holds files that are not the store's \(no {TAG}\): [^\n]+$"):
        default_store()
    assert [path.name for path in (place / OWN).iterdir()] == ["mine.pack"]


def test_an_empty_unmarked_directory_becomes_the_stores_own(place: Path) -> None:
    (place / OWN).mkdir(parents=True)
    assert (default_store().folder / TAG).is_file()


@pytest.mark.parametrize("value", ["", None], ids=["empty", "unset"])
@pytest.mark.parametrize("cache", ["", None], ids=["empty", "unset"])
def test_without_study_store_the_store_is_in_the_cache_of_the_home_directory(
    place: Path, value: str | None, cache: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, setting in (("STUDY_STORE", value), ("XDG_CACHE_HOME", cache)):
        monkeypatch.delenv(name, raising=False) if setting is None else monkeypatch.setenv(name, setting)
    monkeypatch.chdir(place.parent)
    assert default_store().folder == place.parent / "home" / ".cache" / "compression-study" / OWN
    assert [path.name for path in place.parent.iterdir()] == ["home"]  # nothing in the working directory


def test_without_study_store_the_store_is_in_xdg_cache_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place.parent / "cache"))
    assert default_store().folder == place.parent / "cache" / "compression-study" / OWN


def test_study_store_may_begin_with_the_home_directory(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE", "~/fast")
    assert default_store().folder == place.parent / "home" / "fast" / OWN


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "-1", "abc"])
def test_a_limit_that_is_not_a_positive_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE_GB", value)
    with pytest.raises(ValueError, match=f"^STUDY_STORE_GB='{value}': expected a positive number of gigabytes$"):
        default_store()


@pytest.mark.usefixtures("place")
def test_the_limit_is_in_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_STORE_GB", "0.5")
    assert default_store().limit == 500_000_000


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("value", ["", None], ids=["empty", "unset"])
def test_the_default_limit_is_half_of_the_free_disk_and_at_most_100_gigabytes(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("STUDY_STORE_GB", value)
    limit = default_store().limit
    assert 0 < limit <= 100 * 10**9
    free = os.statvfs(default_store().folder)
    assert limit == pytest.approx(min(100 * 10**9, free.f_bavail * free.f_frsize / 2), rel=0.05)


def test_packs_of_others_beside_the_store_survive_an_eviction_whoever_made_the_store(tmp_path: Path, streets: Source) -> None:
    foreign = tmp_path / ".git" / "objects" / "pack-1.pack"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"months of work")
    store = Store(tmp_path, 1)
    for level in (50, 5):
        store.imagery(streets, "val").item(0, Condition(codec="jpeg", level=level))
    assert foreign.read_bytes() == b"months of work"
    assert len(store.packs()) == 1
