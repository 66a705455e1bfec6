"""Faster R-CNN (Ren et al. 2015) with a feature pyramid, the paper's detection network (section III-C), and its training.

The network is torchvision's. `resnet50_fpn` is the published backbone, `mobilenet_v2_fpn` a light one with published initial
weights, `small` a reduced one for the embedded study. To add a backbone, add a function that returns a `FasterRCNN` to `BACKBONES`.

All operations are deterministic on CPUs. On GPUs torchvision's region-pooling kernel is not; with torch's deterministic algorithms
enabled, torchvision compiles another kernel in its place.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights
from torchvision.models.detection import FasterRCNN, FasterRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN, resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from trainables.contracts import Source, Weights
from trainables.networks.initial import published
from trainables.networks.learner import OneNetworkLearner
from trainables.tasks.detection.mobilenet import mobilenet_v2_fpn

CHANNELS = (16, 32, 48, 64, 64, 64, 64)
"""Channels of the small backbone's seven convolutions."""
STRIDES = (2, 1, 2, 1, 2, 1, 1)
"""Strides of the small backbone's seven convolutions."""
HIDDEN = 128
"""Width of the small network's two fully connected layers."""
POOLED, SAMPLES = 5, 1
"""Cells per side to which the small network pools a region, and sampling points per side of a cell."""
LAYERS = 5
"""Layers of ResNet50 that `trainable_layers` counts, the first convolution included."""
INSIDE = 0.7
"""A proposal is inside a crowd where more than this fraction of its area is (Detectron's threshold)."""
UNKNOWN = "N/A"
"""Name of COCO categories without images, which torchvision counts as classes."""


def _resnet50_fpn(hyper: Any, classes: int) -> FasterRCNN:
    if not 0 <= hyper.trainable_layers <= LAYERS:
        raise ValueError(f"faster_rcnn: expected trainable_layers in 0..{LAYERS}, got {hyper.trainable_layers}")
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=_norm(hyper), trainable_layers=hyper.trainable_layers
    )
    return FasterRCNN(backbone, classes + 1, min_size=hyper.min_size, max_size=hyper.max_size)


