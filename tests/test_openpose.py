import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from search_spaces import SPACES
from tests.conftest import Margin
from tests.test_pose_data import tree
from trainables import CLEAN, DATASETS, Condition, Runtime, Source, Split, Workload, evaluate
from trainables.engine.conformance import through_a_file
from trainables.engine.loading import Draw, evaluation_draws, loader, samples
from trainables.tasks.pose import INPUTS, OPENPOSE, POSE, STRIDES, OpenPoseHyper
from trainables.tasks.pose.augmentation import draw, warped, whole
from trainables.tasks.pose.grouping import PUBLISHED, THRESHOLDS, Found
from trainables.tasks.pose.openpose import OpenPose, PoseLearner, imagenet, openpose, vgg19
from trainables.tasks.pose.skeleton import KEYPOINTS, People, labelled, moved, with_neck
from trainables.tasks.pose.targets import FIELDS, MAPS, fields, heat_maps

DEMO = replace(OPENPOSE.hyper, **SPACES["demo"].budgets["openpose"].hyper)
LEFT_WRIST, RIGHT_WRIST = KEYPOINTS.index("left_wrist"), KEYPOINTS.index("right_wrist")


# Network


def test_the_published_network_has_the_published_number_of_parameters() -> None:
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


def test_the_published_network_has_a_cascade_of_six_estimates_in_cells_of_eight_pixels() -> None:
    with torch.device("meta"):
        network = openpose(OpenPoseHyper(), 8, 1, "meta").network
        cascade = network(torch.empty(2, 3, 368, 368))
    assert [tuple(each.shape for each in estimate) for estimate in cascade] == [((2, FIELDS, 46, 46), (2, MAPS, 46, 46))] * 6


@pytest.mark.parametrize("backbone", ["vgg19", "small"])
def test_a_backbone_has_the_stride_in_the_table(backbone: Literal["vgg19", "small"]) -> None:
    stride = STRIDES[backbone]
    with torch.device("meta"):
        network = openpose(replace(DEMO, backbone=backbone), stride, 1, "meta").network
        estimated, _ = network(torch.empty(1, 3, 64, 96))[-1]
    assert estimated.shape[-2:] == (64 // stride, 96 // stride)


def test_imagenet_weights_are_refused_for_the_small_backbone_before_any_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("trainables.tasks.pose.openpose.published")
    network = openpose(DEMO, 4, 1, "cpu").network
    with pytest.raises(ValueError, match=r"^openpose: initial weights 'imagenet' fit only backbone='vgg19'; [^\n]*$"):
        imagenet(network)  # type: ignore[arg-type]


def test_imagenet_weights_are_copied_to_the_first_ten_convolutions_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import vgg19 as whole_vgg

    torch.manual_seed(1)
    theirs = whole_vgg(weights=None).features.state_dict(prefix="features.")
    monkeypatch.setattr("trainables.tasks.pose.openpose.published", lambda _: theirs)
    network = OpenPose(vgg19(), 128, cascade=1, kernel=7, depth=5, hidden=512)
    imagenet(network)
    images = torch.rand(1, 3, 32, 32)
    reference = whole_vgg(weights=None).features
    reference.load_state_dict({name.removeprefix("features."): value for name, value in theirs.items()})
    to_conv4_2 = reference[:23]
    assert torch.equal(network.trunk[:23](images), to_conv4_2(images))  # type: ignore[index]


# Training


def tiny_published(**changes: Any) -> OpenPoseHyper:
    """The published backbone with a cascade of one, on crops of 16x16 pixels."""
    return replace(OpenPoseHyper(), cascade=1, size=(16, 16), **changes)


def a_batch(size: int = 16, cells: int = 2) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8, generator=drawn),
        "fields": torch.rand(2, FIELDS, cells, cells, generator=drawn),
        "maps": torch.rand(2, MAPS, cells, cells, generator=drawn),
        "known": torch.ones(2, cells, cells),
    }


