import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces import DEMO
from study.plan import make_plan, store_needs
from trainables.codecs import CODECS
from trainables.contracts import CLEAN, Architecture, Condition, Dataset, Frames, Size, Source
from trainables.engine.conformance import try_out
from trainables.engine.evaluation import evaluate
from trainables.engine.loading import Draw, evaluation_draws, loader, over_processes, samples
from trainables.engine.runtime import Runtime
from trainables.engine.training import train
from trainables.engine.workload import Workload
from trainables.recipes.recipes import find_recipe
from trainables.store.imagery import Direct, Store, Stored
from trainables.tasks import DATASETS
from trainables.tasks.action import TWO_STREAM_MOTION, TWO_STREAM_SPATIAL, MotionHyper
from trainables.tasks.action.flow import BOUND, EXTRACTORS, Flow, Grey, TvL1, flows
from trainables.tasks.action.sampling import flow_stacks, resized, runs
from trainables.tasks.action.stored import StoredFlow
from trainables.trials.storage import Folder
from trainables.trials.trial import TrialFolder

H264 = CODECS["h264"]
CONDITIONS = (CLEAN, Condition(codec="h264", level=30), Condition(codec="h264", level=50))
QUICK = TvL1(scales=2, warps=1, most=3)
"""TV-L1 that stops early, after a few milliseconds per pair."""
SIZE = (24, 32)
FLOW = StoredFlow(extractor=QUICK, size=SIZE)
VALUES: dict[str, Any] = {**DEMO.budgets["two_stream_motion"].hyper, "batch_size": 2, "size": SIZE, "flow": "tvl1", "pairs": 3}
HYPER = replace(TWO_STREAM_MOTION.hyper, **VALUES)


@dataclass(frozen=True)
class Drifting:
    """Textures that move in random directions by fractions of a pixel. `decoded` records every read."""

    seed: int
    count: int
    decoded: list[int] = field(default_factory=list, compare=False)

    @cached_property
    def names(self) -> Sequence[str]:
        return [f"{self.seed}-{index}" for index in range(self.count)]

    @property
    def groups(self) -> Sequence[str]:
        return self.names

    def frames(self, index: int) -> Frames:
        """(6 to 8, 48, 64, 3)."""
        self.decoded.append(index)
        rng = np.random.default_rng((self.seed, index))
        waves, (right, down) = rng.uniform(0.1, 0.5, (2, 5)), rng.uniform(-2, 2, 2)
        time, y, x = np.mgrid[0 : 6 + index % 3, 0:48, 0:64]
        places = waves[0] * (x - right * time)[..., None] + waves[1] * (y - down * time)[..., None]
        return (
            np.repeat(128 + 25 * np.sin(places + np.arange(5)).sum(axis=-1, keepdims=True), 3, axis=-1)
            .clip(0, 255)
            .astype(np.uint8)
        )

    def target(self, index: int) -> int:
        return index % 2

    def files(self, index: int) -> tuple[Path, ...]:  # noqa: ARG002
        return ()


def few() -> Source:
    """6 training, 4 validation and 4 test clips."""
    train, val, test = (Drifting(seed, count) for seed, count in enumerate((6, 4, 4)))
    return Source(name="few", classes=("a", "b"), train=train, val=val, test=test, fingerprint="0")


FEW = Dataset(name="few", task="action", summary="clips of a few frames", present=lambda target: (target,), make=few)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", 10**9)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRACTORS, "tvl1", QUICK)


def packs(store: Store, holding: str = "") -> list[Path]:
    return sorted(path for path in store.root.rglob("*.pack") if holding in path.name)


def all_items(imagery: Stored | Direct, window: Callable[[int], Sequence[int]] | None = None) -> list[Any]:
    coded = [imagery.item(index, condition, window) for condition in CONDITIONS for index in range(4)]
    return [(item.frames.tobytes(), item.frames.shape, item.size, item.shape) for item in coded]


def build(imagery: Stored, **settings: Any) -> list[str]:
    return [building.pack for building in imagery.prepare(CONDITIONS, **settings)]


# Quantised flow


