from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from trainables import Architecture, Condition, Epoch, Numerics, Source, evaluate, train
from trainables.engine.numerics import computing, prepare
from trainables.recipes.recipes import BASELINE


def trained(segnet: Architecture, hyper: Any, streets: Source, numerics: Numerics) -> Epoch:
    (epoch,) = train(segnet, BASELINE, hyper, data=streets, epochs=1, seed=0, numerics=numerics)
    return epoch


def test_an_unknown_precision_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="precision 'float8': known are float32, bfloat16"):
        Numerics(precision="float8")  # type: ignore[arg-type]


def test_mixed_precision_computes_convolutions_in_bfloat16() -> None:
    convolution, image = nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    with computing(Numerics(precision="bfloat16"), "cpu"):
        assert convolution(image).dtype == torch.bfloat16
    with computing(Numerics(), "cpu"):
        assert convolution(image).dtype == torch.float32


def test_mixed_precision_sees_weights_that_changed_within_a_step() -> None:
    layer, one = nn.Linear(1, 1, bias=False), torch.ones(1, 1)
    with computing(Numerics(precision="bfloat16"), "cpu"):
        layer.weight.data.fill_(1.0)
        layer(one)
        layer.weight.data.fill_(2.0)
        assert layer(one).item() == 2.0


def test_mixed_precision_keeps_weights_in_full_precision_and_trains_to_about_the_same(
    segnet: Architecture, hyper: Any, streets: Source
) -> None:
    full = trained(segnet, hyper, streets, Numerics())
    mixed = trained(segnet, hyper, streets, Numerics(precision="bfloat16"))
    assert {value.dtype for value in mixed.weights.values()} == {torch.float32, torch.int64}
    assert mixed.losses != full.losses
    assert mixed.losses["loss"] == pytest.approx(full.losses["loss"], rel=0.05)


def test_channels_last_orders_weights_and_trains_to_the_same(segnet: Architecture, hyper: Any, streets: Source) -> None:
    plain = trained(segnet, hyper, streets, Numerics())
    ordered = trained(segnet, hyper, streets, Numerics(channels_last=True))
    assert ordered.weights["encoder.1.0.0.weight"].is_contiguous(memory_format=torch.channels_last)
    assert ordered.losses["loss"] == pytest.approx(plain.losses["loss"], rel=1e-3)


def test_channels_last_continues_after_an_epoch_as_if_undisturbed(segnet: Architecture, hyper: Any, streets: Source) -> None:
    numerics = Numerics(channels_last=True)
    arguments: dict[str, Any] = {"data": streets, "epochs": 2, "seed": 0, "numerics": numerics}
    *_, whole = train(segnet, BASELINE, hyper, **arguments)
    first = next(train(segnet, BASELINE, hyper, **arguments))
    (resumed,) = train(segnet, BASELINE, hyper, **arguments, resume=first.state)
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


def test_scores_are_computed_in_the_precision_that_is_asked_for(segnet: Architecture, hyper: Any, streets: Source) -> None:
    weights = trained(segnet, hyper, streets, Numerics()).weights

    def clean(numerics: Numerics) -> float:
        (score,) = evaluate(segnet, hyper, weights, data=streets, conditions=[Condition()], numerics=numerics)
        return score.metrics["global_accuracy"]

    assert clean(Numerics(precision="bfloat16")) != clean(Numerics())
    assert clean(Numerics(precision="bfloat16")) == pytest.approx(clean(Numerics()), abs=0.02)


@dataclass
class Alone:
    """A learner as far as `prepare` looks at it."""

    network: nn.Module


@pytest.mark.slow
def test_a_compiled_network_computes_the_same_and_its_weights_keep_their_names() -> None:
    network, image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.rand(1, 3, 8, 8)
    before, names = network(image).detach(), list(network.state_dict())
    prepare(Alone(network), Numerics(compiled=True))  # type: ignore[arg-type]
    assert torch.allclose(network(image), before, atol=1e-5)
    assert list(network.state_dict()) == names


@pytest.mark.slow
def test_each_member_of_a_container_of_networks_is_compiled() -> None:
    networks = nn.ModuleDict({"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)})
    prepare(Alone(networks), Numerics(compiled=True))  # type: ignore[arg-type]
    assert all(member._compiled_call_impl is not None for member in networks.values())


def test_numerics_are_a_value() -> None:
    assert replace(Numerics(), compiled=True) == Numerics(compiled=True)
