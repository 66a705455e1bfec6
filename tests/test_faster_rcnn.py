from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet50
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from search_spaces import SPACES
from tests.conftest import Margin
from trainables import DATASETS, Condition, Recipe, Source, Workload, evaluate, recalibrate, train
from trainables.recipes.recipes import BASELINE
from trainables.tasks.detection import DETECTION, FASTER_RCNN, INPUTS
from trainables.tasks.detection.boxes import Truth
from trainables.tasks.detection.faster_rcnn import DetectionLearner, share_inside, take_backbone, take_detector

PUBLISHED = FASTER_RCNN.hyper
REDUCED = replace(PUBLISHED, **SPACES["demo"].budgets["faster_rcnn"].hyper)
CATEGORIES = tuple(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])
EIGHTY = tuple(name for name in CATEGORIES[1:] if name != "N/A")
LOSSES = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


def learner(hyper: Any = PUBLISHED, classes: Sequence[str] = ("a", "b", "c"), *, device: str = "cpu") -> Any:
    torch.manual_seed(0)
    source: Any = SimpleNamespace(classes=tuple(classes))  # the part of a source that the network uses
    with torch.device(device):
        return FASTER_RCNN.learner(hyper, source, 4, device)


def without_memory(classes: int = 3, **changes: Any) -> Any:
    """The published network on torch's meta device, which allocates no weights."""
    return learner(replace(PUBLISHED, **changes), [str(number) for number in range(classes)], device="meta").network


def reduced(**changes: Any) -> Any:
    """A learner of the demo's network."""
    return learner(replace(REDUCED, **changes))


def truth(*boxes: Sequence[float], difficult: Sequence[int] = (), crowd: Sequence[int] = ()) -> Truth:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.arange(len(corners))
    return Truth(
        boxes=corners,
        labels=places % 3,
        areas=np.ones(len(corners), np.float32),
        difficult=np.isin(places, difficult),
        crowd=np.isin(places, crowd),
    )


def batch_of(*truths: Truth, size: tuple[int, int] = (96, 128)) -> Any:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (1, *size, 3), np.uint8) for _ in truths]
    pairs = zip(frames, truths, strict=True)
    return INPUTS.collate([INPUTS.example(each, target, PUBLISHED, None) for each, target in pairs])


def predicted(one: Any, batch: Any) -> Any:
    one.network.eval()
    with torch.inference_mode():
        return one.predict(batch)


# Network


def test_the_published_network_has_the_parameter_count_that_torchvision_states() -> None:
    counts = {number: sum(each.numel() for each in without_memory(number).parameters()) for number in (90, 20)}
    assert counts[90] == FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["num_params"] == 41_755_286
    # The class score and the four box coordinates each have 1024 weights and a bias per class.
    assert counts[20] == counts[90] - 70 * 5 * 1025 == 41_396_536


def test_the_first_two_layers_and_all_batch_norms_of_the_published_network_are_frozen() -> None:
    network = without_memory()
    frozen = {name.split(".")[2] for name, each in network.named_parameters() if not each.requires_grad}
    assert frozen == {"conv1", "layer1"}
    assert not any(isinstance(each, nn.BatchNorm2d) for each in network.modules())


def test_every_layer_and_batch_norm_of_the_published_network_can_be_trained() -> None:
    network = without_memory(trainable_layers=5, frozen_batch_norm=False)
    assert all(each.requires_grad for each in network.parameters())
    assert not any(isinstance(each, FrozenBatchNorm2d) for each in network.modules())


def test_the_reduced_network_has_seven_convolutions_of_stride_eight_and_under_half_a_million_parameters() -> None:
    network = reduced().network
    assert sum(isinstance(each, nn.Conv2d) for each in network.backbone.modules()) == 7
    with torch.inference_mode():
        assert network.backbone(torch.zeros(2, 3, 96, 128)).shape == (2, 64, 12, 16)
    assert sum(each.numel() for each in network.parameters()) < 5e5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"backbone": "huge"}, "unknown backbone 'huge'; use one of resnet50_fpn, small"),
        ({"trainable_layers": 6}, "expected trainable_layers in 0..5, got 6"),
    ],
)
def test_invalid_hyper_parameters_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        learner(replace(PUBLISHED, **changes))


