"""`study run real --seeds 3`: real photographs and published initial weights, for two processor cores."""

from search_spaces.space import Budget, Hyper, Space

UNET_MOBILENET_V2: Hyper = {
    "batch_size": 6,
    "optimiser": "adamw",
    "lr": 1e-3,
    "lr_schedule": "one_cycle",
    "size": (240, 320),
}
FASTER_RCNN_MOBILENET_V2: Hyper = {
    "batch_size": 4,
    "optimiser": "adamw",
    "lr": 1e-3,
    "lr_schedule": "one_cycle",
    "clip": 5.0,
    "min_size": 240,
    "max_size": 320,
}

REAL = Space(
    name="real",
    summary="small subsets of real images, networks from ImageNet weights, hours on two cores",
    data={"segmentation": "camvid", "detection": "voc"},
    codecs=("jpeg",),
    cells=("*/clean/*", "*/jpeg/constant-10", "*/jpeg/uniform"),
    validation={"jpeg": (10,)},
    budgets={
        "unet_mobilenet_v2": Budget(initial="imagenet", epochs=20, hyper=UNET_MOBILENET_V2, channels_last=True),
        "faster_rcnn_mobilenet_v2": Budget(initial="imagenet", epochs=10, hyper=FASTER_RCNN_MOBILENET_V2, channels_last=True),
    },
)
