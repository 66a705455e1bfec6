import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables import CODECS, Architecture, Codec, Condition, Frames, Runtime, Source, Split, evaluate, recipes, train
from trainables.contracts import Size
from trainables.recipes.recipes import BASELINE
from trainables.store.imagery import Direct, Store, Stored, default_store

JPEG = CODECS["jpeg"]
LEVELS = (None, *JPEG.levels)


@dataclass(frozen=True)
class CountingCodec:
    """JPEG that counts."""

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
    """A split that counts how often its source is decoded."""

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


def all_items(imagery: Stored | Direct, count: int) -> list[tuple[bytes, Size]]:
    coded = [imagery.item(index, level) for level in LEVELS for index in range(count)]
    return [(item.frames.tobytes(), item.size) for item in coded]


def test_the_store_gives_what_encoding_each_time_gives(store: Store, streets: Source) -> None:
    direct = Direct(split=streets.test, codec=JPEG)
    assert all_items(store.imagery(streets, "test", JPEG), 6) == all_items(direct, 6)


@pytest.mark.slow
def test_a_second_epoch_encodes_nothing_and_decodes_no_source(
    store: Store, streets: Source, segnet: Architecture, hyper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = CountingCodec()
    monkeypatch.setitem(CODECS, "jpeg", codec)
    split = CountingSplit(streets.train)
    constant = next(recipe for recipe in recipes(codec) if recipe.name == "constant-5")
    epochs = train(
        segnet,
        replace(constant, parents=()),
        hyper,
        data=replace(streets, train=split),
        epochs=2,
        seed=0,
        runtime=Runtime(store=store),
    )
    next(epochs)
    encoded, decoded = len(codec.encoded), len(split.decoded)
    assert encoded >= 12 + 4  # training and validation items, once each, and the probe that names the pack
    assert decoded > 0
    next(epochs)
    assert (len(codec.encoded), len(split.decoded)) == (encoded, decoded)


def test_a_slow_source_is_decoded_once_for_all_levels(store: Store, streets: Source) -> None:
    split = CountingSplit(streets.test)
    imagery = store.imagery(replace(streets, test=split), "test", JPEG)
    for _ in imagery.prepare(LEVELS):
        pass
    estimates = 4  # items that the prediction of its size looks at
    assert len(split.decoded) == 6 + estimates


def test_figures_are_the_same_with_and_without_a_store(store: Store, streets: Source, segnet: Architecture, hyper: Any) -> None:
    def figures(runtime: Runtime) -> Any:
        (epoch,) = train(segnet, BASELINE, hyper, data=streets, epochs=1, seed=0, runtime=runtime)
        conditions = [Condition(), Condition(codec="jpeg", level=10)]
        scores = evaluate(segnet, hyper, epoch.weights, data=streets, conditions=conditions, runtime=runtime)
        return epoch.losses, epoch.validation, [(score.metrics, score.bits_per_pixel) for score in scores]

    assert figures(Runtime(store=store)) == figures(Runtime())


def packs(store: Store) -> list[Path]:
    return sorted(store.root.rglob("*.pack"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4)
        file.write(b"damage")


def spoil_the_index(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 40)
        file.write(b"damage")


@pytest.mark.parametrize("damage", [cut, empty, flip, spoil_the_index, Path.unlink])
@pytest.mark.parametrize("opened", [True, False], ids=["opened", "closed"])
def test_a_damaged_pack_is_noticed_and_rebuilt(store: Store, streets: Source, damage: Callable[[Path], None], opened: bool) -> None:
    imagery = store.imagery(streets, "test", JPEG)
    before = all_items(imagery, 6)
    for pack in packs(store):
        damage(pack)
    again = imagery if opened else store.imagery(streets, "test", JPEG)
    assert all_items(again, 6) == before


BUILDER = """
import sys
from pathlib import Path
from trainables import CODECS, DATASETS
from trainables.store.imagery import Store
store = Store(Path(sys.argv[1]), 10**9)
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
imagery = store.imagery(DATASETS["street_scenes"].source(None), "test", Counting())
print("ready", flush=True)
for _ in imagery.prepare([10]):
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
def test_a_killed_builder_leaves_what_the_next_one_goes_on_with_and_nothing_that_is_taken_for_a_pack(store: Store) -> None:
    command = [sys.executable, "-c", BUILDER, str(store.root)]
    builder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(store.root.rglob("*.building")) and time.monotonic() < deadline:
        time.sleep(0.001)
    builder.kill()
    builder.communicate()
    assert list(store.root.rglob("*.building"))
    assert not list(store.root.rglob("*.pack"))
    undisturbed = store.root.parent / "undisturbed"
    for root in (store.root, undisturbed):
        subprocess.run([*command[:-1], str(root)], check=True, capture_output=True, timeout=120)
    assert not list(store.root.rglob("*.building"))
    mended, whole = ({path.name: path.read_bytes() for path in root.rglob("*.pack")} for root in (store.root, undisturbed))
    assert mended == whole
    assert len(whole) > 1


@pytest.mark.parametrize("torn", [b"", b"half an item", b"\xff" * 100])
def test_items_that_an_interrupted_builder_had_made_are_not_made_again(
    store: Store, streets: Source, torn: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = CountingCodec()
    source, undisturbed = replace(streets, slow=False), Store(store.root / "undisturbed", 10**9)
    list(undisturbed.imagery(source, "test", JPEG).prepare([10]))
    (expected,) = undisturbed.root.rglob("*.pack")
    imagery = store.imagery(source, "test", codec)
    monkeypatch.setattr("trainables.store.imagery.PROGRESS_SECONDS", 0)
    building = imagery.prepare([10])
    for _ in range(4):
        next(building)
    building.close()  # type: ignore[attr-defined]
    (unfinished,) = store.root.rglob("*.building")
    unfinished.write_bytes(unfinished.read_bytes() + torn)
    codec.encoded.clear()
    list(imagery.prepare([10]))
    assert unfinished.with_suffix(".pack").read_bytes() == expected.read_bytes()
    assert codec.encoded.count(10) == 2


def test_the_packs_that_were_not_opened_for_longest_make_room(streets: Source, tmp_path: Path) -> None:
    source = replace(streets, slow=False)
    roomy = Store(tmp_path, 10**9)
    for level in (95, 75, 50):
        list(roomy.imagery(source, "test", JPEG).prepare([level]))
    for age, pack in enumerate(reversed(packs(roomy))):  # jpeg-50 is the oldest
        os.utime(pack, (0, age))
    sizes = {pack.name.split("-")[1]: pack.stat().st_size for pack in packs(roomy)}
    tight = Store(tmp_path, sizes["95"] + sizes["75"])
    list(tight.imagery(source, "test", JPEG).prepare([15]))
    left = {pack.name.split("-")[1] for pack in packs(tight)}
    assert "15" in left  # what was just made stays
    assert len(left) < 4
    assert sum(pack.stat().st_size for pack in packs(tight)) <= tight.limit


def test_an_evicted_pack_that_is_open_still_reads(store: Store, streets: Source) -> None:
    imagery = store.imagery(streets, "test", JPEG)
    before = imagery.item(0, 10)
    for pack in packs(store):
        pack.unlink()
    assert np.array_equal(imagery.item(0, 10).frames, before.frames)


def test_imagery_that_is_dropped_closes_its_files(store: Store, streets: Source) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    store.imagery(streets, "test", JPEG).item(0, 10)
    before = opened()
    for _ in range(5):
        store.imagery(streets, "test", JPEG).item(0, 10)
    assert opened() == before


def test_decoded_frames_are_kept_only_within_their_share_of_the_limit(streets: Source, tmp_path: Path) -> None:
    raw = 6 * 96 * 128 * 3
    for limit, kept in ((2 * raw, True), (2 * raw - 1, False)):
        store = Store(tmp_path / str(limit), limit)
        store.imagery(streets, "test", None).item(0, None)
        assert bool(packs(store)) is kept


def test_the_frames_of_a_fast_source_are_not_kept(store: Store, streets: Source) -> None:
    store.imagery(replace(streets, slow=False), "test", None).item(0, None)
    assert packs(store) == []


def test_the_predicted_size_is_near_the_real_one(store: Store, streets: Source) -> None:
    imagery = store.imagery(streets, "train", JPEG)
    for level in JPEG.levels:
        list(imagery.prepare([level]))
        real = next(pack for pack in packs(store) if f"jpeg-{level}-" in pack.name).stat().st_size
        assert imagery.predicted_bytes(level) == pytest.approx(real, rel=0.25)


def test_building_tells_how_far_it_is(store: Store, streets: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.store.imagery.PROGRESS_SECONDS", 0.0)
    told = list(store.imagery(replace(streets, slow=False), "test", JPEG).prepare([10]))
    assert [(building.built, building.items) for building in told] == [(built, 6) for built in range(1, 7)]


@pytest.fixture
def a_disk_of_4_kilobytes() -> Iterator[None]:
    """The system refuses to let any file grow further, as a full disk does."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.usefixtures("a_disk_of_4_kilobytes")
def test_a_full_disk_is_told_with_the_file_and_leaves_nothing_behind(store: Store, streets: Source) -> None:
    with pytest.raises(OSError, match=r"cannot build .*raw\.pack: .*free space, or set STUDY_STORE"):
        store.imagery(streets, "test", JPEG).item(0, 10)
    assert not [path for path in store.root.rglob("*") if path.suffix in {".pack", ".building"}]


@pytest.mark.parametrize("value", ["much", "0", "-1", ""])
def test_a_limit_that_is_no_positive_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDY_STORE", str(tmp_path))
    monkeypatch.setenv("STUDY_STORE_GB", value)
    with pytest.raises(ValueError, match=f"STUDY_STORE_GB='{value}'"):
        default_store()


def test_the_limit_is_half_of_the_free_disk_and_100_gigabytes_at_most(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "new"))
    monkeypatch.delenv("STUDY_STORE_GB", raising=False)
    store = default_store()
    assert store.root == tmp_path / "new"
    assert 0 < store.limit <= 100 * 10**9


def test_a_codec_that_is_refused_by_an_item_names_it(store: Store, streets: Source) -> None:
    @dataclass(frozen=True)
    class Refusing(CountingCodec):
        def encode(self, frames: Frames, level: int) -> bytes:
            if frames.shape[1] == 96:
                raise ValueError("too dark")
            return super().encode(frames, level)

    refusing: Codec = Refusing()
    with pytest.raises(ValueError, match="00000: too dark"):
        store.imagery(streets, "test", refusing).item(3, 10)
