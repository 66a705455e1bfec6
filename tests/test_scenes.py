import dataclasses
import functools

import numpy as np
import pytest

from trainables.scenes import (
    CLASSES,
    FAR,
    IGNORED,
    JOINTS,
    OBJECTS,
    PEOPLE,
    STREET,
    STREET_WITH_DOGS,
    Mix,
    Person,
    Pose,
    Scene,
    Sign,
    describe,
    render,
    skeleton,
    street,
)

PERSON = OBJECTS.index("person")
CLASS_OF_OBJECT = {"person": "person", "car": "car", "truck": "car", "sign": "sign"}
COCO_JOINTS = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
]


@functools.cache
def scenes(mix: Mix = STREET) -> tuple[Scene, ...]:
    return tuple(street(3, index, mix=mix) for index in range(40))


def is_same(one: Scene, other: Scene) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(Scene))


def people_of(scene: Scene) -> list[tuple[int, np.ndarray]]:
    """Instance number and joints of each person."""
    return list(zip(np.flatnonzero(scene.labels == PERSON) + 1, scene.joints, strict=True))


def test_the_same_seed_and_index_give_the_same_scene() -> None:
    assert is_same(street(5, 7), street(5, 7))


def test_a_scene_does_not_depend_on_earlier_calls() -> None:
    forwards = [street(5, index) for index in range(4)]
    backwards = [street(5, index) for index in reversed(range(4))]
    assert all(is_same(one, other) for one, other in zip(forwards, reversed(backwards), strict=True))


def test_a_scene_does_not_depend_on_numpys_global_generator() -> None:
    np.random.seed(1)  # noqa: NPY002 - the global generator must have no influence
    one = street(5, 7)
    np.random.seed(2)  # noqa: NPY002
    assert is_same(one, street(5, 7))


def test_another_index_gives_another_scene() -> None:
    assert not np.array_equal(street(5, 7).classes, street(5, 8).classes)


def test_another_seed_gives_another_scene() -> None:
    assert not np.array_equal(street(5, 7).classes, street(6, 7).classes)


def test_seed_and_index_are_not_interchangeable() -> None:
    assert not np.array_equal(street(5, 7).classes, street(7, 5).classes)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (32, 33), (75, 101)])
def test_arrays_have_the_documented_shapes_and_types(height: int, width: int) -> None:
    scene = street(0, 0, height=height, width=width)
    number, people = len(scene.labels), int((scene.labels == PERSON).sum())
    found = {field.name: getattr(scene, field.name) for field in dataclasses.fields(Scene)}
    assert {name: (array.shape, array.dtype.name) for name, array in found.items()} == {
        "rgb": ((height, width, 3), "uint8"),
        "classes": ((height, width), "uint8"),
        "depth": ((height, width), "float32"),
        "instances": ((height, width), "int16"),
        "boxes": ((number, 4), "float32"),
        "labels": ((number,), "int64"),
        "joints": ((people, 17, 3), "float32"),
        "areas": ((people,), "float32"),
    }


def test_a_scene_without_objects_has_empty_arrays_of_the_same_rank() -> None:
    nothing = Mix(cars=(0, 0), trucks=(0, 0), people=(0, 0), signs=(0, 0))
    scene = street(0, 0, mix=nothing)
    assert (scene.boxes.shape, scene.labels.shape, scene.joints.shape, scene.areas.shape) == (
        (0, 4),
        (0,),
        (0, 17, 3),
        (0,),
    )
    assert not scene.instances.any()


def test_every_pixel_of_a_street_has_a_class() -> None:
    assert max(scene.classes.max() for scene in scenes()) < len(CLASSES)


def test_no_class_dominates_or_vanishes() -> None:
    pixels = np.concatenate([scene.classes.ravel() for scene in scenes()])
    shares = dict(zip(CLASSES, np.bincount(pixels, minlength=len(CLASSES)) / pixels.size, strict=True))
    assert {name: share for name, share in shares.items() if not 0.004 < share < 0.45} == {}


def test_every_kind_of_object_occurs_in_a_mix_with_dogs() -> None:
    labels = np.concatenate([scene.labels for scene in scenes(STREET_WITH_DOGS)])
    assert set(labels) == set(range(len(OBJECTS)))


def test_the_default_mix_has_no_dogs() -> None:
    assert OBJECTS.index("dog") not in np.concatenate([scene.labels for scene in scenes()])


