"""A network of one's own for a task that the project knows, on a data set of one's own in a layout that it reads.

`study run my_study.spaces:BLOOD 'my_net/*' --data bccd=PATH`, from the folder above; PATH is a Pascal VOC tree.
"""

from dataclasses import replace
from typing import Any

from search_spaces import Budget, Space
from trainables import ARCHITECTURES, DATASETS, Learner, Source

FASTER_RCNN = ARCHITECTURES["faster_rcnn"]

BCCD = replace(DATASETS["voc"], name="bccd")


def smoother(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    """The project's network with SiLU in place of ReLU in its trunk."""
    from torch import nn

    learner = FASTER_RCNN.learner(hyper, source, steps, device)
    for block in learner.network.backbone:  # type: ignore[union-attr]
        block[2] = nn.SiLU(inplace=True)
    return learner


MY_NET = replace(FASTER_RCNN, name="my_net", learner=smoother)

BLOOD = Space(
    name="blood",
    summary="cells of the blood, by a network of one's own",
    data={"detection": "my_study.spaces:BCCD"},
    cells=("*/clean/*", "*/jpeg/constant-10", "*/jpeg/uniform"),
    budgets={
        "my_study.spaces:MY_NET": Budget(
            initial="none",
            epochs=8,
            hyper={
                "backbone": "small",
                "frozen_batch_norm": False,
                "batch_size": 4,
                "optimiser": "adamw",
                "lr": 2e-3,
                "lr_schedule": "one_cycle",
                "clip": 5.0,
                "min_size": 120,
                "max_size": 160,
            },
        )
    },
)
