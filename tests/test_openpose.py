import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from search_spaces import SPACES
from tests.test_pose_data import tree
from trainables import ARCHITECTURES, CODECS, DATASETS, Condition, Frames, Runtime, Source, Split, Store, evaluate, train
from trainables.engine.loading import Draw, evaluation_draws, loader, samples
from trainables.tasks.pose import STRIDES, OpenPoseHyper
from trainables.tasks.pose.augmentation import draw, warped, whole
from trainables.tasks.pose.grouping import PUBLISHED, THRESHOLDS, Found
from trainables.tasks.pose.openpose import OpenPose, PoseLearner, imagenet, openpose, vgg19
from trainables.tasks.pose.skeleton import KEYPOINTS, People, asked_for
from trainables.tasks.pose.targets import FIELDS, MAPS
from trainables.recipes.recipes import BASELINE

OPENPOSE = ARCHITECTURES["openpose"]
DEMO = OPENPOSE.hyper(**SPACES["demo"].budgets["openpose"].hyper)
LEFT_WRIST, RIGHT_WRIST = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("right_wrist")


# Network


def test_the_published_network_has_its_parameters() -> None:
    with torch.device("meta"):
        network = openpose(OpenPoseHyper(), 8, 1, "meta").network

    def convolutions(*shapes: tuple[int, int, int]) -> int:
        return sum(before * after * kernel**2 + after for before, after, kernel in shapes)

    vgg = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), *[(256, 256)] * 3, (256, 512), (512, 512), (512, 256), (256, 128)]
    expected = convolutions(*((before, after, 3) for before, after in vgg))
    for after in (38, 19):
        expected += convolutions(*[(128, 128, 3)] * 3, (128, 512, 1), (512, after, 1))
        expected += 5 * convolutions((185, 128, 7), *[(128, 128, 7)] * 4, (128, 128, 1), (128, after, 1))
    assert sum(each.numel() for each in network.parameters()) == expected
    assert expected == pytest.approx(52.3e6, abs=0.1e6)


def test_the_published_network_puts_out_a_map_a_cell_of_eight_pixels_at_each_of_six_stages() -> None:
    with torch.device("meta"):
        network = openpose(OpenPoseHyper(), 8, 1, "meta").network
        stages = network(torch.empty(2, 3, 368, 368))
    assert [tuple(each.shape for each in stage) for stage in stages] == [((2, FIELDS, 46, 46), (2, MAPS, 46, 46))] * 6


@pytest.mark.parametrize("trunk", STRIDES)
def test_a_trunk_has_the_stride_that_the_table_says(trunk: str) -> None:
    with torch.device("meta"):
        network = openpose(replace(DEMO, trunk=trunk), STRIDES[trunk], 1, "meta").network
        fields, _ = network(torch.empty(1, 3, 64, 96))[-1]
    assert fields.shape[-2:] == (64 // STRIDES[trunk], 96 // STRIDES[trunk])


def test_imagenet_weights_are_refused_by_a_reduced_trunk_before_anything_is_fetched() -> None:
    network = openpose(DEMO, 4, 1, "cpu").network
    with pytest.raises(ValueError, match=r"^openpose: VGG19's weights fit trunk='vgg19' alone; [^\n]*$"):
        imagenet(network)  # type: ignore[arg-type]


def test_imagenet_weights_go_to_the_first_ten_convolutions_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import vgg19 as whole_vgg

    torch.manual_seed(1)
    theirs = whole_vgg(weights=None).features.state_dict(prefix="features.")
    monkeypatch.setattr("trainables.tasks.pose.openpose.published", lambda _: theirs)
    network = OpenPose(vgg19(), 128, stages=1, kernel=7, depth=5, hidden=512)
    imagenet(network)
    images = torch.rand(1, 3, 32, 32)
    reference = whole_vgg(weights=None).features
    reference.load_state_dict({name.removeprefix("features."): value for name, value in theirs.items()})
    to_conv4_2 = reference[:23]
    assert torch.equal(network.trunk[:23](images), to_conv4_2(images))  # type: ignore[index]


class Constant(torch.nn.Module):
    """Puts out the same everywhere, as a parameter says, at so many stages."""

    def __init__(self, stages: int) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(0.5))
        self.stages = stages

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        cells = images[:, :1, ::4, ::4] * 0 + self.value
        return [(cells.expand(-1, FIELDS, -1, -1), cells.expand(-1, MAPS, -1, -1))] * self.stages