# Training


def test_a_step_returns_the_losses_of_proposals_and_of_boxes() -> None:
    assert set(reduced().update(batch_of(truth((10, 10, 40, 50)), truth((5, 5, 60, 80))))) == LOSSES


def test_images_without_objects_give_finite_losses() -> None:
    one = reduced()
    for batch in (batch_of(truth(), truth()), batch_of(truth(), truth((10, 10, 40, 50)))):
        assert all(torch.isfinite(loss) for loss in one.update(batch).values())


def test_a_batch_may_contain_images_of_different_sizes() -> None:
    one, parts = reduced(), [batch_of(truth((1, 1, 30, 30)), size=size) for size in ((96, 128), (60, 50))]
    batch = {name: [*parts[0][name], *parts[1][name]] for name in parts[0]}
    assert all(torch.isfinite(loss) for loss in one.update(batch).values())
    assert len(predicted(one, batch)) == 2


def test_difficult_objects_and_crowds_are_no_objects_in_training() -> None:
    one, seen = reduced(), list[Any]()
    one.network.register_forward_pre_hook(lambda _module, inputs: seen.extend(inputs[1]))
    one.update(batch_of(truth((10, 10, 40, 50), (1, 1, 9, 9), (2, 2, 20, 20), difficult=[0], crowd=[2]), truth()))
    assert [each["boxes"].tolist() for each in seen] == [[[1, 1, 9, 9]], []]
    assert [each["labels"].tolist() for each in seen] == [[2], []]  # torchvision's label 0 is the background
    assert [len(each["crowds"]) for each in seen] == [1, 0]
    assert seen[0]["crowds"][0].tolist() == pytest.approx([2 / 128, 2 / 96, 20 / 128, 20 / 96])


def test_the_share_of_a_box_inside_a_region_is_of_the_boxs_own_area() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 0, 40, 10], [5, 5, 5, 9]])
    regions = torch.tensor([[0.0, 0, 100, 7], [3, 3, 8, 8]])
    assert share_inside(boxes, regions).tolist() == [pytest.approx([0.7, 0.25]), pytest.approx([0.7, 0]), [0, 0]]


def proposals_seen(one: Any, proposals: list[list[float]], truths: Sequence[Truth]) -> list[list[list[float]]]:
    """Proposals that reach the box head, given the same ones in every image of 96x128 pixels; the network doubles its sides."""
    network, seen = one.network, list[Any]()
    network.transform.min_size, network.transform.max_size = (192,), 256
    network.rpn.register_forward_hook(lambda _module, _inputs, found: ([torch.tensor(proposals) * 2.0 for _ in truths], found[1]))
    choose = network.roi_heads.select_training_samples

    def keep(boxes: list[torch.Tensor], targets: Any) -> Any:
        seen.extend((each / 2).tolist() for each in boxes)
        return choose(boxes, targets)

    network.roi_heads.select_training_samples = keep
    assert all(torch.isfinite(loss) for loss in one.update(batch_of(*truths)).values())
    return seen


def test_proposals_inside_a_crowd_are_ignored_in_training() -> None:
    """A crowd from (40, 40) to (80, 80) contains 80 %, 60 %, nothing and 13 % of the four proposals."""
    boxes: list[list[float]] = [[38, 40, 48, 50], [74, 40, 84, 50], [0, 0, 20, 20], [0, 0, 128, 96]]
    crowded, clear = truth((40, 40, 80, 80), (5, 5, 30, 30), crowd=[0]), truth((5, 5, 30, 30))
    assert proposals_seen(reduced(), boxes, [crowded, clear]) == [boxes[1:], boxes]


def test_difficult_objects_ignore_no_proposals() -> None:
    boxes: list[list[float]] = [[10, 10, 40, 50], [60, 60, 70, 70]]
    assert proposals_seen(reduced(), boxes, [truth((10, 10, 40, 50), difficult=[0])]) == [boxes]


