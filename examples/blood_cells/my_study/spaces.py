"""Your own network for a task that the project knows, on your own data set in Pascal VOC's layout.

Launch from the folder above: `study run my_study.spaces:BLOOD --data bccd=PATH`
"""

from dataclasses import replace
from typing import Any

from search_spaces import Budget, Space
from trainables import DATASETS, Learner, Source
from trainables.tasks.detection import FASTER_RCNN

BCCD = replace(DATASETS["voc"], name="bccd")


def with_silu(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    """Faster R-CNN with SiLU in place of ReLU in its backbone."""
    from torch import nn  # imported here, so that `study plan` starts without torch

    learner = FASTER_RCNN.learner(hyper, source, steps, device)
    for block in learner.network.backbone:  # type: ignore[union-attr]
        block[2] = nn.SiLU(inplace=True)
    return learner


MY_NET = replace(
    FASTER_RCNN,
    name="my_net",
    learner=with_silu,
    hyper=replace(
        FASTER_RCNN.hyper,
        backbone="small",
        frozen_batch_norm=False,
        min_size=120,
        max_size=160,
        batch_size=4,
        optimiser="adamw",
        lr=2e-3,
        lr_schedule="one_cycle",
        clip=5.0,
        nms=0.5,
    ),
)

BLOOD = Space(
    name="blood",
    summary="blood cells, found by your own network",
    data={"detection": "my_study.spaces:BCCD"},
    codecs=("jpeg",),
    cells=("*/clean/*", "*/jpeg/constant-10", "*/jpeg/uniform"),
    budgets={"my_study.spaces:MY_NET": Budget(initial="none", epochs=8)},
    validation={"jpeg": (15, 5)},
)
