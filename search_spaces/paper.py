"""`study run paper`: the paper's networks, budgets and ladders (sections III-A to III-E), and the controls that it lacks.

Days on GPUs. The budgets are the paper's own figures; its "epochs" of SegNet are iterations by their size.
"""

from search_spaces.space import Budget, Space

PAPER = Space(
    name="paper",
    summary="the paper's networks, budgets and ladders; GPUs",
    data={"segmentation": "cityscapes", "detection": "voc2007", "depth": "synthia", "action": "ucf101"},
    cells=("*/clean/*", "*/constant-*", "*/uniform*", "*/recalibrated-*"),
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