def test_pictures_use_the_range_of_grey_values() -> None:
    spreads = [scene.rgb.std() for scene in scenes()]
    assert min(spreads) > 10
    assert np.mean([scene.rgb.mean() for scene in scenes()]) == pytest.approx(128, abs=40)


def test_labels_are_indices_into_the_objects() -> None:
    labels = np.concatenate([scene.labels for scene in scenes(STREET_WITH_DOGS)])
    assert labels.min() >= 0
    assert labels.max() < len(OBJECTS)


@pytest.mark.parametrize("mix", [STREET, STREET_WITH_DOGS, PEOPLE])
def test_boxes_are_the_tight_boxes_of_the_visible_pixels(mix: Mix) -> None:
    for scene in scenes(mix):
        for number, box in enumerate(scene.boxes, start=1):
            rows, columns = np.nonzero(scene.instances == number)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_instances_are_numbered_as_the_rows_of_the_boxes() -> None:
    for scene in scenes():
        assert set(np.unique(scene.instances)) - {0} == set(range(1, len(scene.boxes) + 1))


def test_instances_have_a_minimum_size() -> None:
    for scene in scenes():
        sizes = scene.boxes[:, 2:] - scene.boxes[:, :2]
        pixels = np.bincount(scene.instances.ravel())[1:]
        assert (sizes >= (4, 5)).all()
        assert (pixels >= 12).all()


def test_the_pixels_of_an_instance_carry_the_class_of_its_label() -> None:
    for scene in scenes():
        for number, label in enumerate(scene.labels, start=1):
            expected = CLASSES.index(CLASS_OF_OBJECT[OBJECTS[label]])
            assert set(scene.classes[scene.instances == number]) == {expected}


def test_dogs_are_ignored_in_the_class_map() -> None:
    dog = OBJECTS.index("dog")
    of_dogs = [
        scene.classes[scene.instances == number]
        for scene in scenes(STREET_WITH_DOGS)
        for number in np.flatnonzero(scene.labels == dog) + 1
    ]
    assert set(np.concatenate(of_dogs)) == {IGNORED}


def test_depth_is_positive_and_bounded() -> None:
    for scene in scenes():
        assert scene.depth.min() > 0
        assert scene.depth.max() <= FAR


def test_the_sky_has_the_largest_depth() -> None:
    for scene in scenes():
        sky = scene.classes == CLASSES.index("sky")
        assert (scene.depth[sky] == FAR).all()
        assert (scene.depth[~sky] <= FAR).all()


def test_the_depth_of_the_road_falls_towards_the_bottom_of_the_picture() -> None:
    scene = street(3, 0)
    road = scene.classes == CLASSES.index("road")
    rows = np.flatnonzero(road.any(axis=1))
    depths = np.array([scene.depth[row][road[row]].mean() for row in rows])
    assert (np.diff(depths) < 0).all()


def test_the_depth_of_an_object_is_its_distance() -> None:
    rng = np.random.default_rng(2)
    description = describe(rng)
    person = next(thing for thing in description.things if isinstance(thing, Person))
    alone = dataclasses.replace(description, things=(dataclasses.replace(person, x=0.0, distance=6.25),))
    scene = render(alone, 96, 128)
    assert set(scene.depth[scene.instances == 1]) == {np.float32(6.25)}


def test_all_pixels_of_an_instance_have_one_depth() -> None:
    for scene in scenes(STREET_WITH_DOGS):
        for number in range(1, len(scene.labels) + 1):
            assert np.ptp(scene.depth[scene.instances == number]) == 0


def test_the_nearer_of_two_things_hides_the_farther_in_any_order() -> None:
    description = describe(np.random.default_rng(2))
    person = next(thing for thing in description.things if isinstance(thing, Person))
    near = dataclasses.replace(person, x=0.0, distance=5.0)
    far = dataclasses.replace(person, x=0.0, distance=5.5)
    pictures = [render(dataclasses.replace(description, things=things), 96, 128) for things in ((near, far), (far, near))]
    assert np.array_equal(pictures[0].rgb, pictures[1].rgb)
    assert np.array_equal(pictures[0].depth, pictures[1].depth)


def test_the_joints_are_cocos_in_cocos_order() -> None:
    assert list(JOINTS) == COCO_JOINTS


def test_a_standing_skeleton_has_all_joints_and_stands_on_the_ground() -> None:
    places = skeleton(Pose())
    assert set(JOINTS) < set(places)
    assert min(places[f"{side}_ankle"][1] for side in ("left", "right")) == pytest.approx(0.06)
    assert 1.5 < places["nose"][1] < 1.75


