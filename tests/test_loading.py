from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from trainables import CODECS, Architecture, Runtime, Schedule, Source
from trainables.contracts import Size
from trainables.engine.loading import Batch, Draw, EpochSampler, Samples, evaluation_draws, loader, samples
from trainables.recipes.schedules import Clean, Constant, Uniform

JPEG = CODECS["jpeg"]
UNIFORM = Uniform(ladder=JPEG.levels)


def batches(
    schedule: Schedule = UNIFORM, *, items: int = 20, epochs: int = 4, epoch: int = 0, key: tuple[int, int] = (5, 1)
) -> list[list[Draw]]:
    sampler = EpochSampler(items, 6, schedule, epochs=epochs, key=key)
    sampler.epoch = epoch
    return list(sampler)


def draws(*args: Any, **settings: Any) -> list[Draw]:
    return [draw for batch in batches(*args, **settings) for draw in batch]


def test_the_same_key_gives_the_same_batches() -> None:
    assert batches() == batches()


def test_iterating_twice_gives_the_same_batches() -> None:
    sampler = EpochSampler(20, 6, UNIFORM, epochs=4, key=(5, 1))
    assert list(sampler) == list(sampler)


def test_an_epoch_can_be_drawn_without_those_before() -> None:
    sampler, drawn = EpochSampler(20, 6, UNIFORM, epochs=4, key=(5, 1)), []
    for epoch in range(4):
        sampler.epoch = epoch
        drawn.append(list(sampler))
    assert drawn[3] == batches(epoch=3)


@pytest.mark.parametrize("epoch", range(4))
def test_every_item_comes_once_an_epoch_at_most(epoch: int) -> None:
    items = [draw.item for draw in draws(epoch=epoch)]
    assert len(set(items)) == len(items) == 18
    assert set(items) < set(range(20))


def test_every_item_comes_once_where_batches_divide_the_split() -> None:
    assert sorted(draw.item for draw in draws(items=24)) == list(range(24))


def test_batches_are_whole_and_as_many_as_the_length_says() -> None:
    assert [len(batch) for batch in batches()] == [6, 6, 6]
    assert len(EpochSampler(20, 6, UNIFORM, epochs=1, key=(0, 0))) == 3


def test_what_is_left_out_changes_with_the_epoch() -> None:
    left_out = {frozenset(range(20)) - {draw.item for draw in draws(epoch=epoch)} for epoch in range(4)}
    assert len(left_out) > 1


@pytest.mark.parametrize("other", [Clean(), Constant(at=10)])
def test_arms_that_differ_in_schedule_share_order_and_augmentation(other: Schedule) -> None:
    assert [(draw.item, draw.key) for draw in draws(UNIFORM)] == [(draw.item, draw.key) for draw in draws(other)]


@pytest.mark.parametrize("change", [{"key": (6, 1)}, {"key": (5, 0)}, {"epoch": 1}], ids=["seed", "generation", "epoch"])
def test_order_levels_and_augmentation_change_with_seed_generation_and_epoch(change: dict[str, Any]) -> None:
    before, after = draws(), draws(**change)
    assert [draw.item for draw in before] != [draw.item for draw in after]
    assert {draw.item: draw.level for draw in before} != {draw.item: draw.level for draw in after}
    assert not {draw.key for draw in before} & {draw.key for draw in after}


def test_no_two_items_share_an_augmentation_stream() -> None:
    keys = [draw.key for draw in draws()]
    assert len(set(keys)) == len(keys)


def test_augmentation_draws_from_another_stream_than_levels() -> None:
    class Record:
        levels = (None,)
        seen: list[float] = []  # noqa: RUF012

        def level(self, progress: float, rng: np.random.Generator) -> None:  # noqa: ARG002
            self.seen.append(rng.random())

    augmentation = [np.random.default_rng(draw.key).random() for draw in draws(Record())]
    assert not set(augmentation) & set(Record.seen)


@dataclass(frozen=True)
class InThousandths:
    """The progress, as a level."""

    levels: tuple[int | None, ...] = tuple(range(1000))

    def level(self, progress: float, rng: np.random.Generator) -> int:  # noqa: ARG002
        return round(1000 * progress)


def test_progress_is_the_share_of_the_training_that_is_done() -> None:
    # 2 epochs of 20 items: the second begins at a half, and its places are 1/40 apart.
    levels = [draw.level for draw in draws(InThousandths(), epochs=2, epoch=1)]
    assert levels == [500 + 25 * place for place in range(18)]


def test_a_batch_larger_than_the_split_is_refused_by_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"batch of 12 .* split of 11"):
        EpochSampler(11, 12, Clean(), epochs=1, key=(0, 0))