@pytest.mark.parametrize(("clip", "most"), [(1e-3, 1e-3), (0.0, float("inf"))])
def test_the_gradient_norm_is_clipped(clip: float, most: float) -> None:
    one = reduced(optimiser="sgd", lr=1.0, lr_schedule="constant", momentum=0.0, weight_decay=0.0, clip=clip)
    before = [each.detach().clone() for each in one.network.parameters()]
    one.update(batch_of(truth((10, 10, 40, 50)), truth((5, 5, 60, 80))))
    steps = [(each - start).norm() for each, start in zip(one.network.parameters(), before, strict=True)]
    assert 0.9 * min(most, 1) < torch.stack(steps).norm().item() <= 1.01 * most


def test_boxes_are_mirrored_with_the_image() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 20, 31, 3), np.uint8)
    target, found = truth((2, 3, 9, 15), (0, 0, 31, 20)), []
    for seed in range(8):
        example = INPUTS.example(frames, target, PUBLISHED, np.random.default_rng(seed))
        (x0, y0, x1, y1), whole = example["truth"]["boxes"].astype(int)
        crop = example["image"][:, y0:y1, x0:x1].transpose(1, 2, 0)
        found.append(np.array_equal(crop, frames[0, 3:15, 2:9]))
        assert found[-1] or np.array_equal(crop, frames[0, 3:15, 2:9][:, ::-1])
        assert whole.tolist() == [0, 0, 31, 20]
    assert set(found) == {True, False}
    assert target["boxes"][0].tolist() == [2, 3, 9, 15]


def test_images_are_not_mirrored_in_evaluation_or_with_flip_off() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 20, 31, 3), np.uint8)
    for hyper, rng in ((PUBLISHED, None), (replace(PUBLISHED, flip=False), np.random.default_rng(0))):
        for _ in range(8):
            example = INPUTS.example(frames, truth((2, 3, 9, 15)), hyper, rng)
            assert np.array_equal(example["image"].transpose(1, 2, 0), frames[0])


# Predictions


def test_detections_have_the_classes_of_the_source_and_lie_within_the_image() -> None:
    batch = batch_of(truth(), truth(), size=(50, 70))
    for found in predicted(reduced(), batch):
        assert {name: (each.dtype, each.ndim) for name, each in found.items()} == {
            "boxes": (np.dtype(np.float32), 2),
            "scores": (np.dtype(np.float32), 1),
            "labels": (np.dtype(np.int64), 1),
        }
        assert len(found["labels"]) > 0
        assert set(found["labels"].tolist()) <= {0, 1, 2}
        assert (found["boxes"] >= 0).all()
        assert (found["boxes"] <= np.array([70, 50, 70, 50]) + 1e-3).all()


@pytest.mark.parametrize(("nms", "kept"), [(0.3, [0]), (0.5, [0, 1]), (0.9, [0, 1, 2])])
def test_detections_of_a_class_that_overlap_by_more_than_the_threshold_are_dropped(nms: float, kept: list[int]) -> None:
    """IoU of the first box with the second: 40 / 100, with the third: 70 / 87.5; of the second with the third: 57.5 / 100."""
    one = reduced(nms=nms)
    boxes = torch.tensor([[0.0, 0, 10, 7], [0, 3, 10, 10], [0, 0, 10, 8.75]])
    heads = one.network.roi_heads
    logits = torch.tensor([[0.0, 4, -9, -9], [0, 3, -9, -9], [0, 2, -9, -9]])
    regression = torch.zeros(3, 16)
    (found,), _, _ = heads.postprocess_detections(logits, regression, [boxes], [(96, 128)])
    assert found.numpy() == pytest.approx(boxes[kept].numpy(), abs=1e-4)


def test_the_published_threshold_of_suppression_is_detectrons_default_and_the_demos_is_torchvisions() -> None:
    assert [without_memory().roi_heads.nms_thresh, reduced().network.roi_heads.nms_thresh] == [0.3, 0.5]


def test_predictions_do_not_depend_on_the_random_stream() -> None:
    one, batch = reduced(), batch_of(truth(), truth())
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append([{name: part.tolist() for name, part in each.items()} for each in predicted(one, batch)])
    assert found[0] == found[1]


