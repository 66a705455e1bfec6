"""The learning-rate schedules and states of `Optimisation`."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from trainables.engine.conformance import through_a_file
from trainables.networks.optimisation import Optimisation

STEPS = {"milestones": (0.5, 0.75), "decay": 0.1, "warmup": 4}
SCHEDULES = ("constant", "one_cycle", "steps", "warmup_steps")


def optimisation(weight: nn.Parameter, schedule: str, *, steps: int = 20, **changes: Any) -> Optimisation:
    values = {"optimiser": "sgd", "lr": 0.3, "momentum": 0.9, "weight_decay": 0.01, "lr_schedule": schedule, **STEPS, **changes}
    return Optimisation([weight], SimpleNamespace(**values), steps=steps)


def rates(schedule: str, *, steps: int, **changes: Any) -> list[float]:
    """The learning rate in each step of a training."""
    weight = nn.Parameter(torch.ones(2))
    one, found = optimisation(weight, schedule, steps=steps, **changes), []
    for _ in range(steps):
        found.append(one.optimiser.param_groups[0]["lr"])
        one.step(weight.square().sum())
    return found


def test_the_learning_rate_drops_at_fractions_of_the_training() -> None:
    assert rates("steps", steps=8) == pytest.approx([0.3] * 4 + [0.03] * 2 + [0.003] * 2)


def test_a_warm_up_rises_linearly_from_a_third() -> None:
    assert rates("warmup_steps", steps=8) == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.03, 0.03, 0.003, 0.003])
    assert rates("warmup_steps", steps=12) == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.3, *[0.03] * 3, *[0.003] * 3])


def test_a_warm_up_longer_than_the_training_does_not_reach_the_learning_rate() -> None:
    assert rates("warmup_steps", steps=2, warmup=500, milestones=()) == pytest.approx([0.1, 0.1 + 0.2 / 500])


def test_a_warm_up_of_no_steps_starts_at_the_learning_rate() -> None:
    assert rates("warmup_steps", steps=4, warmup=0, milestones=()) == [0.3] * 4


def test_detectrons_schedule_at_60000_iterations() -> None:
    """Warm-up over 500 iterations from a third; a tenth from iteration 40,000 on, a hundredth from 53,333 on."""
    from trainables.tasks.detection import FASTER_RCNN

    one = Optimisation([nn.Parameter(torch.ones(1))], FASTER_RCNN.hyper, steps=60_000)
    factor = one.lr_schedule.lr_lambdas[0]  # type: ignore[attr-defined]
    found = {step: factor(step) for step in (0, 250, 499, 500, 39_999, 40_000, 53_332, 53_333, 59_999)}
    assert found == pytest.approx(
        {0: 1 / 3, 250: 2 / 3, 499: 1 - 1 / 750, 500: 1, 39_999: 1, 40_000: 0.1, 53_332: 0.1, 53_333: 0.01, 59_999: 0.01}
    )


def trained(one: Optimisation, weight: nn.Parameter, inputs: Sequence[torch.Tensor]) -> None:
    for each in inputs:
        one.step((weight * each).square().sum())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("after", [3, 11])
def test_a_training_resumed_from_a_file_is_bit_identical(schedule: str, optimiser: str, after: int) -> None:
    """After 3 steps the warm-up is under way; after 11 a drop lies behind and one ahead."""
    inputs = torch.rand(20, 5, generator=torch.Generator().manual_seed(0)).unbind()
    whole, other = (nn.Parameter(torch.ones(5)) for _ in range(2))
    one = optimisation(whole, schedule, optimiser=optimiser)
    trained(one, whole, inputs[:after])
    with torch.no_grad():
        other.copy_(whole)
    resumed = optimisation(other, schedule, optimiser=optimiser)
    resumed.load_state_dict(through_a_file(one.state_dict()))
    assert resumed.taken == one.taken == after
    trained(one, whole, inputs[after:])
    trained(resumed, other, inputs[after:])
    assert torch.equal(whole, other)
    assert one.optimiser.param_groups[0]["lr"] == resumed.optimiser.param_groups[0]["lr"]