def _small(hyper: Any, classes: int) -> FasterRCNN:
    """One feature map of stride 8 and 64 channels, for objects of 5 to 80 pixels; few proposals per image."""
    backbone = nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), _norm(hyper)(after), nn.ReLU(inplace=True))
            for (before, after), stride in zip(pairwise((3, *CHANNELS)), STRIDES, strict=True)
        )
    )
    backbone.out_channels = CHANNELS[-1]  # type: ignore[assignment]
    return FasterRCNN(
        backbone,
        min_size=hyper.min_size,
        max_size=hyper.max_size,
        rpn_anchor_generator=AnchorGenerator(((10, 18, 30, 48, 72),), ((0.45, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=400,
        rpn_pre_nms_top_n_test=400,
        rpn_post_nms_top_n_train=120,
        rpn_post_nms_top_n_test=120,
        rpn_batch_size_per_image=64,
        box_batch_size_per_image=64,
        box_roi_pool=MultiScaleRoIAlign(["0"], POOLED, SAMPLES),
        box_head=TwoMLPHead(CHANNELS[-1] * POOLED**2, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, classes + 1),
    )


def _norm(hyper: Any) -> Callable[[int], nn.Module]:
    norm: Callable[[int], nn.Module] = FrozenBatchNorm2d if hyper.frozen_batch_norm else nn.BatchNorm2d
    return norm


def _mobilenet_v2_fpn(hyper: Any, classes: int) -> FasterRCNN:
    return mobilenet_v2_fpn(hyper, classes, _norm(hyper))


BACKBONES: Mapping[str, Callable[[Any, int], FasterRCNN]] = {
    "resnet50_fpn": _resnet50_fpn,
    "small": _small,
    "mobilenet_v2_fpn": _mobilenet_v2_fpn,
}


def _in_float32(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    """Cast outputs of mixed precision: torchvision computes boxes in this type, and bfloat16 cannot hold 513, 514 or 515."""
    return tuple([each.float() for each in part] if isinstance(part, list) else part.float() for part in outputs)


def _outside_crowds(_heads: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """In training, drop the proposals inside crowds, as Detectron does: they are neither objects nor background."""
    features, proposals, sizes, targets = inputs
    if targets is None or not any(len(target["crowds"]) for target in targets):
        return None
    kept = []
    for boxes, (height, width), target in zip(proposals, sizes, targets, strict=True):
        crowds = target["crowds"] * torch.tensor([width, height, width, height], device=boxes.device)
        kept.append(boxes[(share_inside(boxes, crowds) <= INSIDE).all(dim=1)])
    return features, kept, sizes, targets


def share_inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """(N, M): the share of the area of each box (N, 4) that is inside each region (M, 4); 0 for boxes without area."""
    sides = torch.minimum(boxes[:, None, 2:], regions[:, 2:]) - torch.maximum(boxes[:, None, :2], regions[:, :2])
    return sides.clamp(min=0).prod(dim=-1) / (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1, keepdim=True).clamp(min=1e-12)


class DetectionLearner(OneNetworkLearner):
    """A torchvision detection network with its optimiser."""

    def __init__(self, network: FasterRCNN, hyper: Any, *, steps: int, device: str) -> None:
        network.rpn.head.register_forward_hook(_in_float32)
        network.roi_heads.box_predictor.register_forward_hook(_in_float32)
        network.roi_heads.register_forward_pre_hook(_outside_crowds)
        trained = (each for each in network.parameters() if each.requires_grad)
        super().__init__(network, hyper, steps=steps, device=device, trained=trained, clip=hyper.clip)

    def outputs(self, batch: Mapping[str, Sequence[Any]]) -> list[dict[str, Tensor]]:
        """Detections per image as torchvision returns them in evaluation mode: it decodes boxes inside the network."""
        detections: list[dict[str, Tensor]] = self.network(self._images(batch))
        return detections

    def losses(self, batch: Mapping[str, Sequence[Any]]) -> Mapping[str, Tensor]:
        """Two losses of the region proposals and two of the boxes, from images (3, H, W) uint8 and their truths.

        As in the paper's implementation (Detectron), difficult objects are background in training. Crowds are background for the
        region proposals' own losses; proposals inside a crowd are ignored.
        """
        images = self._images(batch)
        targets = [self._target(truth, image) for truth, image in zip(batch["truths"], images, strict=True)]
        losses: Mapping[str, Tensor] = self.network(images, targets)
        return losses

    def decode(self, outputs: list[dict[str, Tensor]], batch: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:  # noqa: ARG002
        """Detections by falling score: boxes (N, 4) float32, x0 y0 x1 y1 in the item's pixels, scores (N,) float32, labels (N,)."""
        return [
            {
                "boxes": each["boxes"].float().cpu().numpy(),
                "scores": each["scores"].float().cpu().numpy(),
                "labels": each["labels"].cpu().numpy() - 1,  # torchvision's label 0 is the background
            }
            for each in outputs
        ]

    def _images(self, batch: Mapping[str, Sequence[Any]]) -> list[Tensor]:
        """Images in 0..1; torchvision's network normalises and resizes them itself."""
        return [image.to(self.device, torch.float32) / 255 for image in batch["images"]]

    def _target(self, truth: Mapping[str, Any], image: Tensor) -> dict[str, Tensor]:
        """Objects to train on, and `crowds` (C, 4) as fractions of the image's sides: torchvision resizes only `boxes`."""
        kept = ~(truth["difficult"] | truth["crowd"])
        sides = np.array([image.shape[-1], image.shape[-2]] * 2, np.float32)
        return {
            "boxes": torch.from_numpy(truth["boxes"][kept]).to(self.device),
            "labels": torch.from_numpy(truth["labels"][kept] + 1).to(self.device),
            "crowds": torch.from_numpy(truth["boxes"][truth["crowd"]] / sides).to(self.device),
        }


def faster_rcnn(hyper: Any, source: Source, steps: int, device: str) -> DetectionLearner:
    """A freshly initialised network for the classes of a source. Raises ValueError for a backbone that is not in `BACKBONES`."""
    if hyper.backbone not in BACKBONES:
        raise ValueError(f"faster_rcnn: unknown backbone {hyper.backbone!r}; use one of {', '.join(BACKBONES)}")
    network = BACKBONES[hyper.backbone](hyper, len(source.classes))
    network.roi_heads.nms_thresh = hyper.nms
    network.classes = source.classes  # read by `take_detector`
    return DetectionLearner(network, hyper, steps=steps, device=device)


def imagenet(network: nn.Module) -> None:
    """Load torchvision's ImageNet weights of ResNet50 into the backbone; all other layers stay random.

    Raises ValueError where they do not fit or are not available.
    """
    _require_published(network, "imagenet")
    take_backbone(network, published(ResNet50_Weights.IMAGENET1K_V1))


def coco(network: nn.Module) -> None:
    """Load torchvision's detector weights, trained on COCO; see `take_detector`.

    Raises ValueError where they do not fit or are not available.
    """
    _require_published(network, "coco")
    entry = FasterRCNN_ResNet50_FPN_Weights.COCO_V1
    take_detector(network, published(entry), tuple(entry.meta["categories"]))


def _require_published(network: nn.Module, initial: str) -> None:
    if not isinstance(network.backbone, BackboneWithFPN) or "layer4" not in network.backbone.body:
        raise ValueError(
            f"faster_rcnn: initial weights {initial!r} fit only backbone='resnet50_fpn'; set the budget's `initial` to `none`"
        )


def take_backbone(network: nn.Module, weights: Weights) -> None:
    """Load a ResNet50 classifier's weights, except its last layer, into the backbone, in place."""
    body: Any = network.backbone.body  # type: ignore[union-attr]
    body.load_state_dict({name: value for name, value in weights.items() if not name.startswith("fc.")})


def take_detector(network: nn.Module, weights: Weights, categories: Sequence[str]) -> None:
    """Load the weights of torchvision's detector, in place.

    `categories` are the detector's class names, background first. The class layers stay random unless the network has exactly these
    classes in this order, not counting categories without images.
    """
    known = [place for place, name in enumerate(categories) if name != UNKNOWN]
    agreeing = tuple(categories[place] for place in known[1:]) == network.classes
    found = dict(weights)
    for layer, rows in (("cls_score", 1), ("bbox_pred", 4)):
        for name in (f"roi_heads.box_predictor.{layer}.{part}" for part in ("weight", "bias")):
            theirs = found.pop(name)
            if agreeing:
                found[name] = theirs.reshape(len(categories), rows, -1)[known].reshape(-1, *theirs.shape[1:])
            else:
                found[name] = network.state_dict()[name]
    # The published detector was trained with eps = 0 in its batch norms; subtracting this network's eps from the variances
    # makes its outputs equal.
    norms = {name: module for name, module in network.named_modules() if isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d)}
    for name, module in norms.items():
        found[f"{name}.running_var"] = found[f"{name}.running_var"] - module.eps
        if isinstance(module, nn.BatchNorm2d):
            found[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    network.load_state_dict(found)
