from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from trainables import CLEAN, CODECS, Condition, Frames, Inputs, Pair, Recipe, Runtime, Schedule, Workload
from trainables.contracts import Size
from trainables.engine.loading import Batch, Draw, EpochSampler, evaluation_draws, loader, samples
from trainables.recipes.schedules import Clean, Constant, Uniform

JPEG = CODECS["jpeg"]
AT_10 = Condition(codec="jpeg", level=10)
UNIFORM = Uniform(ladder=JPEG.levels)


def recipe(schedule: Schedule) -> Recipe:
    return Recipe(name="own", codec="jpeg", schedule=schedule)


def batches(
    schedule: Schedule = UNIFORM, *, items: int = 20, epochs: int = 4, epoch: int = 0, key: tuple[int, int] = (5, 1)
) -> list[list[Draw]]:
    sampler = EpochSampler(range(items), 6, recipe(schedule), epochs=epochs, key=key)
    sampler.epoch = epoch
    return list(sampler)


def draws(*args: Any, **settings: Any) -> list[Draw]:
    return [draw for batch in batches(*args, **settings) for draw in batch]


def test_the_same_key_gives_the_same_batches() -> None:
    assert batches() == batches()


def test_iterating_twice_gives_the_same_batches() -> None:
    sampler = EpochSampler(range(20), 6, recipe(UNIFORM), epochs=4, key=(5, 1))
    assert list(sampler) == list(sampler)


def test_an_epoch_does_not_depend_on_earlier_epochs_being_drawn() -> None:
    sampler, drawn = EpochSampler(range(20), 6, recipe(UNIFORM), epochs=4, key=(5, 1)), []
    for epoch in range(4):
        sampler.epoch = epoch
        drawn.append(list(sampler))
    assert drawn[3] == batches(epoch=3)


@pytest.mark.parametrize("epoch", range(4))
def test_an_epoch_draws_no_item_twice(epoch: int) -> None:
    items = [draw.item for draw in draws(epoch=epoch)]
    assert len(set(items)) == len(items) == 18
    assert set(items) < set(range(20))


def test_an_epoch_draws_every_item_where_batches_divide_the_split() -> None:
    assert sorted(draw.item for draw in draws(items=24)) == list(range(24))


def test_every_batch_is_full_and_the_sampler_knows_their_number() -> None:
    assert [len(batch) for batch in batches()] == [6, 6, 6]
    assert len(EpochSampler(range(20), 6, recipe(UNIFORM), epochs=1, key=(0, 0))) == 3


def test_each_epoch_leaves_out_different_items() -> None:
    left_out = {frozenset(range(20)) - {draw.item for draw in draws(epoch=epoch)} for epoch in range(4)}
    assert len(left_out) > 1


@pytest.mark.parametrize("other", [Clean(), Constant(at=10)])
def test_recipes_that_differ_in_schedule_share_order_and_augmentation(other: Schedule) -> None:
    assert [(draw.item, draw.key) for draw in draws(UNIFORM)] == [(draw.item, draw.key) for draw in draws(other)]


@pytest.mark.parametrize("change", [{"key": (6, 1)}, {"key": (5, 0)}, {"epoch": 1}], ids=["seed", "generation", "epoch"])
def test_order_levels_and_augmentation_change_with_seed_generation_and_epoch(change: dict[str, Any]) -> None:
    before, after = draws(), draws(**change)
    assert [draw.item for draw in before] != [draw.item for draw in after]
    assert {draw.item: draw.condition for draw in before} != {draw.item: draw.condition for draw in after}
    assert not {draw.key for draw in before} & {draw.key for draw in after}


def test_no_two_items_share_an_augmentation_stream() -> None:
    keys = [draw.key for draw in draws()]
    assert len(set(keys)) == len(keys)


def test_augmentation_and_levels_use_different_streams() -> None:
    class Recording:
        levels = (None,)
        seen: list[float] = []  # noqa: RUF012

        def level(self, progress: float, rng: np.random.Generator) -> None:  # noqa: ARG002
            self.seen.append(rng.random())

    augmentation = [np.random.default_rng(draw.key).random() for draw in draws(Recording())]
    assert not set(augmentation) & set(Recording.seen)


