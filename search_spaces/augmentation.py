"""`study run augmentation`: is the gain due to compression, or would any strong augmentation do? Segmentation, three seeds.

Strong ordinary augmentation (colour, scale, blur) on and off x compression at mixed levels on and off, in the retraining; all
four start from the same baseline, which has neither. `strong` is the control of `strong-uniform`, as `continued` is of `uniform`.

There are 5 trials per seed, 15 in all.
"""

from dataclasses import replace

from search_spaces.demo import DEMO
from search_spaces.space import Hyper, Variant

STRONG: Hyper = {"colour": 0.3, "scale": (0.75, 1.5), "blur": 1.0}
"""Brightness, contrast and saturation by up to 30 %, size by a factor of .75 to 1.5, blur of up to one pixel."""

AUGMENTATION = replace(
    DEMO,
    name="augmentation",
    summary="strong ordinary augmentation x compression in training, segmentation",
    codecs=("jpeg",),
    validation={"jpeg": (10,)},
    cells=("*/clean/*", "*/jpeg/uniform", "*/jpeg/strong-uniform"),
    budgets={"segnet": DEMO.budgets["segnet"]},
    variants={
        "strong": Variant(recipe="continued", hyper=STRONG),
        "strong-uniform": Variant(recipe="uniform", hyper=STRONG, control="strong"),
    },
    seeds=3,
)
