"""The networks on MobileNetV2, and the search space of real images, on tiny trees in the data sets' own layouts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import mobilenet_v2 as whole_mobilenet_v2
from torchvision.ops import FrozenBatchNorm2d

from search_spaces import REAL
from study.plan import Plan, hyper_of, make_plan
from trainables import ARCHITECTURES, Architecture, Condition, Folder, Source, Workload, train
from trainables.networks.trunks import MOBILENET_V2_CHANNELS, MOBILENET_V2_ENDS, mobilenet_v2
from trainables.recipes.recipes import BASELINE
from trainables.tasks.detection import FASTER_RCNN, FASTER_RCNN_MOBILENET_V2
from trainables.tasks.segmentation import UNET_MOBILENET_V2

UNET, DETECTOR = UNET_MOBILENET_V2.hyper, FASTER_RCNN_MOBILENET_V2.hyper
both = pytest.mark.parametrize("architecture", [UNET_MOBILENET_V2, FASTER_RCNN_MOBILENET_V2], ids=lambda each: each.name)


def learner(architecture: Architecture, hyper: Any = None, classes: int = 3) -> Any:
    torch.manual_seed(0)
    source: Any = SimpleNamespace(classes=tuple(map(str, range(classes))))  # the part of a source that the networks use
    return architecture.learner(hyper or architecture.hyper, source, 4, "cpu")


def network(architecture: Architecture, **changes: Any) -> Any:
    return learner(architecture, replace(architecture.hyper, **changes)).network


@pytest.fixture
def classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A classifier's weights, put into torch's cache as if they were the published ones."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    weights: dict[str, torch.Tensor] = whole_mobilenet_v2(weights=None).state_dict()
    torch.save(weights, folder / "mobilenet_v2-b0353104.pth")
    return weights


# The trunk


def test_the_trunk_halves_the_image_five_times_and_its_ends_have_the_stated_channels() -> None:
    features, shapes = torch.zeros(1, 3, 64, 96), []
    for index, block in enumerate(mobilenet_v2().eval()):
        features = block(features)
        if index in MOBILENET_V2_ENDS:
            shapes.append(tuple(features.shape[1:]))
    strides = (2, 4, 8, 16, 32)
    assert shapes == [
        (channels, 64 // stride, 96 // stride) for channels, stride in zip(MOBILENET_V2_CHANNELS, strides, strict=True)
    ]


@both
@pytest.mark.parametrize("frozen", [False, True])
def test_imagenet_weights_fill_the_trunk_and_nothing_else(
    architecture: Architecture, classifier: dict[str, torch.Tensor], frozen: bool
) -> None:
    detects = architecture is FASTER_RCNN_MOBILENET_V2
    fresh = network(architecture, **({"frozen_batch_norm": frozen} if detects else {}))
    trunk = fresh.backbone.body if detects else fresh.encoder
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    architecture.initial["imagenet"](fresh)
    after = trunk.state_dict()
    assert after
    assert all(torch.equal(value, classifier[f"features.{name}"]) for name, value in after.items())
    prefix = "backbone.body." if detects else "encoder."
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items() if not name.startswith(prefix))


# The U-Net


def test_the_unet_has_two_million_parameters_and_logits_of_the_images_size() -> None:
    unet = network(UNET_MOBILENET_V2).eval()
    assert sum(each.numel() for each in unet.parameters()) == pytest.approx(2.2e6, abs=0.05e6)
    for size in ((64, 96), (60, 90), (33, 47)):
        assert unet(torch.zeros(1, 3, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_the_unet_uses_the_trunks_features_of_every_stride(stride: int) -> None:
    unet = network(UNET_MOBILENET_V2).eval()
    images = torch.randn(1, 3, 64, 64)
    before = unet(images)
    join = unet.decoder[{16: 0, 8: 1, 4: 2, 2: 3}[stride]]
    skip = MOBILENET_V2_CHANNELS[(2, 4, 8, 16).index(stride)]
    with torch.no_grad():
        join[0].weight[:, -skip:] = 0
    assert not torch.equal(before, unet(images))


@pytest.mark.parametrize("decoder", [(64, 64, 64), (64, 64, 64, 0)])
def test_an_impossible_decoder_is_refused(decoder: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"unet_mobilenet_v2: decoder .* is not valid; give 4 channel counts"):
        network(UNET_MOBILENET_V2, decoder=decoder)


def test_half_of_the_training_images_are_mirrored_with_their_masks_and_no_test_image() -> None:
    frames = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(1, 2, 4, 3)
    mask = np.arange(8, dtype=np.uint8).reshape(2, 4)
    rng, example = np.random.default_rng(0), UNET_MOBILENET_V2.inputs.example
    assert np.array_equal(example(frames, mask, UNET, None)["mask"], mask)
    mirrored = 0
    for _ in range(200):
        made = example(frames, mask, UNET, rng)
        flipped = not np.array_equal(made["mask"], mask)
        mirrored += flipped
        expected = frames[0, :, ::-1] if flipped else frames[0]
        assert np.array_equal(made["image"], expected.transpose(2, 0, 1))
        assert np.array_equal(made["mask"], mask[:, ::-1] if flipped else mask)
    assert 70 < mirrored < 130
    assert np.array_equal(example(frames, mask, replace(UNET, flip=False), rng)["mask"], mask)


# The detector


def test_the_detector_has_four_million_parameters_on_a_pyramid_of_strides_8_to_64() -> None:
    detector = network(FASTER_RCNN_MOBILENET_V2).eval()
    assert sum(each.numel() for each in detector.parameters()) == pytest.approx(4.1e6, abs=0.05e6)
    pyramid = detector.backbone(torch.zeros(1, 3, 128, 192))
    assert [tuple(each.shape[1:]) for each in pyramid.values()] == [(128, 128 // s, 192 // s) for s in (8, 16, 32, 64)]


def trained_blocks(**changes: Any) -> list[int]:
    body = network(FASTER_RCNN_MOBILENET_V2, **changes).backbone.body
    return [int(name) for name, block in body.named_children() if all(each.requires_grad for each in block.parameters())]


@pytest.mark.parametrize(("layers", "first"), [(0, 18), (1, 14), (2, 7), (3, 4), (4, 2), (5, 0)])
def test_trainable_layers_counts_strides_from_the_last(layers: int, first: int) -> None:
    assert trained_blocks(trainable_layers=layers, frozen_batch_norm=False) == list(range(first, 18))


@pytest.mark.parametrize("layers", [-1, 6])
def test_trainable_layers_outside_the_trunk_are_refused(layers: int) -> None:
    with pytest.raises(ValueError, match=rf"expected trainable_layers in 0\.\.5, got {layers}"):
        network(FASTER_RCNN_MOBILENET_V2, trainable_layers=layers)


@pytest.mark.parametrize(("frozen", "kind"), [(True, FrozenBatchNorm2d), (False, nn.BatchNorm2d)])
def test_the_trunks_batch_norms_are_frozen_on_request(frozen: bool, kind: type) -> None:
    body = network(FASTER_RCNN_MOBILENET_V2, frozen_batch_norm=frozen).backbone.body
    norms = {type(module) for module in body.modules() if isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d)}
    assert norms == {kind}


@pytest.mark.parametrize(
    ("architecture", "name", "backbone"),
    [
        (FASTER_RCNN, "imagenet", "mobilenet_v2_fpn"),
        (FASTER_RCNN, "coco", "mobilenet_v2_fpn"),
        (FASTER_RCNN_MOBILENET_V2, "imagenet", "small"),
        (FASTER_RCNN_MOBILENET_V2, "imagenet", "resnet50_fpn"),
    ],
)
def test_initial_weights_of_another_backbone_are_refused(architecture: Architecture, name: str, backbone: str) -> None:
    own = architecture.hyper.backbone
    with pytest.raises(ValueError, match=rf"^[^\n]*initial weights '{name}' fit only backbone='{own}'; set [^\n]*`none`$"):
        architecture.initial[name](network(architecture, backbone=backbone))


# The search space of real images

FRAMES, CELLS = {"train": range(20), "val": range(20, 28)}, {"train": 6, "val": 5, "test": 5}
ANNOTATION = (
    "<annotation><object><name>{name}</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>36</ymax></bndbox></object>"
    "</annotation>"
)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8))


def make_camvid(root: Path) -> Path:
    """CamVid's layout without a test list."""
    for part, frames in FRAMES.items():
        lines = []
        for folder in (part, f"{part}annot"):
            (root / folder).mkdir(parents=True)
        for frame in frames:
            name = f"0016E5_{frame:05d}.png"
            picture(frame).save(root / part / name)
            Image.fromarray(np.random.default_rng(frame).integers(0, 12, (48, 64), np.uint8)).save(root / f"{part}annot" / name)
            lines.append(f"{part}/{name} {part}annot/{name}\n")
        (root / f"{part}.txt").write_text("".join(lines))
    return root