@dataclass(frozen=True)
class InThousandths:
    """Returns the progress as a level."""

    levels: tuple[int | None, ...] = tuple(range(1000))

    def level(self, progress: float, rng: np.random.Generator) -> int:  # noqa: ARG002
        return round(1000 * progress)


def test_progress_is_the_completed_fraction_of_the_training() -> None:
    # 2 epochs of 20 items: the second begins at 1/2, and its places are 1/40 apart.
    levels = [draw.condition.level for draw in draws(InThousandths(), epochs=2, epoch=1)]
    assert levels == [500 + 25 * place for place in range(18)]


def test_a_batch_larger_than_the_split_is_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"^batch_size 12 exceeds the 11 items of the training split: lower batch_size$"):
        EpochSampler(range(11), 12, recipe(Clean()), epochs=1, key=(0, 0))


def test_a_recipe_without_a_schedule_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="recipe fused has no schedule: it does not train"):
        EpochSampler(range(12), 4, Recipe(name="fused"), epochs=1, key=(0, 0))


def test_evaluation_draws_every_item_once_in_order_without_augmentation() -> None:
    drawn = evaluation_draws(range(7), 3, AT_10)
    assert drawn == [[Draw(i, AT_10, None) for i in part] for part in ((0, 1, 2), (3, 4, 5), (6,))]


def test_a_clean_sample_is_the_item_as_distributed(workload: Workload) -> None:
    sample = samples(workload, "train")[Draw(3, CLEAN, None)]
    assert np.array_equal(sample.example["image"].transpose(1, 2, 0), workload.data.train.frames(3)[0])
    assert (sample.size, sample.shape) == (Size(0), (1, 96, 128))


def test_a_compressed_sample_is_the_item_after_the_codec(workload: Workload) -> None:
    sample = samples(workload, "train")[Draw(3, AT_10, None)]
    data = JPEG.encode(workload.data.train.frames(3), 10)
    assert np.array_equal(sample.example["image"].transpose(1, 2, 0), JPEG.decode(data)[0])
    assert (sample.size, sample.shape) == (Size(len(data)), (1, 96, 128))


def test_the_codec_does_not_change_the_target(workload: Workload) -> None:
    sample = samples(workload, "train")[Draw(3, Condition(codec="jpeg", level=JPEG.levels[-1]), None)]
    assert np.array_equal(sample.example["mask"], workload.data.train.target(3))


def test_an_unknown_codec_is_refused_when_an_item_is_read(workload: Workload) -> None:
    with pytest.raises(ValueError, match=r"unknown codec 'jpg'; did you mean 'jpeg'\?"):
        _ = samples(workload, "train")[Draw(0, Condition(codec="jpg", level=10), None)]


def read(workload: Workload, *, keep_frames: int = 0, paired: bool = False) -> list[Batch]:
    """The training batches of two epochs."""
    sampler = EpochSampler(range(len(workload.data.train.names)), 4, recipe(UNIFORM), epochs=2, key=(1, 0))
    parts = loader(samples(workload, "train", keep_frames=keep_frames, paired=paired), sampler, workload.runtime)
    found: list[Batch] = []
    for sampler.epoch in range(2):
        found.extend(parts)
    return found


def drawn_by_read() -> list[Draw]:
    sampler, found = EpochSampler(range(12), 4, recipe(UNIFORM), epochs=2, key=(1, 0)), list[Draw]()
    for sampler.epoch in range(2):
        found += [draw for batch in sampler for draw in batch]
    return found


def test_only_the_first_items_return_their_frames(workload: Workload) -> None:
    found = list(loader(samples(workload, "train", keep_frames=3), evaluation_draws(range(12), 5, AT_10), Runtime()))
    frames = [each for batch in found for each in batch.frames]
    assert len(frames) == 3
    for index, each in enumerate(frames):
        assert np.array_equal(each, JPEG.decode(JPEG.encode(workload.data.train.frames(index), 10)))


def test_loading_does_not_use_the_global_random_stream_of_torch(workload: Workload) -> None:
    before = torch.get_rng_state()
    read(workload)
    assert torch.equal(before, torch.get_rng_state())


def test_batches_come_in_the_order_of_the_sampler(workload: Workload) -> None:
    sizes = [size.total for batch in read(workload) for size in batch.sizes]

    def encoded(draw: Draw) -> int:
        level = draw.condition.level
        return 0 if level is None else len(JPEG.encode(workload.data.train.frames(draw.item), level))

    assert sizes == [encoded(draw) for draw in drawn_by_read()]


