"""`study run transfer`: does retraining help under conditions that training did not see? Segmentation, the demo's data and network.

`transfer` leaves one level of the ladder out of `uniform`: `without-15` is tested at quality 15 like all others. Six levels,
baseline, control and `uniform` are 9 trials per seed, 27 in all.

`study run transfer-90` and `study run transfer-75`: all imagery, clean included, passes JPEG at quality 90 or 75 before anything
else, as from a camera that compresses. Compare their R - C with that of `transfer`. Baseline, control, `uniform` and constant 10
and 5 are 5 trials per seed, 15 in each space.
"""

from dataclasses import replace

from search_spaces.demo import DEMO
from search_spaces.space import Compressed, Variant

LADDER = (95, 75, 50, 15, 10, 5)

TRANSFER = replace(
    DEMO,
    name="transfer",
    summary="tested at a level that training left out, segmentation",
    codecs=("jpeg",),
    ladders={"jpeg": LADDER},
    validation={"jpeg": (10,)},
    cells=("*/clean/*", "*/jpeg/uniform", "*/jpeg/without-*"),
    budgets={"segnet": DEMO.budgets["segnet"]},
    variants={
        f"without-{level}": Variant(recipe="uniform", shape={"ladder": tuple(other for other in LADDER if other != level)})
        for level in LADDER
    },
    seeds=3,
)
TRANSFER_90, TRANSFER_75 = (
    replace(
        TRANSFER,
        name=f"transfer-{quality}",
        summary=f"all imagery passes JPEG at quality {quality} first, segmentation",
        cells=("*/clean/*", "*/jpeg/uniform", "*/jpeg/constant-10", "*/jpeg/constant-5"),
        variants={},
        source=Compressed("jpeg", quality),
    )
    for quality in (90, 75)
)
