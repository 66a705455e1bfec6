import dataclasses
import functools

import numpy as np
import pytest

from trainables.scenes import Person, render
from trainables.scenes.clips import ACTIONS, GROUNDS, Clip, action_of, clip, describe_clip, render_clip

STILL = ((0.0, 0.0),) * 16


@functools.cache
def described(action: str, seed: int = 3) -> Clip:
    return describe_clip(np.random.default_rng(seed), ACTIONS.index(action))


def actor(action: str, seed: int = 3) -> list[Person]:
    """The acting person in each frame."""
    return [people[0] for people in described(action, seed).people]


def quiet(description: Clip) -> Clip:
    """The clip without noise, uneven light and shake."""
    light = dataclasses.replace(description.place.light, noise=0.0, slope=(0.0, 0.0))
    return dataclasses.replace(description, place=dataclasses.replace(description.place, light=light), shake=STILL)


def test_a_clip_is_16_rgb_frames() -> None:
    frames = clip(0, 11)
    assert (frames.shape, frames.dtype) == ((16, 96, 128, 3), np.dtype(np.uint8))


def test_actions_cycle_by_index() -> None:
    assert [action_of(index) for index in range(10)] == [0, 1, 2, 3, 4, 5, 6, 7, 0, 1]


def test_a_clip_renders_the_description_of_its_action() -> None:
    assert np.array_equal(clip(3, 11), render_clip(describe_clip(np.random.default_rng([3, 11]), action_of(11)), 96, 128))


def test_the_same_seed_and_index_give_the_same_clip() -> None:
    assert np.array_equal(clip(5, 7), clip(5, 7))


@pytest.mark.parametrize(("seed", "index"), [(5, 8), (6, 7), (7, 5)])
def test_another_seed_or_index_gives_another_clip(seed: int, index: int) -> None:
    assert not np.array_equal(clip(5, 7), clip(seed, index))


@pytest.mark.parametrize("seed", range(3))
def test_a_frame_without_shake_equals_the_rendered_place_with_its_people(seed: int) -> None:
    description = dataclasses.replace(described("walk_left", seed), shake=STILL)
    place, frames = description.place, render_clip(description, 96, 128)
    for number in (0, 9):
        things = (*place.things, *description.people[number])
        alone = dataclasses.replace(place, things=things, noise_seed=place.noise_seed + number)
        assert np.array_equal(frames[number], render(alone, 96, 128).rgb)


def test_things_in_front_of_the_people_hide_them() -> None:
    description = dataclasses.replace(described("wave"), shake=STILL)
    person = description.people[0][0]
    nearer = dataclasses.replace(person, distance=person.distance - 1)
    crowded = dataclasses.replace(
        description, place=dataclasses.replace(description.place, things=(*description.place.things, nearer))
    )
    expected = dataclasses.replace(crowded.place, things=(*crowded.place.things, *description.people[0]))
    assert np.array_equal(render_clip(crowded, 96, 128)[0], render(expected, 96, 128).rgb)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, 2), (-2, -3)])
def test_shake_translates_the_picture(right: int, down: int) -> None:
    description = quiet(described("wave"))
    moved = dataclasses.replace(description, shake=((right, down),) * 16)
    before, after = (render_clip(each, 96, 128)[0].astype(int) for each in (description, moved))
    assert np.abs(after[8:-8, 8:-8] - before[8 + down : 88 + down, 8 + right : 120 + right]).max() <= 1


def test_each_frame_has_its_own_noise() -> None:
    description = described("wave")
    frozen = dataclasses.replace(description, people=description.people[:1] * 16, shake=STILL)
    frames = render_clip(frozen, 96, 128).astype(int)
    assert 0.5 < (frames[1] - frames[0]).std() < 8


@pytest.mark.parametrize(("action", "sign"), [("walk_left", -1), ("walk_right", 1)])
def test_a_walking_person_moves_steadily_to_one_side(action: str, sign: int) -> None:
    steps = np.diff([person.x for person in actor(action)])
    assert (sign * steps > 0.04).all()


def test_an_approaching_person_comes_nearer() -> None:
    assert (np.diff([person.distance for person in actor("approach")]) < -0.04).all()


def test_only_a_jumping_person_leaves_the_ground() -> None:
    lifts = {action: max(person.lift for seed in range(4) for person in actor(action, seed)) for action in ACTIONS}
    assert lifts.pop("jump") > 0.2
    assert set(lifts.values()) == {0.0}


@pytest.mark.parametrize(("action", "field"), [("raise_arms", "left_shoulder"), ("squat", "crouch"), ("sway", "lean")])
def test_a_joint_moves_only_in_its_own_action(action: str, field: str) -> None:
    spans = {each: np.ptp([getattr(person.pose, field) for person in actor(each)]) for each in ACTIONS}
    assert spans.pop(action) > 0.2
    assert set(spans.values()) == {0.0}


def test_waving_moves_one_arm_and_raising_arms_moves_both() -> None:
    spans = {
        (action, side): np.ptp([getattr(person.pose, f"{side}_shoulder") for person in actor(action)])
        for action in ("wave", "raise_arms")
        for side in ("left", "right")
    }
    wide = {moved for moved, span in spans.items() if span > 1}
    assert wide == {("wave", "right"), ("raise_arms", "left"), ("raise_arms", "right")}
    assert spans["wave", "left"] == 0


def test_joints_rise_with_a_jumping_person() -> None:
    person = actor("jump")[0]
    low, high = (np.array(list(dataclasses.replace(person, lift=lift).joints().values())) for lift in (0.0, 0.3))
    assert high == pytest.approx(low + np.array([0, 0.3]))


def test_most_clips_show_an_action_on_its_usual_ground() -> None:
    for action, own in zip(ACTIONS, GROUNDS, strict=True):
        patterns = [described(action, seed).place.ground.pattern for seed in range(60)]
        assert 0.6 < np.mean([pattern == own for pattern in patterns]) < 1


def test_each_action_has_its_own_ground() -> None:
    assert len(set(GROUNDS)) == len(ACTIONS)


def test_a_pattern_shows_only_on_the_ground() -> None:
    description = quiet(described("wave"))
    ground = dataclasses.replace(description.place.ground, pattern=None)
    plain = dataclasses.replace(description, place=dataclasses.replace(description.place, ground=ground))
    one, other = (render_clip(each, 96, 128)[0].astype(int) for each in (description, plain))
    horizon = round(96 * description.place.camera.horizon)
    assert np.array_equal(one[:horizon], other[:horizon])
    assert (one != other)[horizon + 8 :].mean() > 0.4


def test_the_people_in_front_stay_in_view() -> None:
    for action in ACTIONS:
        description = described(action)
        for people in description.people:
            left, right = description.place.camera.view_ends(people[0].distance)
            assert left < people[0].x < right