def test_evaluation_takes_every_item_once_in_order_without_augmentation() -> None:
    drawn = evaluation_draws(7, 3, 10)
    assert drawn == [[Draw(i, 10, None) for i in part] for part in ((0, 1, 2), (3, 4, 5), (6,))]


def training(architecture: Architecture, hyper: Any, source: Source, keep_frames: int = 0) -> Samples:
    return samples(architecture, hyper, source, "train", "jpeg", Runtime(), keep_frames=keep_frames)


def test_a_clean_sample_is_the_item_as_distributed(segnet: Architecture, hyper: Any, streets: Source) -> None:
    sample = training(segnet, hyper, streets)[Draw(3, None, None)]
    assert np.array_equal(sample.example["image"].transpose(1, 2, 0), streets.train.frames(3)[0])
    assert (sample.size, sample.shape) == (Size(0), (1, 96, 128))


def test_a_compressed_sample_is_the_item_after_the_codec(segnet: Architecture, hyper: Any, streets: Source) -> None:
    sample = training(segnet, hyper, streets)[Draw(3, 10, None)]
    data = JPEG.encode(streets.train.frames(3), 10)
    assert np.array_equal(sample.example["image"].transpose(1, 2, 0), JPEG.decode(data)[0])
    assert (sample.size, sample.shape) == (Size(len(data)), (1, 96, 128))


def test_the_codec_never_touches_a_target(segnet: Architecture, hyper: Any, streets: Source) -> None:
    sample = training(segnet, hyper, streets)[Draw(3, JPEG.levels[-1], None)]
    assert np.array_equal(sample.example["mask"], streets.train.target(3))


def test_a_level_without_a_codec_is_refused(segnet: Architecture, hyper: Any, streets: Source) -> None:
    without = samples(segnet, hyper, streets, "train", None, Runtime())
    with pytest.raises(ValueError, match="level 10 without a codec"):
        _ = without[Draw(0, 10, None)]


def test_samples_of_an_unknown_codec_are_refused_with_those_that_are_known(
    segnet: Architecture, hyper: Any, streets: Source
) -> None:
    with pytest.raises(ValueError, match=r"unknown codec 'nosuch'.*jpeg"):
        samples(segnet, hyper, streets, "train", "nosuch", Runtime())


def read(architecture: Architecture, hyper: Any, source: Source, workers: int, keep_frames: int = 0) -> list[Batch]:
    sampler = EpochSampler(len(source.train.names), 4, UNIFORM, epochs=2, key=(1, 0))
    parts = loader(training(architecture, hyper, source, keep_frames), sampler, Runtime(workers=workers))
    found: list[Batch] = []
    for sampler.epoch in range(2):
        found.extend(parts)
    return found


def test_only_the_first_items_hand_their_frames_out(segnet: Architecture, hyper: Any, streets: Source) -> None:
    drawn = evaluation_draws(12, 5, 10)
    found = list(loader(training(segnet, hyper, streets, 3), drawn, Runtime()))
    frames = [each for batch in found for each in batch.frames]
    assert len(frames) == 3
    for index, each in enumerate(frames):
        assert np.array_equal(each, JPEG.decode(JPEG.encode(streets.train.frames(index), 10)))


def test_loading_leaves_the_random_stream_of_torch_alone(segnet: Architecture, hyper: Any, streets: Source) -> None:
    before = torch.get_rng_state()
    read(segnet, hyper, streets, 0)
    assert torch.equal(before, torch.get_rng_state())


def test_epochs_are_read_in_the_order_of_the_sampler(segnet: Architecture, hyper: Any, streets: Source) -> None:
    sizes = [size.total for batch in read(segnet, hyper, streets, 0) for size in batch.sizes]
    drawn = [draw for epoch in range(2) for draw in _epoch(epoch)]
    assert sizes == [0 if level is None else len(JPEG.encode(streets.train.frames(item), level)) for item, level, _ in drawn]


def _epoch(epoch: int) -> list[Draw]:
    sampler = EpochSampler(12, 4, UNIFORM, epochs=2, key=(1, 0))
    sampler.epoch = epoch
    return [draw for batch in sampler for draw in batch]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_give_the_batches_of_the_training_process(
    segnet: Architecture, hyper: Any, streets: Source, workers: int
) -> None:
    here, there = read(segnet, hyper, streets, 0, 3), read(segnet, hyper, streets, workers, 3)
    assert len(here) == len(there) == 6
    for one, other in zip(here, there, strict=True):
        assert (list(one.sizes), list(one.shapes)) == (list(other.sizes), list(other.shapes))
        assert all(torch.equal(one.examples[name], other.examples[name]) for name in one.examples)
        assert all(np.array_equal(a, b) for a, b in zip(one.frames, other.frames, strict=True))
