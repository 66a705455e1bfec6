"""`study run demo`: the whole study in minutes on two processor cores, on embedded data and reduced networks.

It shows that the software works and in which direction the effects go; it does not reproduce the paper's figures. Segmentation with
one seed takes about three minutes: mIoU falls from clean to quality 5, and retraining at 5 beats the control there. Control against
retrained at quality 5, means of three seeds: mIoU .37 and .43, detection mAP .15 and .19, depth RMSE 10.5 m and 9.7 m, pose OKS
mAP .01 and .17. Action at CRF 40, both streams fused: top-1 .71 and .79.
"""

from search_spaces.space import Budget, Hyper, Retraining, Space

SEGNET: Hyper = {
    "batch_size": 6,
    "optimiser": "adamw",
    "lr": 4e-3,
    "lr_schedule": "one_cycle",
    "class_weights": "inverse_sqrt",
    "width": 0.25,
    "convolutions": (1, 1, 1, 1, 1),
}
"""A twentieth of the published network's parameters; the published optimiser settings do not train it in so few steps."""

DEPTH_GAN: Hyper = {
    "batch_size": 6,
    "lr": 2e-3,
    "lr_schedule": "one_cycle",
    "width": 12,
    "downsamplings": 5,
    "size": (96, 128),
    "jitter": 0,
    "flip": False,
    "min_depth": 0.5,
    "representation": "log",
}
"""A U-Net with five downsamplings at the scenes' native size, and an equally narrow discriminator."""

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
    "nms": 0.5,
}
"""Seven convolutions in place of ResNet50, on scenes at native size."""

OPENPOSE: Hyper = {
    "batch_size": 8,
    "optimiser": "adamw",
    "lr": 5e-3,
    "lr_schedule": "one_cycle",
    "weight_decay": 0.0,
    "initialisation": "torch",
    "frozen_steps": 0,
    "backbone": "small",
    "width": 16,
    "cascade": 2,
    "size": (96, 128),
    "person": 0.0,
    "scale": (0.95, 1.1),
    "rotation": 5.0,
    "shift": 4.0,
    "sigma": 3.0,
}
"""A backbone of five convolutions with stride 4, and a cascade of two branches of 3x3 convolutions."""

STREAM: Hyper = {
    "batch_size": 8,
    "backbone": "small",
    "optimiser": "adamw",
    "lr": 3e-3,
    "lr_schedule": "one_cycle",
    "weight_decay": 1e-2,
}
"""Five convolutions."""

SPATIAL: Hyper = {**STREAM, "size": (96, 128), "positions": 4, "crop": "none", "flip": False}
"""Whole frames at native size. Walking left and walking right are two actions here, so frames are not mirrored."""

MOTION: Hyper = {**STREAM, "size": (48, 64), "positions": 2, "flow_range": "symmetric"}
"""Flow at half the native size, in -1..1."""

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
    codecs=("jpeg", "h264"),
    cells=(*STILLS, *CLIPS),
    validation={"jpeg": (10,), "h264": (40,)},
    budgets={
        **{
            name: Budget(initial="none", epochs=16, retraining=Retraining(epochs=6), hyper=SEGNET)
            for name in ("segnet", "segnet_bilinear")
        },
        "depth_gan": Budget(initial="none", epochs=20, retraining=Retraining(epochs=5), hyper=DEPTH_GAN),
        "faster_rcnn": Budget(initial="none", epochs=20, retraining=Retraining(epochs=8), hyper=FASTER_RCNN),
        "openpose": Budget(initial="none", epochs=20, retraining=Retraining(epochs=5), hyper=OPENPOSE),
        "two_stream_spatial": Budget(initial="none", epochs=24, retraining=Retraining(epochs=9), hyper=SPATIAL),
        "two_stream_motion": Budget(initial="none", epochs=32, retraining=Retraining(epochs=12), hyper=MOTION),
        "two_stream": Budget(initial="none"),
    },
)
