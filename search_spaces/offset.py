"""`study run offset`: trained heavier or lighter than tested. Segmentation and pose, the demo's data and networks, one seed.

The full train x test matrix over nine JPEG qualities, finer than the demo's six. Each row is one network; k rungs off the
diagonal is training k rungs heavier, or lighter, than testing, which the paper names as future work.

There are 11 trials per network and seed: baseline, control, and one for each quality; `--seeds 3` adds intervals.
"""

from dataclasses import replace

from search_spaces.demo import DEMO

OFFSET = replace(
    DEMO,
    name="offset",
    summary="train x test matrix over nine qualities, segmentation and pose",
    codecs=("jpeg",),
    ladders={"jpeg": (95, 75, 50, 30, 20, 15, 10, 7, 5)},
    validation={"jpeg": (10,)},
    cells=("*/clean/*", "*/jpeg/constant-*"),
    budgets={name: DEMO.budgets[name] for name in ("segnet", "openpose")},
)
