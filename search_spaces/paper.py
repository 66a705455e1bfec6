"""`study run paper`: the paper's networks, budgets and ladders (sections III-A to III-E), plus the controls it lacks.

Takes days on GPUs. The budgets are the paper's own figures; judging by their size, its "epochs" of SegNet are iterations.

OpenPose's VGG19 is frozen for the first five epochs of COCO, 33,600 steps. At the paper's learning rate its published random
weights do not train, so torch's are used (see docs/fidelity.md).

The motion stream uses DIS optical flow (`dis_fast`) instead of the published TV-L1. The hyper-parameter `"flow": "tvl1"` selects
TV-L1, computed once for all trials and stored. For UCF101 that is 13,320 clips x 185 pairs x 6 conditions (clean and five levels) x
1.2 s: 4,900 core-hours, 51 days on the four loader processes of a trial. On disk it takes between 70 GB (4.7 kB per flow, measured
on two clips of UCF101) and 210 GB (14 kB, on a clip with more motion). `study plan` predicts it; the store keeps at most 100 GB
unless STUDY_STORE_GB is set.
"""

from search_spaces.space import Budget, Retraining, Space

BATCH_NORM = ("segnet*", "depth_gan", "two_stream*")
"""Architectures whose batch-norm statistics can be re-estimated; Faster R-CNN's are frozen, OpenPose has none."""

PAPER = Space(
    name="paper",
    summary="the paper's networks, budgets and ladders; GPUs",
    data={
        "segmentation": "cityscapes",
        "depth": "synthia",
        "detection": "voc2007",
        "pose": "coco_people",
        "action": "ucf101",
    },
    codecs=("jpeg", "h264"),
    cells=("*/clean/*", "*/constant-*", "*/uniform*", *(f"{name}/*/recalibrated-*" for name in BATCH_NORM)),
    budgets={
        **{
            name: Budget(
                initial="imagenet",
                iterations=33_000,
                hyper={"batch_size": 12, "optimiser": "sgd", "lr": 0.1, "momentum": 0.9, "size": (512, 1024)},
                precision="bfloat16",
                channels_last=True,
            )
            for name in ("segnet", "segnet_bilinear")
        },
        "depth_gan": Budget(
            initial="none", epochs=10, hyper={"batch_size": 10, "lr": 1e-4}, precision="bfloat16", channels_last=True
        ),
        "faster_rcnn": Budget(
            initial="imagenet",
            iterations=60_000,
            hyper={
                "batch_size": 2,
                "optimiser": "sgd",
                "lr": 0.001,
                "lr_schedule": "warmup_steps",
                "momentum": 0.9,
                "weight_decay": 0.0005,
                "nms": 0.3,
            },
            precision="bfloat16",
            channels_last=True,
        ),
        "openpose": Budget(
            initial="imagenet",
            epochs=40,
            hyper={
                "batch_size": 8,
                "optimiser": "sgd",
                "lr": 1e-3,
                "lr_schedule": "steps",
                "momentum": 0.9,
                "weight_decay": 0.0005,
                "initialisation": "torch",
                "frozen_steps": 33_600,
            },
            retraining=Retraining(epochs=40, hyper={"frozen_steps": 0}),
            precision="bfloat16",
            channels_last=True,
        ),
        **{
            name: Budget(
                initial="imagenet",
                epochs=500,
                hyper={"batch_size": 12, "optimiser": "sgd", "lr": 1e-3, "momentum": 0.9},
                precision="bfloat16",
                channels_last=True,
            )
            for name in ("two_stream_spatial", "two_stream_motion")
        },
        "two_stream": Budget(initial="none"),
    },
    validation={"jpeg": (15, 5), "h264": (30, 40)},
    seeds=3,
    threads=4,
    workers=4,
    gpus=1.0,
)
