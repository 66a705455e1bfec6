"""`study run schedules`: every mixed schedule of compression levels, for all five tasks, on the demo's data and networks.

It asks which schedule of training levels is best over clean and the whole ladder. Segmentation and pose are screened: all
candidates run with seeds 0 to 2 and are scored on validation alone; the best two and `uniform` then run with the fresh seeds 3 to
12, and only these are tested. The other tasks run every schedule with one seed, which names no winner.

There are 72 screening trials (three seeds of a baseline and eleven candidates, for two networks), then 100 final ones and 10 more
for each network whose finalists have a control of their own, and 75 trials of the other tasks. `ramp` and `anneal` also run at a
constant learning rate, `-steady`, with a control at that rate: the demo's rate falls to 0, so a schedule that ends in heavy
levels meets them with small steps. `ramp-shuffled` draws as `uniform` does here: their difference is noise.

A tenth of the training images is withheld from every network, control included, for `worst` and `adaptive`.
"""

from dataclasses import replace

from search_spaces.demo import DEMO
from search_spaces.space import Hyper, Screening, Variant

STEADY: Hyper = {"lr_schedule": "constant"}

MIXED = (
    *("weighted", "log-uniform", "ramp", "anneal", "ramp-shuffled", "refine", "cycle", "worst", "adaptive"),
    *("ramp-steady", "anneal-steady"),
)
"""What competes with `uniform`."""

SCHEDULES = replace(
    DEMO,
    name="schedules",
    summary="every mixed schedule of levels against uniform and the control, five tasks",
    cells=(
        *(f"*/clean/{recipe}" for recipe in ("baseline", "continued", "continued-steady")),
        *(f"*/*/{recipe}" for recipe in ("uniform", *MIXED)),
    ),
    budgets={name: budget for name, budget in DEMO.budgets.items() if name != "segnet_bilinear"},
    variants={
        "continued-steady": Variant(recipe="continued", hyper=STEADY),
        "ramp-steady": Variant(recipe="ramp", hyper=STEADY, control="continued-steady"),
        "anneal-steady": Variant(recipe="anneal", hyper=STEADY, control="continued-steady"),
    },
    withheld=0.1,
    screening=Screening(candidates=tuple(f"{name}/*/{recipe}" for name in ("segnet", "openpose") for recipe in MIXED)),
)
