"""`study run paper`: the paper's networks, budgets and ladders (sections III-A to III-E), and the controls that it lacks.

Days on GPUs. The budgets are the paper's own figures; its "epochs" of SegNet are iterations by their size.

The motion stream sees the flow of DIS (`dis_fast`), not of TV-L1 as published: `"flow": "tvl1"` in its hyper-parameters takes that,
computed once for all trials and stored. Of UCF101 it is 13,320 clips x 185 pairs x 6 (clean and five levels) x 1.2 s: 4,900
core-hours, 51 days on the four loader processes of a trial. On disk it is 70 GB at the 4.7 kB a flow of two clips of UCF101, 210 GB
at the 14 kB of a livelier one, and `study plan` foretells it; the store keeps 100 GB at most unless STUDY_STORE_GB says otherwise.
"""

from search_spaces.space import Budget, Space

BATCH_NORM = ("segnet*", "depth_gan", "two_stream*")
"""What has batch norms that are not frozen, whose statistics can be estimated anew: Faster R-CNN and OpenPose have not."""

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
            hyper={"batch_size": 2, "optimiser": "sgd", "lr": 0.001, "momentum": 0.9, "weight_decay": 0.0005},
            precision="bfloat16",
            channels_last=True,
        ),
        "openpose": Budget(
            initial="imagenet",
            epochs=40,
            hyper={"batch_size": 8, "optimiser": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": 0.0005},
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
    seeds=3,
    threads=4,
    workers=4,
    gpus=1.0,
)