def copies(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def test_published_random_weights_are_normal_with_zero_biases() -> None:
    torch.manual_seed(0)
    network = openpose(tiny_published(initialisation="published"), 8, 1, "cpu").network
    convolutions = [each for each in network.modules() if isinstance(each, torch.nn.Conv2d)]
    assert len(convolutions) == 12 + 2 * 5
    for each in convolutions:
        assert each.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert each.weight.mean().item() == pytest.approx(0, abs=1e-3)
        assert each.bias is not None
        assert not each.bias.any()


def test_torchs_random_weights_are_those_of_a_network_built_alone() -> None:
    torch.manual_seed(3)
    ours = openpose(tiny_published(), 8, 1, "cpu").network.state_dict()
    torch.manual_seed(3)
    alone = OpenPose(vgg19(), 128, cascade=1, kernel=7, depth=5, hidden=512).state_dict()
    assert list(ours) == list(alone)
    assert all(torch.equal(value, alone[name]) for name, value in ours.items())


def test_vggs_own_convolutions_keep_their_weights_in_the_first_steps() -> None:
    """Layers 0 to 21 of the backbone are VGG19's, up to conv4_2; layers 23 and 25 reduce its channels."""
    torch.manual_seed(0)
    learner = openpose(tiny_published(frozen_steps=2), 8, 8, "cpu")
    before = copies(learner.network)
    for _ in range(2):
        learner.update(a_batch())
    kept = {name for name, value in learner.network.named_parameters() if torch.equal(value, before[name])}
    of_vgg = {name for name in before if name.startswith("trunk.") and int(name.split(".")[1]) < 23}
    assert len(of_vgg) == 2 * 10
    assert kept == of_vgg
    learner.update(a_batch())
    assert not any(torch.equal(value, before[name]) for name, value in learner.network.named_parameters())


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_training_resumed_while_or_after_layers_were_frozen_is_bit_identical(
    after: int, optimiser: Literal["sgd", "adamw"]
) -> None:
    hyper = tiny_published(frozen_steps=2, optimiser=optimiser, milestones=(0.5,))
    torch.manual_seed(0)
    learner, other = (openpose(hyper, 8, 6, "cpu") for _ in range(2))
    for _ in range(after):
        learner.update(a_batch())
    other.load_state_dict(through_a_file(learner.state_dict()))
    for each in (learner, other):
        for _ in range(2):
            each.update(a_batch())
    assert all(torch.equal(one, two) for one, two in zip(learner.network.parameters(), other.network.parameters(), strict=True))


def test_freezing_is_refused_for_the_small_backbone() -> None:
    with pytest.raises(ValueError, match=r"frozen_steps=5 needs backbone='vgg19', got 'small'; set frozen_steps to 0"):
        openpose(replace(DEMO, frozen_steps=5), 4, 1, "cpu")


def test_the_published_learning_rate_drops_to_a_third_once_in_40_epochs() -> None:
    hyper = OpenPoseHyper()
    torch.manual_seed(0)
    schedule: Any = PoseLearner(Constant(1), hyper, stride=8, steps=1000, device="cpu").optimisation.lr_schedule
    assert [schedule.lr_lambdas[0](step) for step in (0, 629, 630, 999)] == [1, 1, 0.333, 0.333]


class Constant(torch.nn.Module):
    """Outputs the value of its parameter everywhere, in every estimate of the cascade."""

    def __init__(self, cascade: int) -> None:
        super().__init__()
        self.value = torch.nn.Parameter(torch.tensor(0.5))
        self.cascade = cascade

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        cells = images[:, :1, ::4, ::4] * 0 + self.value
        return [(cells.expand(-1, FIELDS, -1, -1), cells.expand(-1, MAPS, -1, -1))] * self.cascade


def test_the_loss_is_the_squared_error_of_all_estimates_in_known_cells() -> None:
    learner = PoseLearner(Constant(3), DEMO, stride=4, steps=1, device="cpu")
    known = torch.zeros(2, 4, 4)
    known[0, 1, 2] = known[1, 3, 3] = 1
    of_limbs, of_parts = torch.zeros(2, FIELDS, 4, 4), torch.zeros(2, MAPS, 4, 4)
    of_limbs[1, 5, 3, 3] = 1.5
    of_parts[:, :, 0, 0] = 100  # an unknown cell
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    losses = learner.update({"image": images, "fields": of_limbs, "maps": of_parts, "known": known})
    assert losses["maps"].item() == pytest.approx(3 * MAPS * 0.25)
    assert losses["fields"].item() == pytest.approx(3 * ((FIELDS * 0.25) * 2 - 0.25 + 1) / 2)


# Inputs


def one_person(height: int = 120, width: int = 200) -> People:
    """One person, 40 pixels wide and 60 high, with 17 visible key points at different positions."""
    places = np.stack([60 + 40 * np.linspace(0, 1, 17), 30 + 60 * np.linspace(0, 1, 17) ** 2, np.full(17, 2)], axis=1)
    return People(
        keypoints=places[None].astype(np.float32),
        boxes=np.array([[60, 30, 100, 90]], np.float32),
        areas=np.array([2000], np.float32),
        crowd=np.zeros(1, np.bool_),
        unlabelled=np.zeros((height, width), np.bool_),
    )


def dots(people: People, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A black image with a white square of 3 x 3 pixels on each key point."""
    image = np.zeros((*shape, 3), np.uint8)
    for x, y in people["keypoints"][0, :, :2].astype(int):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return image


@pytest.mark.parametrize("seed", range(8))
def test_key_points_move_with_the_image(seed: int) -> None:
    truth = one_person()
    hyper = replace(OpenPoseHyper(), size=(160, 160))
    move, mirrored = draw(truth, (120, 200), hyper, np.random.default_rng(seed))
    picture = warped(dots(truth, (120, 200)), move, (160, 160), (0, 0, 0))
    found = moved(truth["keypoints"], move, mirrored=mirrored)[0]
    inside = ((found[:, :2] > 3) & (found[:, :2] < 157)).all(axis=1)
    columns, rows = found[inside, :2].astype(int).T
    assert inside.any()
    assert (picture[rows, columns, 0] > 100).all()


def test_mirroring_turns_a_left_wrist_into_a_right_one() -> None:
    truth = one_person()
    hyper = replace(OpenPoseHyper(), size=(120, 200), person=0.0, scale=(1.0, 1.0), rotation=0.0, shift=0.0)
    for seed in range(8):
        move, mirrored = draw(truth, (120, 200), hyper, np.random.default_rng(seed))
        wrist = moved(truth["keypoints"], move, mirrored=mirrored)[0, RIGHT_WRIST if mirrored else LEFT_WRIST]
        x, y, _ = truth["keypoints"][0, LEFT_WRIST]
        assert wrist.tolist() == pytest.approx([200 - x if mirrored else x, y, 2], abs=1e-3)


def test_a_person_is_centred_and_scaled_to_its_fraction_of_the_height() -> None:
    hyper = replace(OpenPoseHyper(), size=(160, 160), rotation=0.0, shift=0.0, scale=(1.0, 1.0), person=0.6)
    move, _ = draw(one_person(), (120, 200), hyper, np.random.default_rng(0))
    assert (move @ [80, 60, 1]).tolist() == pytest.approx([80, 80])
    assert abs(np.linalg.det(move[:, :2])) ** 0.5 * 60 == pytest.approx(0.6 * 160)


def test_an_image_without_people_is_scaled_to_the_height_of_the_crop() -> None:
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


def test_cells_of_unlabelled_people_are_not_known() -> None:
    truth = one_person()
    truth["unlabelled"][:, :100] = True
    hyper = replace(DEMO, size=(120, 200), scale=(1.0, 1.0), rotation=0.0, shift=0.0, flip=False)
    example = INPUTS.example(np.zeros((1, 120, 200, 3), np.uint8), truth, hyper, np.random.default_rng(0))
    assert example["known"].shape == (30, 50)
    assert not example["known"][:, :25].any()
    assert example["known"][:, 25:].all()


def test_images_of_different_sizes_are_decoded_in_a_batch_as_alone() -> None:
    torch.manual_seed(0)
    learner = openpose(DEMO, 4, 1, "cpu")
    learner.network.eval()
    rng = np.random.default_rng(0)
    shapes = ((96, 128), (100, 90), (50, 120))
    examples = [INPUTS.example(rng.integers(0, 256, (1, *shape, 3), np.uint8), one_person(*shape), DEMO, None) for shape in shapes]
    with torch.inference_mode():
        sizes = INPUTS.collate(examples)
        together = learner.predict(sizes)
        alone = [learner.predict(INPUTS.collate([each]))[0] for each in examples]
    assert sizes["image"].shape[2:] == (96, 232)
    assert [each.shape[:2] for each in (example["image"] for example in examples)] == [(96, 128), (96, 86), (96, 230)]
    assert len(together) == 3
    for one, other in zip(together[-1], alone[-1], strict=True):
        assert one.scores.tolist() == pytest.approx(other.scores.tolist(), abs=1e-5)


class Perfect(torch.nn.Module):
    """Outputs fixed fields and maps."""

    def __init__(self, fields: npt.NDArray[np.float32], maps: npt.NDArray[np.float32]) -> None:
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.out = torch.from_numpy(fields)[None], torch.from_numpy(maps)[None]

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:  # noqa: ARG002
        return [self.out]


def test_predictions_are_in_native_pixels() -> None:
    truth = DATASETS["street_people"].source(None).test.target(4)
    scale = 2.0
    parts = with_neck(truth["keypoints"] * np.array([scale, scale, 1], np.float32))
    network = Perfect(fields(parts, (48, 64), stride=4, width=1.0), heat_maps(parts, (48, 64), stride=4, sigma=6.0))
    learner = PoseLearner(network, DEMO, stride=4, steps=1, device="cpu")
    frames = np.zeros((1, 96, 128, 3), np.uint8)
    batch = INPUTS.collate([INPUTS.example(frames, truth, replace(DEMO, size=(192, 256)), None)])
    (prediction,) = learner.predict(batch)
    matches = POSE.statistics([prediction], batch, None)  # type: ignore[arg-type]
    assert POSE.score(matches, np.ones((1, 1), np.int64))["oks_map"][0] > 0.9


def test_a_picture_shows_limbs_where_there_are_people() -> None:
    truth = one_person()
    nobody = Found(np.zeros((0, 17, 3), np.float32), np.zeros(0, np.float32))
    somebody = Found(truth["keypoints"], np.ones(1, np.float32))
    frames = np.zeros((1, 120, 200, 3), np.uint8)
    shown = POSE.picture(frames, [somebody if place == PUBLISHED else nobody for place in range(len(THRESHOLDS))])
    assert shown[30:90, 60:100].any()
    assert not POSE.picture(frames, [nobody] * len(THRESHOLDS)).any()


# Engine


@pytest.fixture(scope="module")
def street_people() -> Source:
    source = DATASETS["street_people"].source(None)
    return replace(source, **{part: replace(source.split(part), count=12) for part in ("train", "val", "test")})  # type: ignore[type-var,arg-type]


def test_every_score_has_the_thresholds_chosen_on_validation(street_people: Source) -> None:
    torch.manual_seed(0)
    weights = OPENPOSE.learner(DEMO, street_people, 1, "cpu").network.state_dict()
    workload = Workload(architecture=OPENPOSE, hyper=DEMO, data=street_people)
    for score in evaluate(workload, weights, conditions=(CLEAN, Condition(codec="jpeg", level=5))):
        assert set(score.chosen) == {"joint_threshold", "tuned_threshold"}
        assert set(score.chosen.values()) <= set(THRESHOLDS)


@pytest.mark.slow
def test_the_published_network_trains_and_predicts_at_a_reduced_size(tmp_path: Path) -> None:
    source = DATASETS["coco_people"].source(tree(tmp_path))
    workload = Workload(architecture=OPENPOSE, hyper=OpenPoseHyper(batch_size=2, size=(64, 64)), data=source)
    torch.manual_seed(0)
    learner = OPENPOSE.learner(workload.hyper, source, 1, "cpu")
    before = learner.network.state_dict()["fields.5.0.weight"].clone()
    drawn = [[Draw(index, CLEAN, (0, index)) for index in range(2)]]
    (training,) = loader(samples(workload, "train"), drawn, Runtime())
    losses = learner.update(training.examples)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert not torch.equal(before, learner.network.state_dict()["fields.5.0.weight"])
    (test,) = loader(samples(workload, "test"), evaluation_draws(range(3), 3, CLEAN), Runtime())
    with torch.inference_mode():
        found = learner.predict(test.examples)
    assert [len(each) for each in found] == [len(THRESHOLDS)] * 3


def large_people(split: Split, *, pixels: int, points: int) -> list[int]:
    """Indices of the images whose labelled people are all taller than `pixels` and have more than `points` labelled key points."""
    chosen = []
    for index in range(len(split.names)):
        truth = split.target(index)
        boxes, keypoints = (truth[name][labelled(truth)] for name in ("boxes", "keypoints"))
        tall, known = boxes[:, 3] - boxes[:, 1] > pixels, (keypoints[..., 2] > 0).sum(axis=1) > points
        if len(boxes) and (tall & known).all():
            chosen.append(index)
    return chosen


@pytest.mark.slow
@pytest.mark.trained
def test_the_reduced_network_overfits_four_real_images(margin: Margin, seed: int) -> None:
    """The network must fit each image's own targets: a fit to another image's targets would show that it ignores its input."""
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None or not Path(place, "tiny_coco").is_dir():
        pytest.skip("STUDY_TEST_DATA is not set; set it to the folder that holds tiny_coco")
    source = DATASETS["coco_people"].source(Path(place, "tiny_coco"))
    chosen = large_people(source.train, pixels=200, points=10)
    assert len(chosen) == 4
    hyper = replace(DEMO, size=(48, 64), scale=(1.0, 1.0), rotation=0.0, shift=0.0, flip=False)
    rng = np.random.default_rng(0)  # without an effect, since all augmentation is off
    batch = INPUTS.collate([INPUTS.example(source.train.frames(each), source.train.target(each), hyper, rng) for each in chosen])
    swapped = {**batch, **{name: batch[name].roll(1, dims=0) for name in ("fields", "maps", "known")}}
    steps = 150
    torch.manual_seed(seed)
    learner = openpose(hyper, STRIDES[hyper.backbone], steps, "cpu")
    learner.network.train()

    def loss(of: Any) -> float:
        with torch.no_grad():
            return float(sum(learner.losses(of).values()))

    before = loss(batch)
    for _ in range(steps):
        learner.update(batch)
    margin(loss(batch) / before, below=0.1)
    margin(loss(batch) / loss(swapped), below=0.1)