def make_voc(root: Path) -> Path:
    """Pascal VOC's layout with two classes that are not VOC's."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for place, (part, count) in enumerate(CELLS.items()):
        items = [f"{place}{index}" for index in range(count)]
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("\n".join(items))
        for index, item in enumerate(items):
            picture(100 * place + index).save(root / "JPEGImages" / f"{item}.jpg")
            (root / "Annotations" / f"{item}.xml").write_text(ANNOTATION.format(name=("red", "white")[index % 2]))
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {"camvid": make_camvid, "voc": make_voc}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("real")
    data = [f"{name}={make(folder / name)}" for name, make in MAKERS.items()]
    return make_plan(REAL, data=data, storage=Folder.at(str(folder / "runs")))


def test_the_real_space_trains_four_networks_of_each_mobilenet(plan: Plan) -> None:
    assert not plan.no_data
    recipes = ("clean/baseline", "clean/continued", "jpeg/constant-10", "jpeg/uniform")
    assert {entry.cell.name for entry in plan.entries} == {f"{name}/{recipe}" for name in REAL.budgets for recipe in recipes}
    assert all("mobilenet" in name for name in REAL.budgets)


def test_the_real_space_starts_from_imagenet_and_validates_on_clean_and_at_10(plan: Plan) -> None:
    assert {entry.initial for entry in plan.entries if not entry.parents} == {"imagenet"}
    validated = {condition for entry in plan.entries for condition in plan.job(entry).validation}
    assert validated == {Condition(), Condition(codec="jpeg", level=10)}


def test_the_real_space_reads_camvid_at_two_thirds_of_its_trees_size() -> None:
    assert REAL.budgets["unet_mobilenet_v2"].hyper["size"] == (360 * 2 // 3, 480 * 2 // 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL.budgets)
def test_the_networks_of_the_real_space_train_on_files_in_the_data_sets_layouts(plan: Plan, name: str) -> None:
    architecture, budget = ARCHITECTURES[name], REAL.budgets[name]
    assert isinstance(architecture, Architecture)
    source: Source = plan.sources[REAL.data[architecture.task.name]]
    small: dict[str, Any] = {"size": (48, 64)} if architecture is UNET_MOBILENET_V2 else {"min_size": 48, "max_size": 64}
    hyper = hyper_of(architecture, {**budget.hyper, **small, "batch_size": 2})
    workload = Workload(architecture=architecture, hyper=hyper, data=source)
    (epoch,) = train(workload, BASELINE, epochs=1, seed=0)
    assert all(np.isfinite(value) for value in epoch.losses.values())
    assert set(epoch.validation[Condition()]) == set(architecture.task.metrics)
