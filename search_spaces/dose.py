"""`study run dose`: how much of the training imagery must be compressed. Segmentation, the demo's data and network, three seeds.

JPEG quality 5, and quality 10, on 25, 50, 75 and 100 % of the training samples, the rest clean. It asks whether mixing in clean
samples keeps the gain at heavy levels and saves the cost on clean imagery; half clean is what one would deploy instead of
`constant`.

There are 10 trials per seed, 30 in all: baseline, control, and four shares at each of two qualities.
"""

from dataclasses import replace

from search_spaces.demo import DEMO
from search_spaces.space import Variant

DOSE = replace(
    DEMO,
    name="dose",
    summary="one compressed level on a share of the samples, segmentation",
    codecs=("jpeg",),
    validation={"jpeg": (10,)},
    cells=("*/clean/*", "*/jpeg/constant-10", "*/jpeg/constant-5", "*/jpeg/*-on-*"),
    budgets={"segnet": DEMO.budgets["segnet"]},
    variants={
        f"{level}-on-{100 - clean}": Variant(recipe="weighted", shape={"ladder": (level,), "clean": clean / 100})
        for level in (10, 5)
        for clean in (75, 50, 25)
    },
    seeds=3,
)