def test_stored_flow_equals_resized_native_flow_within_half_a_step() -> None:
    frames = few().train.frames(0)
    exact = [resized(np.clip(flow, -BOUND, BOUND), SIZE) for flow in flows(frames, QUICK)]
    found = FLOW.derive(frames, range(5))
    assert (found.shape, found.dtype) == ((5, *SIZE, 2), np.dtype(np.int8))
    assert np.abs(found * (20 / 127) - np.array(exact)).max() <= 10 / 127 + 1e-5


@dataclass(frozen=True, kw_only=True)
class Made:
    """An extractor that returns a constant flow."""

    name: str = "made"
    stored: bool = True
    right: float = 0.0
    down: float = 0.0

    def flow(self, previous: Grey, following: Grey) -> Flow:  # noqa: ARG002
        return np.full((*previous.shape, 2), (self.right, self.down), np.float32)


@pytest.mark.parametrize(
    ("pixels", "code"), [(0.0, 0), (20.0, 127), (-20.0, -127), (90.0, 127), (-90.0, -127), (0.078, 0), (0.08, 1)]
)
def test_127_stands_for_20_pixels_and_0_for_no_motion(pixels: float, code: int) -> None:
    frames = few().train.frames(0)
    made = StoredFlow(extractor=Made(right=pixels, down=-pixels), size=SIZE)
    assert np.array_equal(made.derive(frames, [0])[0], np.full((*SIZE, 2), (code, -code)))


def test_the_flow_of_the_last_frame_is_zero() -> None:
    frames = few().train.frames(0)
    assert FLOW.derive(frames, [4]).any()
    assert not FLOW.derive(frames, [5]).any()
    assert not FLOW.derive(frames[:1], [0]).any()


def test_each_wanted_flow_is_computed_once() -> None:
    counting = Counting()
    found = StoredFlow(extractor=counting, size=SIZE).derive(few().train.frames(0), [3, 1, 3])
    assert len(counting.heights) == 2
    assert np.array_equal(found, FLOW.derive(few().train.frames(0), range(6))[[3, 1, 3]])


def test_flow_is_serialised_without_loss() -> None:
    values = FLOW.derive(few().train.frames(2), range(8))
    assert np.array_equal(FLOW.decode(FLOW.encode(values), range(8)), values)
    noise = np.random.default_rng(0).integers(-127, 128, (3, *SIZE, 2), np.int8)
    assert np.array_equal(FLOW.decode(FLOW.encode(noise), [2, 0, 2]), noise[[2, 0, 2]])


def test_only_the_wanted_flows_are_decoded() -> None:
    values = FLOW.derive(few().train.frames(0), range(6))
    data = bytearray(FLOW.encode(values))
    start, stop = np.frombuffer(data, "<u4", 7)[2:4]
    spoilt = bytes(data[:28]) + bytes(start - 28) + bytes(data[start:stop]) + bytes(len(data) - stop)
    assert np.array_equal(FLOW.decode(spoilt, [2, 2]), values[[2, 2]])
    with pytest.raises(zlib.error):
        FLOW.decode(spoilt, [1])


def test_the_name_differs_between_sizes_and_between_extractors_with_different_flow() -> None:
    others = [FLOW, replace(FLOW, size=(24, 40)), replace(FLOW, extractor=replace(QUICK, tightness=0.2))]
    assert len({each.name for each in others}) == 3
    assert FLOW.name == StoredFlow(extractor=replace(QUICK), size=SIZE).name
    assert FLOW.name.startswith("tvl1-24x32-")


# Network inputs


def test_stored_flow_and_flow_computed_per_sample_give_the_same_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = few().train.frames(1)
    stored = flow_stacks(FLOW.derive(frames, runs(len(frames), HYPER, None)), HYPER)
    monkeypatch.setitem(EXTRACTORS, "tvl1", replace(QUICK, stored=False))
    computed = flow_stacks(frames[runs(len(frames), HYPER, None)], HYPER)
    assert stored.shape == computed.shape == (2, 6, *SIZE)
    assert np.abs(stored.astype(float) - computed).max() <= 0.5 / 127 + 1e-3


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_clip_shorter_than_a_run_has_no_motion_at_its_end(length: int) -> None:
    hyper = replace(HYPER, positions=1)
    frames = few().train.frames(0)[:length]
    stacks = flow_stacks(FLOW.derive(frames, runs(length, hyper, None)), hyper)[0]
    assert [bool(flow.any()) for flow in stacks[::2]] == [step < length - 1 for step in range(3)]


