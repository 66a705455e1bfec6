from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import Margin
from trainables import CLEAN, Epoch, Numerics, Workload, evaluate, train
from trainables.contracts import Precision
from trainables.engine.numerics import computing, prepare
from trainables.recipes.recipes import BASELINE


def trained(workload: Workload, numerics: Numerics) -> Epoch:
    (epoch,) = train(replace(workload, numerics=numerics), BASELINE, epochs=1, seed=0)
    return epoch


def test_an_unknown_precision_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"^unknown precision 'float8'; use one of float32, bfloat16$"):
        Numerics(precision="float8")  # type: ignore[arg-type]


def test_mixed_precision_computes_convolutions_in_bfloat16() -> None:
    convolution, image = nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    with computing(Numerics(precision="bfloat16"), "cpu"):
        assert convolution(image).dtype == torch.bfloat16
    with computing(Numerics(), "cpu"):
        assert convolution(image).dtype == torch.float32


def test_mixed_precision_uses_weights_that_changed_within_a_step() -> None:
    layer, one = nn.Linear(1, 1, bias=False), torch.ones(1, 1)
    with computing(Numerics(precision="bfloat16"), "cpu"):
        layer.weight.data.fill_(1.0)
        layer(one)
        layer.weight.data.fill_(2.0)
        assert layer(one).item() == 2.0


def test_mixed_precision_keeps_weights_in_full_precision(workload: Workload) -> None:
    mixed = trained(workload, Numerics(precision="bfloat16"))
    assert {value.dtype for value in mixed.weights.values()} == {torch.float32, torch.int64}


@pytest.mark.trained
def test_mixed_precision_reaches_about_the_loss_of_full_precision(workload: Workload, margin: Margin) -> None:
    full, mixed = trained(workload, Numerics()), trained(workload, Numerics(precision="bfloat16"))
    assert mixed.losses != full.losses
    margin(abs(mixed.losses["loss"] / full.losses["loss"] - 1), below=0.05)


def test_channels_last_changes_the_memory_order_of_weights(workload: Workload) -> None:
    ordered = trained(workload, Numerics(channels_last=True))
    assert ordered.weights["encoder.1.0.0.weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.trained
def test_channels_last_reaches_the_loss_of_the_default_order(workload: Workload, margin: Margin) -> None:
    plain, ordered = (trained(workload, Numerics(channels_last=order)) for order in (False, True))
    margin(abs(ordered.losses["loss"] / plain.losses["loss"] - 1), below=1e-3)


def test_a_channels_last_training_resumes_bit_identically(workload: Workload) -> None:
    ordered = replace(workload, numerics=Numerics(channels_last=True))
    *_, whole = train(ordered, BASELINE, epochs=2, seed=0)
    first = next(train(ordered, BASELINE, epochs=2, seed=0))
    (resumed,) = train(ordered, BASELINE, epochs=2, seed=0, resume=first.state)
    assert all(torch.equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_training_and_scoring_compute_in_the_precision_of_the_workload(
    workload: Workload, precision: Precision, expected: torch.dtype
) -> None:
    computed: list[torch.dtype] = []

    def observed(*arguments: Any) -> Any:
        learner = workload.architecture.learner(*arguments)
        learner.network.register_forward_hook(lambda _network, _inputs, logits: computed.append(logits.dtype))
        return learner

    watched = replace(workload, architecture=replace(workload.architecture, learner=observed))
    weights = trained(watched, Numerics(precision=precision)).weights
    assert set(computed) == {expected}
    computed.clear()
    list(evaluate(replace(watched, numerics=Numerics(precision=precision)), weights, conditions=[CLEAN]))
    assert set(computed) == {expected}


@dataclass
class NetworkAlone:
    """The only part of a learner that `prepare` uses."""

    network: nn.Module


@pytest.mark.slow
def test_a_compiled_network_computes_the_same_and_its_weights_keep_their_names() -> None:
    network, image = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.rand(1, 3, 8, 8)
    before, names = network(image).detach(), list(network.state_dict())
    prepare(NetworkAlone(network), Numerics(compiled=True))  # type: ignore[arg-type]
    assert torch.allclose(network(image), before, atol=1e-5)
    assert list(network.state_dict()) == names


@pytest.mark.slow
def test_each_network_of_a_module_dict_is_compiled() -> None:
    networks = nn.ModuleDict({"generator": nn.Linear(2, 2), "discriminator": nn.Linear(2, 1)})
    prepare(NetworkAlone(networks), Numerics(compiled=True))  # type: ignore[arg-type]
    assert all(member._compiled_call_impl is not None for member in networks.values())