def test_the_loss_is_the_squared_error_of_all_stages_where_it_is_known() -> None:
    learner = PoseLearner(Constant(3), DEMO, stride=4, steps=1, device="cpu")
    known = torch.zeros(2, 4, 4)
    known[0, 1, 2] = known[1, 3, 3] = 1
    fields, maps = torch.zeros(2, FIELDS, 4, 4), torch.zeros(2, MAPS, 4, 4)
    fields[1, 5, 3, 3] = 1.5
    maps[:, :, 0, 0] = 100  # nobody knows
    losses = learner.update({"image": torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "fields": fields, "maps": maps, "known": known})
    assert losses["maps"].item() == pytest.approx(3 * MAPS * 0.25)
    assert losses["fields"].item() == pytest.approx(3 * ((FIELDS * 0.25) * 2 - 0.25 + 1) / 2)


# What the network sees


def one_person(height: int = 120, width: int = 200) -> People:
    """Forty pixels wide and sixty high, all points visible and each elsewhere."""
    places = np.stack([60 + 40 * np.linspace(0, 1, 17), 30 + 60 * np.linspace(0, 1, 17) ** 2, np.full(17, 2)], axis=1)
    return People(
        keypoints=places[None].astype(np.float32),
        boxes=np.array([[60, 30, 100, 90]], np.float32),
        areas=np.array([2000], np.float32),
        crowd=np.zeros(1, np.bool_),
        unlabelled=np.zeros((height, width), np.bool_),
    )


