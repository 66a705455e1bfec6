"""Faster R-CNN (Ren et al. 2015) with a feature pyramid, the paper's detection network (section III-C), and how it is trained.

The network is torchvision's. `resnet50_fpn` is the published one, `small` a reduced one for the embedded study. Another backbone
is one more function in `BACKBONES` that returns a `FasterRCNN`.

Its operations are deterministic on processors. On GPUs torchvision's kernel that pools regions is not; while torch's deterministic
algorithms are on, torchvision compiles another one in its place.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

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
from trainables.networks.optimisation import Optimisation

CHANNELS = (16, 32, 48, 64, 64, 64, 64)
"""Of the reduced trunk's seven convolutions."""
STRIDES = (2, 1, 2, 1, 2, 1, 1)
HIDDEN = 128
"""Width of the reduced network's two fully connected layers."""
POOLED, SAMPLES = 5, 1
"""Cells a side to which the reduced network pools a region, and points a side that it averages in a cell."""
STAGES = 5
"""Of ResNet50, the first convolution included."""
UNKNOWN = "N/A"
"""A category of COCO that torchvision counts and that has no images."""


def _resnet50_fpn(hyper: Any, classes: int) -> FasterRCNN:
    if not 0 <= hyper.trainable_layers <= STAGES:
        raise ValueError(f"faster_rcnn: trainable_layers {hyper.trainable_layers} is not within 0..{STAGES}")
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=_norm(hyper), trainable_layers=hyper.trainable_layers
    )
    return FasterRCNN(backbone, classes + 1, min_size=hyper.min_size, max_size=hyper.max_size)


def _small(hyper: Any, classes: int) -> FasterRCNN:
    """One feature map of stride 8 and 64 channels, for objects of 5 to 80 pixels, and few regions an image."""
    trunk = nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), _norm(hyper)(after), nn.ReLU(inplace=True))
            for (before, after), stride in zip(pairwise((3, *CHANNELS)), STRIDES, strict=True)
        )
    )
    trunk.out_channels = CHANNELS[-1]  # type: ignore[assignment]
    return FasterRCNN(
        trunk,
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


BACKBONES: Mapping[str, Callable[[Any, int], FasterRCNN]] = {"resnet50_fpn": _resnet50_fpn, "small": _small}


def _in_float32(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    """Outputs of mixed precision. Torchvision computes boxes in the type of the regression: bfloat16 knows 512 and then 516."""
    return tuple([each.float() for each in part] if isinstance(part, list) else part.float() for part in outputs)


class DetectionLearner:
    """A detection network of torchvision with its optimiser."""

    def __init__(self, network: FasterRCNN, hyper: Any, *, steps: int, device: str) -> None:
        self.network: nn.Module = network.to(device)
        self.device = device
        network.rpn.head.register_forward_hook(_in_float32)
        network.roi_heads.box_predictor.register_forward_hook(_in_float32)
        trained = [each for each in network.parameters() if each.requires_grad]
        self.optimisation = Optimisation(trained, hyper, steps=steps, clip=hyper.clip)

    def update(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
        """One step on images, uint8 (3, H, W) each, and their truths; the two losses of the proposals and the two of the boxes.

        Difficult objects and crowds are not trained on, as in the paper's implementation (Detectron): they are background.
        """
        losses: dict[str, Tensor] = self.network(self._images(batch), [self._target(truth) for truth in batch["truths"]])
        self.optimisation.step(torch.stack(list(losses.values())).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def predict(self, batch: Mapping[str, Sequence[Any]]) -> Sequence[dict[str, Any]]:
        """Detections by falling score: boxes (N, 4) float32, x0 y0 x1 y1 in the item's pixels, scores (N,) float32, labels (N,)."""
        detections = self.network(self._images(batch))
        return [
            {
                "boxes": each["boxes"].float().cpu().numpy(),
                "scores": each["scores"].float().cpu().numpy(),
                "labels": each["labels"].cpu().numpy() - 1,  # torchvision's 0 is the background
            }
            for each in detections
        ]

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, learning-rate schedule."""
        return {"network": self.network.state_dict(), **self.optimisation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimisation.load_state_dict(state)

    def _images(self, batch: Mapping[str, Sequence[Any]]) -> list[Tensor]:
        """0..1; torchvision's network normalises and resizes them itself."""
        return [image.to(self.device, torch.float32) / 255 for image in batch["images"]]

    def _target(self, truth: Mapping[str, Any]) -> dict[str, Tensor]:
        wanted = ~(truth["difficult"] | truth["crowd"])
        return {
            "boxes": torch.from_numpy(truth["boxes"][wanted]).to(self.device),
            "labels": torch.from_numpy(truth["labels"][wanted] + 1).to(self.device),
        }


def faster_rcnn(hyper: Any, source: Source, steps: int, device: str) -> DetectionLearner:
    """A freshly initialised network for the classes of a source. Raises ValueError for a backbone that is not in `BACKBONES`."""
    if hyper.backbone not in BACKBONES:
        raise ValueError(f"faster_rcnn: unknown backbone {hyper.backbone!r}: known are {', '.join(BACKBONES)}")
    network = BACKBONES[hyper.backbone](hyper, len(source.classes))
    network.classes = source.classes  # initial weights of whole detectors ask for them
    return DetectionLearner(network, hyper, steps=steps, device=device)


def imagenet(network: nn.Module) -> None:
    """Give the backbone the weights of torchvision's ResNet50; all else stays random.

    Raises ValueError where they do not fit or cannot be had.
    """
    _need_published(network)
    take_backbone(network, published(ResNet50_Weights.IMAGENET1K_V1))


def coco(network: nn.Module) -> None:
    """Give the network the weights of torchvision's, trained on COCO; see `take_detector`.

    Raises ValueError where they do not fit or cannot be had.
    """
    _need_published(network)
    entry = FasterRCNN_ResNet50_FPN_Weights.COCO_V1
    take_detector(network, published(entry), tuple(entry.meta["categories"]))


def _need_published(network: nn.Module) -> None:
    if not isinstance(network.backbone, BackboneWithFPN):
        raise ValueError("faster_rcnn: published weights fit backbone resnet50_fpn alone; a reduced network has `none`")


def take_backbone(network: nn.Module, weights: Weights) -> None:
    """Load the weights of a ResNet50 classifier but its last layer, in place."""
    body: Any = network.backbone.body  # type: ignore[union-attr]
    body.load_state_dict({name: value for name, value in weights.items() if not name.startswith("fc.")})


def take_detector(network: nn.Module, weights: Weights, categories: Sequence[str]) -> None:
    """Load the weights of torchvision's detector, in place.

    `categories` are the names of its classes, background first. The layers that the classes shape stay random unless the network's
    classes are those, in that order, without the categories that nothing is of.
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
    # They were trained with batch norms that add nothing to the variance; the network's add their epsilon.
    norms = {name: module for name, module in network.named_modules() if isinstance(module, FrozenBatchNorm2d | nn.BatchNorm2d)}
    for name, module in norms.items():
        found[f"{name}.running_var"] = found[f"{name}.running_var"] - module.eps
        if isinstance(module, nn.BatchNorm2d):
            found[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.long)
    network.load_state_dict(found)