def test_an_unknown_flow_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^unknown optical flow 'lucas'; known are dis_fast, dis_medium, tvl1"):
        TWO_STREAM_MOTION.inputs.derive(MotionHyper(flow="lucas"))


def test_only_slow_flow_is_stored() -> None:
    assert TWO_STREAM_MOTION.inputs.derive(MotionHyper()) is None
    assert TWO_STREAM_MOTION.inputs.derive(MotionHyper(flow="tvl1")) == StoredFlow(extractor=QUICK, size=(224, 224))


# The store


@dataclass(frozen=True, kw_only=True)
class Counting(TvL1):
    """`QUICK`, recording every call."""

    scales: int = QUICK.scales
    warps: int = QUICK.warps
    most: int = QUICK.most
    heights: list[int] = field(default_factory=list, compare=False)
    """Height of each pair of frames."""

    def flow(self, previous: Grey, following: Grey) -> Flow:
        self.heights.append(len(previous))
        return super().flow(previous, following)


@dataclass(frozen=True)
class CountingCodec:
    """H.264, recording every call of `encode`."""

    name: str = "h264"
    levels: tuple[int, ...] = H264.levels
    shown: tuple[int, ...] = H264.shown
    clips: bool = True
    encoded: list[int] = field(default_factory=list, compare=False)
    """Height of the frames of each call."""

    def encode(self, frames: Frames, level: int) -> bytes:
        self.encoded.append(frames.shape[1])
        return H264.encode(frames, level)

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        return H264.decode(data, wanted)

    def size(self, data: bytes) -> Size:
        return H264.size(data)


def test_the_store_returns_what_direct_derivation_returns(store: Store) -> None:
    source = few()
    stored, direct = store.imagery(source, "test", FLOW), Direct(split=source.test, derived=FLOW)
    assert all_items(stored) == all_items(direct)
    assert all_items(stored, lambda count: [count - 1, 0]) == all_items(direct, lambda count: [count - 1, 0])


def test_sizes_and_shapes_are_those_of_the_frames(store: Store) -> None:
    plain, flow = (all_items(store.imagery(few(), "test", derived)) for derived in (None, FLOW))
    assert [item[2:] for item in flow] == [item[2:] for item in plain]