def dots(people: People, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Black, with a white square of 3 x 3 pixels on each key point."""
    image = np.zeros((*shape, 3), np.uint8)
    for x, y in people["keypoints"][0, :, :2].astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return image


@pytest.mark.parametrize("seed", range(8))
def test_key_points_move_with_the_image(seed: int) -> None:
    truth = one_person()
    hyper = replace(OpenPoseHyper(), size=(160, 160))
    from trainables.tasks.pose.skeleton import moved

    move, mirrored = draw(truth, (120, 200), hyper, np.random.default_rng(seed))
    picture = warped(dots(truth, (120, 200)), move, (160, 160), (0, 0, 0))
    found = moved(truth["keypoints"], move, mirrored=mirrored)[0]
    inside = ((found[:, :2] > 3) & (found[:, :2] < 157)).all(axis=1)
    columns, rows = found[inside, :2].astype(int).T
    assert inside.any()
    assert (picture[rows, columns, 0] > 100).all()


def test_a_mirrored_crop_calls_a_left_wrist_right() -> None:
    truth = one_person()
    hyper = replace(OpenPoseHyper(), size=(120, 200), person=0.0, scale=(1.0, 1.0), rotation=0.0, shift=0.0)
    from trainables.tasks.pose.skeleton import moved

    for seed in range(8):
        move, mirrored = draw(truth, (120, 200), hyper, np.random.default_rng(seed))
        wrist = moved(truth["keypoints"], move, mirrored=mirrored)[0, RIGHT_WRIST if mirrored else LEFT_WRIST]
        x, y, _ = truth["keypoints"][0, LEFT_WRIST]
        assert wrist.tolist() == pytest.approx([200 - x if mirrored else x, y, 2], abs=1e-3)


def test_a_person_is_brought_to_the_middle_and_to_its_share_of_the_height() -> None:
    hyper = replace(OpenPoseHyper(), size=(160, 160), rotation=0.0, shift=0.0, scale=(1.0, 1.0), person=0.6)
    move, _ = draw(one_person(), (120, 200), hyper, np.random.default_rng(0))
    assert (move @ [80, 60, 1]).tolist() == pytest.approx([80, 80])
    assert abs(np.linalg.det(move[:, :2])) ** 0.5 * 60 == pytest.approx(0.6 * 160)


def test_an_image_without_people_is_brought_to_the_crops_height() -> None:
    nobody = People(**{**one_person(), "keypoints": np.zeros((1, 17, 3), np.float32)})
    hyper = replace(OpenPoseHyper(), size=(160, 160), rotation=0.0, shift=0.0, scale=(1.0, 1.0))
    move, _ = draw(nobody, (120, 200), hyper, np.random.default_rng(0))
    assert abs(np.linalg.det(move[:, :2])) ** 0.5 * 120 == pytest.approx(160)


def test_warping_to_the_same_size_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    hyper = replace(OpenPoseHyper(), size=(40, 60))
    assert np.array_equal(warped(picture, whole((40, 60), hyper), (40, 60), (0, 0, 0)), picture)


def test_shrinking_averages() -> None:
    stripes = np.zeros((80, 80, 3), np.uint8)
    stripes[:, ::2] = 200
    shrunk = warped(stripes, np.eye(2, 3) * 0.25, (20, 20), (0, 0, 0))
    assert (abs(shrunk.astype(int) - 100) <= 2).all()


def test_nothing_is_learnt_where_people_are_unlabelled() -> None:
    truth = one_person()
    truth["unlabelled"][:, :100] = True
    hyper = replace(DEMO, size=(120, 200), scale=(1.0, 1.0), rotation=0.0, shift=0.0, flip=False)
    example = OPENPOSE.example(np.zeros((1, 120, 200, 3), np.uint8), truth, hyper, np.random.default_rng(0))
    assert example["known"].shape == (30, 50)
    assert not example["known"][:, :25].any()
    assert example["known"][:, 25:].all()


def test_whole_images_of_several_sizes_are_evaluated_side_by_side_as_they_are_alone() -> None:
    torch.manual_seed(0)
    learner = openpose(DEMO, 4, 1, "cpu")
    learner.network.eval()
    rng = np.random.default_rng(0)
    shapes = ((96, 128), (100, 90), (50, 120))
    examples = [
        OPENPOSE.example(rng.integers(0, 256, (1, *shape, 3), np.uint8), one_person(*shape), DEMO, None) for shape in shapes
    ]
    with torch.inference_mode():
        sizes = OPENPOSE.collate(examples)
        together = learner.predict(sizes)
        alone = [learner.predict(OPENPOSE.collate([each]))[0] for each in examples]
    assert sizes["image"].shape[2:] == (96, 232)
    assert [each.shape[:2] for each in (example["image"] for example in examples)] == [(96, 128), (96, 86), (96, 230)]
    assert len(together) == 3
    for one, other in zip(together[-1], alone[-1], strict=True):
        assert one.scores.tolist() == pytest.approx(other.scores.tolist(), abs=1e-5)


class Perfect(torch.nn.Module):
    """Puts out the true fields and maps of whatever it is told to."""

    def __init__(self, fields: npt.NDArray[np.float32], maps: npt.NDArray[np.float32]) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.out = torch.from_numpy(fields)[None], torch.from_numpy(maps)[None]

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:  # noqa: ARG002
        return [self.out]


def test_predictions_are_in_native_pixels() -> None:
    from trainables.tasks.pose.skeleton import with_neck
    from trainables.tasks.pose.targets import fields, heat_maps

    truth = DATASETS["street_people"].source(None).test.target(4)
    scale = 2.0
    parts = with_neck(truth["keypoints"] * np.array([scale, scale, 1], np.float32))
    network = Perfect(fields(parts, (48, 64), stride=4, width=1.0), heat_maps(parts, (48, 64), stride=4, sigma=6.0))
    learner = PoseLearner(network, DEMO, stride=4, steps=1, device="cpu")
    frames = np.zeros((1, 96, 128, 3), np.uint8)
    batch = OPENPOSE.collate([OPENPOSE.example(frames, truth, replace(DEMO, size=(192, 256)), None)])
    (prediction,) = learner.predict(batch)
    (sighting,) = OPENPOSE.statistics([prediction], batch, None)  # type: ignore[arg-type]
    assert OPENPOSE.score([sighting], np.ones((1, 1), np.int64))["oks_map"][0] > 0.9


def test_a_picture_shows_limbs_where_there_are_people() -> None:
    truth = one_person()
    nobody = Found(np.zeros((0, 17, 3), np.float32), np.zeros(0, np.float32))
    somebody = Found(truth["keypoints"], np.ones(1, np.float32))
    frames = np.zeros((1, 120, 200, 3), np.uint8)
    shown = OPENPOSE.picture(frames, [somebody if place == PUBLISHED else nobody for place in range(len(THRESHOLDS))])
    assert shown[30:90, 60:100].any()
    assert not OPENPOSE.picture(frames, [nobody] * len(THRESHOLDS)).any()


# Learning


@pytest.fixture(scope="module")
def street_people() -> Source:
    source = DATASETS["street_people"].source(None)
    return replace(source, **{part: replace(source.split(part), count=12) for part in ("train", "val", "test")})  # type: ignore[type-var,arg-type]


def test_thresholds_that_were_chosen_on_validation_come_with_every_score(street_people: Source) -> None:
    torch.manual_seed(0)
    weights = OPENPOSE.learner(DEMO, street_people, 1, "cpu").network.state_dict()
    conditions = (Condition(), Condition(codec=CODECS["jpeg"].name, level=5))
    for score in evaluate(OPENPOSE, DEMO, weights, data=street_people, conditions=conditions):
        assert set(score.chosen) == {"joint_threshold", "tuned_threshold"}
        assert set(score.chosen.values()) <= set(THRESHOLDS)


@pytest.mark.slow
def test_the_published_network_takes_a_step_and_finds_at_a_reduced_size(tmp_path: Path) -> None:
    source = DATASETS["coco_people"].source(tree(tmp_path))
    hyper = OpenPoseHyper(batch_size=2, size=(64, 64))
    torch.manual_seed(0)
    learner = OPENPOSE.learner(hyper, source, 1, "cpu")
    before = learner.network.state_dict()["fields.5.0.weight"].clone()
    drawn = [[Draw(index, None, (0, index)) for index in range(2)]]
    (training,) = loader(samples(OPENPOSE, hyper, source, "train", None, Runtime()), drawn, Runtime())
    losses = learner.update(training.examples)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not torch.equal(before, learner.network.state_dict()["fields.5.0.weight"])
    (test,) = loader(samples(OPENPOSE, hyper, source, "test", None, Runtime()), evaluation_draws(3, 3, None), Runtime())
    with torch.inference_mode():
        found = learner.predict(test.examples)
    assert [len(each) for each in found] == [len(THRESHOLDS)] * 3


@dataclass(frozen=True)
class Picked:
    """Some items of a split."""

    split: Split
    places: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        return [self.split.names[place] for place in self.places]

    @property
    def groups(self) -> list[str]:
        return self.names

    def frames(self, index: int) -> Frames:
        return self.split.frames(self.places[index])

    def target(self, index: int) -> Any:
        return self.split.target(self.places[index])

    def files(self, index: int) -> tuple[Path, ...]:
        return self.split.files(self.places[index])


def in_full(split: Split, *, pixels: int, points: int) -> list[int]:
    """The images whose people with key points are all taller than so many pixels, with more than so many points."""
    places = []
    for place in range(len(split.names)):
        truth = split.target(place)
        boxes, keypoints = (truth[name][asked_for(truth)] for name in ("boxes", "keypoints"))
        tall, known = boxes[:, 3] - boxes[:, 1] > pixels, (keypoints[..., 2] > 0).sum(axis=1) > points
        if len(boxes) and (tall & known).all():
            places.append(place)
    return places


@pytest.mark.slow
def test_real_people_are_learnt_by_heart(tmp_path: Path) -> None:
    """The four training images of which everybody is taller than 200 pixels and has more than ten key points."""
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None or not Path(place, "tiny_coco").is_dir():
        pytest.skip("STUDY_TEST_DATA is not set, or names a folder without tiny_coco")
    source = DATASETS["coco_people"].source(Path(place, "tiny_coco"))
    posed = Picked(source.train, tuple(in_full(source.train, pixels=200, points=10)))
    assert len(posed.names) == 4
    hyper = replace(DEMO, size=(120, 160), batch_size=4, lr=0.003, sigma=4.0, scale=(1.0, 1.0), rotation=0.0, shift=0.0, flip=False)
    data = replace(source, train=posed, val=posed)
    *_, last = train(OPENPOSE, BASELINE, hyper, data=data, epochs=250, seed=0, runtime=Runtime(store=Store(tmp_path, 10**9)))
    assert last.validation["oks_map"] > 0.5
