"""`study run demo`: the whole study in minutes on two processor cores, on embedded data and reduced networks.

It shows the machinery and the direction of the effects, not the paper's figures. Expected after some three minutes (segmentation,
one seed): mIoU falls from clean to quality 5, and retraining at 5 beats the control there. So it does in detection (mAP at 5 of the
control .15, of retraining .18), in depth (RMSE at 5 of the control 10.7 m, of retraining 9.6 m) and in pose (OKS mAP at 5 of the
control .01, of retraining .17). In action (top-1 at CRF 40) the fused control has .68, fused retraining .77.
"""

from search_spaces.space import Budget, Hyper, Space

SEGNET: Hyper = {
    "batch_size": 6,
    "optimiser": "adamw",
    "lr": 4e-3,
    "lr_schedule": "one_cycle",
    "class_weights": "inverse_sqrt",
    "width": 0.25,
    "convolutions": (1, 1, 1, 1, 1),
}
"""A twentieth of the published network's parameters: its own optimiser settings do not train it in so few steps."""

DEPTH_GAN: Hyper = {
    "batch_size": 6,
    "lr": 2e-3,
    "lr_schedule": "one_cycle",
    "width": 12,
    "levels": 5,
    "size": (96, 128),
    "min_depth": 0.5,
    "representation": "log",
}
"""A U-Net of five levels at the scenes' own size; its discriminator is as narrow."""

FASTER_RCNN: Hyper = {
    "batch_size": 4,
    "optimiser": "adamw",
    "lr": 2e-3,
    "lr_schedule": "one_cycle",
    "clip": 5.0,
    "backbone": "small",
    "frozen_batch_norm": False,
    "min_size": 96,
    "max_size": 128,
}
"""Seven convolutions in place of ResNet50, on the scenes in their own size."""

OPENPOSE: Hyper = {
    "batch_size": 8,
    "optimiser": "adamw",
    "lr": 5e-3,
    "lr_schedule": "one_cycle",
    "weight_decay": 0.0,
    "trunk": "small",
    "width": 16,
    "stages": 2,
    "size": (96, 128),
    "person": 0.0,
    "scale": (0.95, 1.1),
    "rotation": 5.0,
    "shift": 4.0,
    "sigma": 3.0,
}
"""A trunk of five convolutions and stride 4, two stages of 3x3 convolutions."""

STREAM: Hyper = {
    "batch_size": 8,
    "network": "small",
    "optimiser": "adamw",
    "lr": 3e-3,
    "lr_schedule": "one_cycle",
    "weight_decay": 1e-2,
    "crop": 1.0,
    "flip": False,
}
"""Five convolutions. Walking left and right are two actions here, so nothing is mirrored."""

STILLS = (
    "*/clean/*",
    "*/jpeg/constant-15",
    "*/jpeg/constant-10",
    "*/jpeg/constant-5",
    "*/jpeg/uniform",
    "*/jpeg/recalibrated-10",
)
CLIPS = ("*/h264/constant-25*", "*/h264/constant-[345]0*")

DEMO = Space(
    name="demo",
    summary="embedded data, reduced networks, minutes on two cores",
    data={
        "segmentation": "street_scenes",
        "depth": "street_depth",
        "detection": "street_objects",
        "pose": "street_people",
        "action": "street_actions",
    },
    cells=(*STILLS, *CLIPS),
    budgets={
        **{name: Budget(initial="none", epochs=8, hyper=SEGNET) for name in ("segnet", "segnet_bilinear")},
        "depth_gan": Budget(initial="none", epochs=8, hyper=DEPTH_GAN),
        "faster_rcnn": Budget(initial="none", epochs=10, hyper=FASTER_RCNN),
        "openpose": Budget(initial="none", epochs=10, hyper=OPENPOSE),
        "two_stream_spatial": Budget(initial="none", epochs=12, hyper={**STREAM, "size": (96, 128), "positions": 4}),
        "two_stream_motion": Budget(initial="none", epochs=16, hyper={**STREAM, "size": (48, 64), "positions": 2}),
        "two_stream": Budget(initial="none"),
    },
)