@pytest.mark.slow
@pytest.mark.parametrize("stream", [TWO_STREAM_SPATIAL, TWO_STREAM_MOTION], ids=lambda stream: stream.name)
def test_a_second_epoch_computes_no_flow_encodes_nothing_and_decodes_no_source(
    store: Store, stream: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, counting, source = CountingCodec(), Counting(), few()
    monkeypatch.setitem(CODECS, "h264", codec)
    monkeypatch.setitem(EXTRACTORS, "tvl1", counting)
    constant = replace(find_recipe(stream, "constant-30", "h264", H264.levels), parents=())
    values = DEMO.budgets[stream.name].hyper if stream is TWO_STREAM_SPATIAL else VALUES
    hyper = replace(stream.hyper, **{**values, "batch_size": 2, "size": SIZE})
    workload = Workload(architecture=stream, hyper=hyper, data=source, runtime=Runtime(store=store))
    epochs = train(workload, constant, epochs=3, seed=0, validation=[Condition(codec="h264", level=30)])

    def work() -> tuple[int, int, int]:
        """Clips encoded, flows computed (both without the probe), and clips read from the source."""
        train, val = source.train, source.val
        assert isinstance(train, Drifting)
        assert isinstance(val, Drifting)
        return codec.encoded.count(48), counting.heights.count(48), len(train.decoded) + len(val.decoded)

    next(epochs)
    assert work() == (6 + 4, 36 + 23 if stream is TWO_STREAM_MOTION else 0, 6 + 4)
    assert len(list(epochs)) == 2
    assert work() == (6 + 4, 36 + 23 if stream is TWO_STREAM_MOTION else 0, 6 + 4)


def test_figures_are_the_same_with_and_without_a_store(store: Store) -> None:
    def figures(runtime: Runtime) -> Any:
        workload = Workload(architecture=TWO_STREAM_MOTION, hyper=HYPER, data=few(), runtime=runtime)
        (epoch,) = train(workload, find_recipe(TWO_STREAM_MOTION, "baseline"), epochs=1, seed=0)
        scores = evaluate(workload, epoch.weights, conditions=[CLEAN, Condition(codec="h264", level=50)])
        return epoch.losses, [(score.bits_per_pixel, score.outputs.tobytes()) for score in scores if score.outputs is not None]

    assert figures(Runtime(store=store)) == figures(Runtime())


def test_figures_show_frames_although_the_network_sees_flow(store: Store) -> None:
    workload = Workload(architecture=TWO_STREAM_MOTION, hyper=HYPER, data=few(), runtime=Runtime(store=store))
    items = samples(workload, "test", keep_frames=1)
    (batch,) = loader(items, evaluation_draws(range(2), 2, Condition(codec="h264", level=30)), Runtime())
    assert [frames.shape for frames in batch.frames] == [(6, 48, 64, 3)]
    assert tuple(batch.examples["clip"].shape) == (2, 2, 6, *SIZE)


def test_only_the_damaged_items_of_a_pack_are_rebuilt(store: Store) -> None:
    counting = Counting()
    derived = StoredFlow(extractor=counting, size=SIZE)
    before = all_items(store.imagery(few(), "test", derived))
    (pack,) = [path for path in packs(store, "tvl1") if path.name.startswith("h264-30-")]
    whole = pack.read_bytes()
    pack.write_bytes(whole[:40] + b"damage" + whole[46:])
    counting.heights.clear()
    assert all_items(store.imagery(few(), "test", derived)) == before
    assert counting.heights.count(48) == 5  # the pairs of the first clip, which has 6 frames
    assert pack.read_bytes() == whole


@pytest.mark.parametrize("spoil", [lambda path: os.truncate(path, 100), Path.unlink])
def test_a_truncated_or_missing_pack_is_rebuilt(store: Store, spoil: Callable[[Path], None]) -> None:
    before = all_items(store.imagery(few(), "test", FLOW))
    for pack in packs(store, "tvl1"):
        spoil(pack)
    assert all_items(store.imagery(few(), "test", FLOW)) == before


@pytest.mark.slow
def test_packs_are_byte_identical_for_any_number_of_processes(tmp_path: Path) -> None:
    made: list[dict[str, bytes]] = []
    for workers in (0, 2):
        store = Store(tmp_path / str(workers), 10**9)
        build(store.imagery(few(), "test", FLOW), each=over_processes(workers))
        made.append({path.name: path.read_bytes() for path in packs(store)})
    assert len(made[0]) == 2 + 3  # frames at two levels; flow at two levels and on clean clips
    assert made[0] == made[1]


def test_building_reports_frames_and_derived_data(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.store.imagery.PROGRESS_SECONDS", 0.0)
    told = build(store.imagery(few(), "test", FLOW))
    assert list(dict.fromkeys(told)) == [
        "test h264-30",
        "test h264-50",
        "test raw tvl1-24x32",
        "test h264-30 tvl1-24x32",
        "test h264-50 tvl1-24x32",
    ]
    assert len(told) == 5 * 4


def test_the_predicted_size_is_close_to_the_actual_size(store: Store) -> None:
    imagery = store.imagery(few(), "train", FLOW)
    for condition in CONDITIONS:
        list(imagery.prepare([condition]))
        start = "raw-" if condition == CLEAN else f"{condition}-"
        (pack,) = [path for path in packs(store, "tvl1") if path.name.startswith(start)]
        assert 0.5 < imagery.predicted_bytes(condition) / pack.stat().st_size < 2


def test_a_size_prediction_computes_one_flow_per_sampled_clip(store: Store) -> None:
    counting = Counting()
    derived = StoredFlow(extractor=counting, size=SIZE)
    assert store.imagery(few(), "train", derived).predicted_bytes(Condition(codec="h264", level=30)) > 0
    assert len(counting.heights) == 4
    assert packs(store) == []


# The study


def jobs(storage: Path, pattern: str, flow: str = "tvl1") -> Any:
    budget = replace(DEMO.budgets["two_stream_motion"], epochs=1, hyper={**VALUES, "flow": flow})
    space = replace(DEMO, budgets={"two_stream_motion": budget}, cells=("*",), data={"action": "tests.test_stored_flow:FEW"})
    return make_plan(space, patterns=[pattern], storage=Folder.at(str(storage)))


def test_a_plan_needs_stored_flow_wherever_it_needs_frames(tmp_path: Path) -> None:
    (needs,) = store_needs(jobs(tmp_path, "*/constant-30")).values()
    assert {need[:2] for need in needs if need[2] is None} == {need[:2] for need in needs if need[2] == FLOW}
    (plain,) = store_needs(jobs(tmp_path, "*/constant-30", flow="dis_fast")).values()
    assert {need[2] for need in plain} == {None}


@pytest.mark.slow
def test_a_trial_stores_flow_before_training_and_before_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.ray_trainable import steps

    monkeypatch.setattr("trainables.store.imagery.PROGRESS_SECONDS", 0.0)
    monkeypatch.setenv("STUDY_STORE", str(tmp_path / "store"))
    plan = jobs(tmp_path / "runs", "*/baseline")
    job = plan.job(plan.entries[0])
    results = list(steps(job))
    assert results[-1] == {"phase": "done", "done": True}
    first = next(number for number, result in enumerate(results) if result["phase"] == "train")
    before, after = (
        {result["pack"] for result in part if result["phase"] == "encode"} for part in (results[:first], results[first:])
    )
    assert before == {"train raw tvl1-24x32", "val raw tvl1-24x32", "val h264-40", "val h264-40 tvl1-24x32"}
    levels = {f"{split} h264-{level}" for split in ("val", "test") for level in H264.levels}
    assert before | after >= levels | {f"{pack} tvl1-24x32" for pack in levels | {"val raw", "test raw"}}
    assert not before & after
    assert not TrialFolder(Folder(job.folder)).failure()


@pytest.mark.slow
def test_the_motion_stream_conforms_with_stored_flow() -> None:
    assert [problem for _, problem in try_out(TWO_STREAM_MOTION, HYPER, few()) if problem] == []


# Real clips


@pytest.mark.slow
def test_both_streams_train_on_real_clips_through_the_store(tmp_path: Path, store: Store) -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set; set it to a folder with ucf101/UCF-101 and clips")
    real = {"action": sorted(Path(place, "ucf101", "UCF-101").rglob("*.avi")), "loose": sorted(Path(place, "clips").glob("*.mp4"))}
    for name, paths in real.items():
        (tmp_path / "clips" / name).mkdir(parents=True)
        for number in range(3):  # the least for three splits
            path = paths[number % len(paths)]
            (tmp_path / "clips" / name / f"{number}{path.suffix}").symlink_to(path)
    source = DATASETS["clips"].source(tmp_path / "clips")
    for stream, own in ((TWO_STREAM_SPATIAL, {}), (TWO_STREAM_MOTION, {"flow": "tvl1"})):
        hyper = replace(stream.hyper, **{**DEMO.budgets[stream.name].hyper, **own})
        workload = Workload(architecture=stream, hyper=hyper, data=source, runtime=Runtime(store=store))
        draws = [[Draw(item, Condition(codec="h264", level=30), (0, item)) for item in range(2)]]
        (batch,) = loader(samples(workload, "train"), draws, workload.runtime)
        loss = stream.learner(hyper, source, 1, "cpu").update(batch.examples)["loss"]
        assert np.isfinite(loss.item())
    assert [("-tvl1-48x64-" in pack.name, pack.name.startswith("h264-30-")) for pack in packs(store)] == [
        (True, True),
        (False, True),
    ]