def flipped_at_random(
    frames: Frames,
    target: npt.NDArray[np.uint8],
    hyper: Any,  # noqa: ARG001
    rng: np.random.Generator | None,
) -> Any:
    """SegNet's example, mirrored with probability 1/2."""
    image = frames[0].transpose(2, 0, 1)
    if rng is not None and rng.random() < 0.5:
        image, target = image[..., ::-1], target[:, ::-1]
    return {"image": image.copy(), "mask": target.copy()}


@pytest.fixture
def flipping(workload: Workload) -> Workload:
    return replace(workload, architecture=replace(workload.architecture, inputs=Inputs(example=flipped_at_random)))


def test_a_pair_is_one_item_under_the_drawn_condition_and_clean_with_the_same_augmentation(flipping: Workload) -> None:
    pairs, single = samples(flipping, "train", paired=True), samples(flipping, "train")
    flips = set()
    for index in range(12):
        draw = Draw(index, AT_10, (7, index))
        sample = pairs[draw]
        assert isinstance(sample.example, Pair)
        compressed, clean = single[draw], single[draw._replace(condition=CLEAN)]
        for name in ("image", "mask"):
            assert np.array_equal(sample.example.compressed[name], compressed.example[name])
            assert np.array_equal(sample.example.clean[name], clean.example[name])
        assert np.array_equal(sample.example.compressed["mask"], sample.example.clean["mask"])
        assert not np.array_equal(sample.example.compressed["image"], sample.example.clean["image"])
        assert (sample.size, sample.shape) == (compressed.size, compressed.shape)
        flips.add(np.array_equal(sample.example.clean["mask"], flipping.data.train.target(index)))
    assert flips == {True, False}  # both augmentations occurred


def copied(frames: Frames, target: Any, hyper: Any, rng: Any) -> Any:  # noqa: ARG001
    return frames.copy()


def random_window(count: int, hyper: Any, rng: np.random.Generator | None) -> list[int]:  # noqa: ARG001
    """The one frame of a still, a random number of times."""
    assert rng is not None
    return [0] * int(rng.integers(1, 9))


def test_both_parts_of_a_pair_have_the_same_window(workload: Workload) -> None:
    inputs = Inputs(example=copied, window=random_window)
    windowed = replace(workload, architecture=replace(workload.architecture, inputs=inputs))
    pairs = samples(windowed, "train", paired=True)
    shapes = set()
    for key in range(8):
        compressed, clean = pairs[Draw(0, AT_10, (key,))].example
        assert compressed.shape == clean.shape
        shapes.add(clean.shape)
    assert len(shapes) > 1


def test_pairs_are_collated_into_a_pair_of_batches(flipping: Workload) -> None:
    for paired, plain in zip(read(flipping, paired=True), read(flipping), strict=True):
        assert isinstance(paired.examples, Pair)
        compressed, clean = paired.examples
        assert torch.equal(compressed["image"], plain.examples["image"])
        assert torch.equal(compressed["mask"], clean["mask"])
        assert clean["image"].shape == compressed["image"].shape
        assert (list(paired.sizes), list(paired.shapes)) == (list(plain.sizes), list(plain.shapes))


def test_a_clean_draw_gives_a_pair_of_equal_parts(flipping: Workload) -> None:
    compressed, clean = samples(flipping, "train", paired=True)[Draw(2, CLEAN, (1,))].example
    assert np.array_equal(compressed["image"], clean["image"])


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Pair):
        return isinstance(other, Pair) and all(map(equal, one, other))
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("paired", [False, True], ids=["single", "paired"])
def test_loader_workers_give_the_batches_of_the_training_process(flipping: Workload, workers: int, paired: bool) -> None:
    here = read(flipping, keep_frames=3, paired=paired)
    there = read(replace(flipping, runtime=Runtime(workers=workers)), keep_frames=3, paired=paired)
    assert len(here) == len(there) == 6
    for one, other in zip(here, there, strict=True):
        assert (list(one.sizes), list(one.shapes)) == (list(other.sizes), list(other.shapes))
        assert equal(one.examples, other.examples)
        assert all(np.array_equal(a, b) for a, b in zip(one.frames, other.frames, strict=True))
