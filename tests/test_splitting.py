from dataclasses import replace
from hashlib import sha256

import pytest

from trainables import DATASETS
from trainables.data.splitting import blocks, by_blocks, by_hash


def names(count: int) -> list[str]:
    return [f"{number:05d}" for number in range(count)]


def test_120_frames_are_split_into_70_10_and_20_with_gaps_of_ten() -> None:
    frames = names(120)
    assert by_blocks(frames) == (tuple(frames[:70]), tuple(frames[80:90]), tuple(frames[100:]))


@pytest.mark.parametrize("count", [*range(10, 40), 57, 99, 100, 101, 5000])
def test_blocks_are_contiguous_in_order_and_separated_by_gaps(count: int) -> None:
    parts = by_blocks(names(count))
    train, val, test = ([int(name) for name in part] for part in parts)
    assert min(len(train), len(val), len(test)) > 0
    assert [*train, *val, *test] == sorted({*train, *val, *test})
    for part in (train, val, test):
        assert part == list(range(part[0], part[-1] + 1))
    gap = min(10, count // 10)
    assert (val[0] - train[-1], test[0] - val[-1]) == (gap + 1, gap + 1)
    assert (train[0], test[-1]) == (0, count - 1)


def test_fewer_than_ten_frames_are_refused_with_their_number() -> None:
    with pytest.raises(ValueError, match="9 frames cannot be split"):
        by_blocks(names(9))


def test_splitting_by_hash_puts_every_item_into_one_split() -> None:
    parts = by_hash(names(500))
    assert sorted(name for part in parts for name in part) == names(500)


def test_splitting_by_hash_keeps_the_fractions() -> None:
    train, val, test = (len(part) / 20_000 for part in by_hash(names(20_000)))
    assert (train, val, test) == pytest.approx((0.7, 0.1, 0.2), abs=0.01)


def test_an_item_keeps_its_split_when_others_are_added() -> None:
    few, many = by_hash(names(50)), by_hash(names(500))
    assert all(set(part) <= set(larger) for part, larger in zip(few, many, strict=True))


def test_the_hash_of_its_name_decides_an_items_split() -> None:
    name = "0000000.png"
    place = int(sha256(name.encode()).hexdigest(), 16) / 2**256
    assert [name in part for part in by_hash([name])] == [place < 0.7, 0.7 <= place < 0.8, place >= 0.8]


def test_groups_are_ten_consecutive_frames_and_do_not_cross_sequences() -> None:
    frames = [f"{sequence}/{number:02d}" for sequence in "ab" for number in range(12)]
    assert blocks(frames, lambda name: name[0]) == [*["a/00"] * 10, *["a/10"] * 2, *["b/00"] * 10, *["b/10"] * 2]


def test_an_opened_data_set_has_the_name_of_its_entry() -> None:
    mine = replace(DATASETS["street_scenes"], name="mine")
    assert mine.source(None).name == "mine"