def test_boxes_have_full_precision_under_mixed_precision() -> None:
    one, batch = reduced(), batch_of(truth((10, 10, 40, 50)), truth())
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        assert all(torch.isfinite(loss) for loss in one.update(batch).values())
        found = predicted(one, batch)
    for each in found:
        boxes = torch.from_numpy(each["boxes"])
        assert (boxes.dtype, each["scores"].dtype) == (torch.float32, np.dtype(np.float32))
        assert (boxes != boxes.bfloat16().float()).any()


def test_a_picture_shows_detections_above_the_threshold_in_the_colours_of_their_classes() -> None:
    frames = np.zeros((1, 20, 30, 3), np.uint8)
    boxes = np.array([[2, 2, 12, 12], [14, 3, 29.9, 18], [0, 0, 0.5, 0.5]], np.float32)
    prediction = {"boxes": boxes, "scores": np.array([0.9, 0.8, 0.3], np.float32), "labels": np.array([0, 1, 2])}
    picture = DETECTION.picture(frames, prediction)
    assert picture.shape == (20, 30, 3)
    assert not picture[0, 0].any()
    assert picture[2, 2].any()
    assert picture[11, 11].any()
    assert not picture[12, 12].any()
    assert picture[3, 14].tolist() != picture[2, 2].tolist()
    assert not frames.any()


# Initial weights


@pytest.mark.parametrize("initial", ["imagenet", "coco"])
def test_published_weights_are_refused_for_the_reduced_network(initial: str) -> None:
    with pytest.raises(ValueError, match="fit only backbone='resnet50_fpn'"):
        FASTER_RCNN.initial[initial](reduced().network)


