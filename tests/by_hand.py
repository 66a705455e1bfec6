"""Hand-made results of a study, in the form in which MLflow returns them."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.results import Results

LADDER = (75, 5)
# Each network's scores under clean and the levels of the ladder, per seed.
SCORES = {
    "baseline": [(0.60, 0.58, 0.30), (0.62, 0.60, 0.32)],
    "continued": [(0.66, 0.64, 0.36), (0.68, 0.66, 0.38)],
    "constant-5": [(0.62, 0.61, 0.51), (0.64, 0.63, 0.53)],
}
OTHER_LADDER = (90, 60, 30)
OTHER_SCORES = {
    "baseline": [(0.60, 0.58, 0.50, 0.30), (0.62, 0.60, 0.52, 0.32)],
    "continued": [(0.66, 0.64, 0.55, 0.36), (0.68, 0.66, 0.57, 0.38)],
    "constant-30": [(0.62, 0.61, 0.58, 0.51), (0.64, 0.63, 0.60, 0.53)],
    "uniform": [(0.63, 0.62, 0.57, 0.45), (0.65, 0.64, 0.59, 0.47)],
}


def results(
    scores: Mapping[str, Sequence[tuple[float, ...]]],
    *,
    noise: float = 0.001,
    mode: str = "max",
    ladder: tuple[int, ...] = LADDER,
) -> Results:
    trials, rows = [], []
    conditions = [("", 0), *(("jpeg", level) for level in ladder)]
    rng = np.random.default_rng(0)
    shared = rng.normal(0, noise, (len(conditions), 50))
    for recipe, seeds in scores.items():
        for seed, values in enumerate(seeds):
            retrained = recipe not in {"baseline", "continued"}
            trials.append(
                {
                    "trial": f"{recipe}-{seed}",
                    "cell": f"segnet/{'jpeg' if retrained else 'clean'}/{recipe}",
                    "architecture": "segnet",
                    "task": "segmentation",
                    "codec": "jpeg" if retrained else "",
                    "recipe": recipe,
                    "dataset": "streets",
                    "seed": seed,
                    "epochs": 0 if recipe.startswith("recalibrated") else 8,
                    "initial": "none",
                    "metric": "miou",
                    "ladder": {"jpeg": list(ladder)},
                    "training_levels": _training_levels(recipe, ladder) if retrained else [None],
                    "role": "retrained" if retrained else recipe,
                    "streams": "",
                    "recalibrated": recipe.startswith("recalibrated"),
                    "baseline": f"baseline-{seed}" if retrained else "",
                    "parents": [] if recipe == "baseline" else [f"baseline-{seed}"],
                    "control": f"continued-{seed}" if retrained else "",
                    "hyper": {"lr": "0.004"},
                    "numerics": {"precision": "float32"},
                    "data_fingerprint": "d474",
                    "codec_identity": {"clean": None, **{f"jpeg-{level}": f"{level:04}" for level in ladder}},
                    "versions": {"torch": "2.15.0"},
                    "group_sizes": [3, 3, 2],
                    "git_commit": "c0ffee",
                    "setup": json.dumps([]),
                    "scored": 1_795_363_789_752,
                    "ended": 1_795_363_794_192,
                }
            )
            for place, ((codec, level), value) in enumerate(zip(conditions, values, strict=True)):
                rows.append(
                    {
                        "trial": f"{recipe}-{seed}", "codec": codec, "level": level, "metric": "miou", "mode": mode, "value": value,
                        "bits_per_pixel": level / 20 if codec else np.nan, "bytes_per_item": np.nan,
                        "replicates": value + shared[place] + rng.normal(0, noise, 50),
                    }
                )  # fmt: skip
    return Results(study="hand", trials=pd.DataFrame(trials).set_index("trial"), scores=pd.DataFrame(rows))


def _training_levels(recipe: str, ladder: tuple[int, ...]) -> list[int]:
    """The level that ends the recipe's name, or the whole ladder."""
    level = recipe.rpartition("-")[2]
    return [int(level)] if level.isdigit() else list(ladder)
