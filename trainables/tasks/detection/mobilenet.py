"""Faster R-CNN on a feature pyramid over MobileNetV2 (Sandler et al. 2018): a small detector with published initial weights.

The network consists of torchvision's modules. As in torchvision's detectors on MobileNetV3, few proposals are scored per image.
"""

from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from trainables.networks.trunks import MOBILENET_V2_CHANNELS, MOBILENET_V2_ENDS, mobilenet_v2, take_mobilenet_v2

LAYERS = len(MOBILENET_V2_ENDS)
"""Parts of the trunk that `trainable_layers` counts: the blocks of one stride each."""
FIRST = 2
"""The first of the trunk's five strides that the pyramid uses: 8, 16 and 32; torchvision adds stride 64 by pooling."""
CHANNELS = 128
"""Channels of the pyramid."""
ANCHORS = ((16, 24), (32, 48), (64, 96), (128, 192))
"""Anchor sizes in pixels of the resized image, for each stride of the pyramid."""
RATIOS = (0.5, 1.0, 2.0)
HIDDEN = 256
"""Width of the two fully connected layers."""
POOLED = 7
"""Cells per side to which a region is pooled."""


def mobilenet_v2_fpn(hyper: Any, classes: int, norm: Callable[[int], nn.Module]) -> FasterRCNN:
    """The network with random weights. Raises ValueError for `trainable_layers` outside 0 to 5."""
    if not 0 <= hyper.trainable_layers <= LAYERS:
        raise ValueError(f"faster_rcnn: expected trainable_layers in 0..{LAYERS}, got {hyper.trainable_layers}")
    trunk = mobilenet_v2(norm)
    frozen = LAYERS - hyper.trainable_layers
    for block in trunk[: MOBILENET_V2_ENDS[frozen - 1] + 1 if frozen else 0]:
        block.requires_grad_(False)
    ends, channels = MOBILENET_V2_ENDS[FIRST:], MOBILENET_V2_CHANNELS[FIRST:]
    names = [str(place) for place in range(len(ends))]
    backbone = BackboneWithFPN(trunk, dict(zip(map(str, ends), names, strict=True)), list(channels), CHANNELS)
    return FasterRCNN(
        backbone,
        min_size=hyper.min_size,
        max_size=hyper.max_size,
        rpn_anchor_generator=AnchorGenerator(ANCHORS, (RATIOS,) * len(ANCHORS)),
        rpn_pre_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=500,
        rpn_post_nms_top_n_train=300,
        rpn_post_nms_top_n_test=150,
        box_batch_size_per_image=128,
        box_roi_pool=MultiScaleRoIAlign(names, POOLED, 2),
        box_head=TwoMLPHead(CHANNELS * POOLED**2, HIDDEN),
        box_predictor=FastRCNNPredictor(HIDDEN, classes + 1),
    )


def imagenet(network: FasterRCNN) -> None:
    """Load torchvision's ImageNet weights into the trunk; all other layers stay random.

    Raises ValueError where they are not available, or where the network has another backbone.
    """
    body: Any = network.backbone.body if isinstance(network.backbone, BackboneWithFPN) else {}
    if str(MOBILENET_V2_ENDS[-1]) not in body:
        raise ValueError(
            "faster_rcnn_mobilenet_v2: initial weights 'imagenet' fit only backbone='mobilenet_v2_fpn'; "
            "set the budget's `initial` to `none`"
        )
    take_mobilenet_v2(body)