@pytest.mark.parametrize(
    ("initial", "file"), [("imagenet", "resnet50-0676ba61.pth"), ("coco", "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth")]
)
def test_a_damaged_file_of_published_weights_is_named(
    initial: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / file
    path.parent.mkdir(parents=True)
    path.write_text("not weights")
    with pytest.raises(ValueError, match=f"{path} is damaged.*`none`"):
        FASTER_RCNN.initial[initial](without_memory())


@pytest.mark.parametrize("frozen", [True, False])
def test_the_backbone_receives_the_weights_of_a_classifier(frozen: bool) -> None:
    network, classifier = learner(replace(PUBLISHED, frozen_batch_norm=frozen)).network, resnet50(weights=None)
    take_backbone(network, classifier.state_dict())
    ours, theirs = network.backbone.body.state_dict(), classifier.state_dict()
    assert len(ours) > 250
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.fixture(scope="module")
def detector() -> FasterRCNN:
    """A detector like torchvision's published one: 91 classes, frozen batch norms with eps = 0."""
    torch.manual_seed(1)
    network = FasterRCNN(resnet_fpn_backbone(backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d), 91)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0
            module.running_var.uniform_(1e-6, 0.5)
    return network


def test_a_network_with_a_detectors_weights_computes_the_same_features(detector: FasterRCNN) -> None:
    images = torch.rand(1, 3, 64, 64)
    for frozen in (True, False):
        ours = learner(replace(PUBLISHED, frozen_batch_norm=frozen), EIGHTY).network
        take_detector(ours, detector.state_dict(), CATEGORIES)
        with torch.inference_mode():
            expected, found = (network.eval().backbone(images) for network in (detector, ours))
        assert all(torch.allclose(expected[name], found[name], rtol=1e-3, atol=1e-3) for name in expected)


def test_the_class_layers_are_loaded_for_the_detectors_own_classes(detector: FasterRCNN) -> None:
    ours = learner(classes=EIGHTY).network
    take_detector(ours, detector.state_dict(), CATEGORIES)
    one, other = ours.roi_heads.box_predictor, detector.roi_heads.box_predictor
    for label, name in enumerate(EIGHTY, start=1):
        place = CATEGORIES.index(name)
        assert torch.equal(one.cls_score.weight[label], other.cls_score.weight[place])
        assert torch.equal(one.bbox_pred.weight[4 * label : 4 * label + 4], other.bbox_pred.weight[4 * place : 4 * place + 4])
        assert torch.equal(one.bbox_pred.bias[4 * label : 4 * label + 4], other.bbox_pred.bias[4 * place : 4 * place + 4])
    assert torch.equal(one.cls_score.bias[0], other.cls_score.bias[0])


@pytest.mark.parametrize("classes", [("person", "car"), EIGHTY[::-1]])
def test_the_class_layers_stay_random_for_other_classes(classes: tuple[str, ...], detector: FasterRCNN) -> None:
    ours = learner(classes=classes).network
    before = {name: value.clone() for name, value in ours.roi_heads.box_predictor.state_dict().items()}
    take_detector(ours, detector.state_dict(), CATEGORIES)
    assert all(torch.equal(value, before[name]) for name, value in ours.roi_heads.box_predictor.state_dict().items())
    assert torch.equal(ours.roi_heads.box_head.fc6.weight, detector.roi_heads.box_head.fc6.weight)


# Engine


@pytest.fixture
def tree(tmp_path: Path) -> Source:
    """Five images of noise in VOC's layout, each with a white square; the annotation of the first has no objects."""
    rng = np.random.default_rng(0)
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for part, names in (("train", "abc"), ("val", "d"), ("test", "e")):
        (tmp_path / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(names))
        for number, name in enumerate(names):
            pixels = rng.integers(0, 100, (90 + 10 * number, 120, 3), np.uint8)
            pixels[10:50, 10:50] = 255
            Image.fromarray(pixels).save(tmp_path / "JPEGImages" / f"{name}.jpg")
            box = "<bndbox><xmin>11</xmin><ymin>11</ymin><xmax>50</xmax><ymax>50</ymax></bndbox>"
            objects = f"<object><name>square</name>{box}</object>" if name != "a" else ""
            (tmp_path / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
    return DATASETS["voc"].source(tmp_path)


def test_the_published_network_trains_and_evaluates_on_data_in_vocs_layout(tree: Source) -> None:
    hyper = replace(PUBLISHED, min_size=64, max_size=96, trainable_layers=1)
    workload = Workload(architecture=FASTER_RCNN, hyper=hyper, data=tree)
    (epoch,) = train(workload, BASELINE, epochs=1, seed=0)
    assert set(epoch.losses) == LOSSES
    (score,) = evaluate(workload, epoch.weights, conditions=[Condition(codec="jpeg", level=10)])
    assert set(score.metrics) == set(DETECTION.metrics)
    assert all(np.isfinite(values).all() for values in score.replicates.values())


def test_a_network_with_frozen_batch_norms_cannot_be_recalibrated(tree: Source) -> None:
    hyper = replace(REDUCED, batch_size=1, frozen_batch_norm=True)
    weights = FASTER_RCNN.learner(hyper, tree, 1, "cpu").network.state_dict()
    recipe = Recipe(name="recalibrated-5", recalibrated_at=5, codec="jpeg")
    with pytest.raises(ValueError, match="faster_rcnn has no batch norm"):
        recalibrate(Workload(architecture=FASTER_RCNN, hyper=hyper, data=tree), recipe, weights, seed=0)


@pytest.mark.slow
@pytest.mark.trained
def test_the_reduced_network_overfits_four_scenes(margin: Margin, seed: int) -> None:
    """The detections must fit their own scenes: a fit to other scenes would show that the network ignores its input."""
    source, steps = DATASETS["street_objects"].source(None), 100
    torch.manual_seed(seed)
    one = FASTER_RCNN.learner(REDUCED, source, steps, "cpu")
    assert isinstance(one, DetectionLearner)
    batch, other = (
        INPUTS.collate([INPUTS.example(source.train.frames(each), source.train.target(each), REDUCED, None) for each in chosen])
        for chosen in (range(4), range(4, 8))
    )
    one.network.train()
    for _ in range(steps):
        one.update(batch)
    detections = predicted(one, batch)

    def ap50(truths: Any) -> float:
        once = np.ones((1, 4), np.int64)
        return float(DETECTION.score(DETECTION.statistics(detections, truths, source), once)["ap50"][0])

    margin(ap50(batch), above=0.8)
    margin(ap50(other), below=0.2)