def test_the_left_side_of_a_person_is_on_the_right_of_the_picture() -> None:
    places = skeleton(Pose())
    pairs = [(name, name.replace("left", "right")) for name in JOINTS if name.startswith("left")]
    assert len(pairs) == 8
    assert all(places[left][0] > places[right][0] for left, right in pairs)


def test_a_crouching_person_is_shorter() -> None:
    assert skeleton(Pose(crouch=0.3))["nose"][1] == pytest.approx(skeleton(Pose())["nose"][1] - 0.3, abs=0.05)


def test_every_labelled_person_has_joints_and_an_area() -> None:
    for scene in scenes(PEOPLE):
        areas = [(scene.instances == number).sum() for number in np.flatnonzero(scene.labels == PERSON) + 1]
        assert len(scene.joints) == len(areas)
        assert scene.areas.tolist() == areas


def test_joints_inside_the_picture_are_visible_or_occluded_and_others_are_zero() -> None:
    joints = np.concatenate([scene.joints for scene in scenes(PEOPLE)]).reshape(-1, 3)
    outside = joints[joints[:, 2] == 0]
    inside = joints[joints[:, 2] > 0]
    assert len(outside)
    assert not outside.any()
    assert (inside[:, :2] >= 0).all()
    assert (inside[:, :2] < (128, 96)).all()


def test_a_joint_is_occluded_exactly_where_a_nearer_thing_is_visible() -> None:
    flags: list[int] = []
    for scene in (*scenes(), *scenes(PEOPLE)):
        for number, joints in people_of(scene):
            distance = scene.depth[scene.instances == number][0]
            seen = joints[joints[:, 2] > 0]
            columns, rows = seen[:, 0].astype(int), seen[:, 1].astype(int)
            assert np.array_equal(seen[:, 2] == 1, scene.depth[rows, columns] < distance)
            flags.extend(seen[:, 2])
    assert set(flags) == {1, 2}


def test_visible_joints_of_near_people_lie_on_them() -> None:
    on_person = []
    for scene in scenes(PEOPLE):
        for number, joints in people_of(scene):
            visible = joints[joints[:, 2] == 2].astype(int)
            on_person.extend(scene.instances[visible[:, 1], visible[:, 0]] == number)
    assert np.mean(on_person) > 0.97


def test_people_in_the_pose_mix_are_large() -> None:
    heights = np.concatenate([(scene.boxes[:, 3] - scene.boxes[:, 1])[scene.labels == PERSON] for scene in scenes(PEOPLE)])
    assert np.mean(heights >= 28) > 0.9


def test_the_post_of_a_sign_is_not_part_of_its_instance() -> None:
    description = describe(np.random.default_rng(0), Mix(signs=(1, 1)))
    sign = next(thing for thing in description.things if isinstance(thing, Sign))
    near = dataclasses.replace(sign, x=0.0, distance=6.0)
    scene = render(dataclasses.replace(description, things=(near,)), 96, 128)
    pole = scene.classes == CLASSES.index("pole")
    assert pole.any()
    assert not scene.instances[pole].any()


def test_the_noise_seed_changes_only_the_noise() -> None:
    description = describe(np.random.default_rng(4))
    quiet = render(description, 96, 128)
    other = render(dataclasses.replace(description, noise_seed=description.noise_seed + 1), 96, 128)
    difference = quiet.rgb.astype(int) - other.rgb.astype(int)
    assert 0.5 < difference.std() < 8
    assert is_same(dataclasses.replace(quiet, rgb=other.rgb), other)


def test_a_larger_picture_shows_the_same_street() -> None:
    small, large = street(1, 4, height=96, width=128), street(1, 4, height=192, width=256)
    assert np.mean(small.classes == large.classes[1::2, 1::2]) > 0.95


@pytest.mark.parametrize(("name", "seed", "index"), [("seed", -3, 0), ("index", 0, -3)])
def test_a_negative_seed_or_index_is_refused_by_name_and_value(name: str, seed: int, index: int) -> None:
    with pytest.raises(ValueError, match=f"{name}.*-3"):
        street(seed, index)


@pytest.mark.parametrize(("name", "height", "width"), [("height", 31, 96), ("width", 96, 31)])
def test_a_size_below_the_minimum_is_refused_by_name_and_value(name: str, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{name}.*31"):
        street(0, 0, height=height, width=width)
