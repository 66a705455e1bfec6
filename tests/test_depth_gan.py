from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from search_spaces import SPACES
from tests.conftest import Margin
from trainables import Numerics
from trainables.engine.numerics import computing
from trainables.tasks.depth import DEPTH, INPUTS, DepthGANHyper
from trainables.tasks.depth.depth_gan import DepthGANLearner, Discriminator, Generator, decoded, encoded

DOWN = [(3, 64), (64, 128), (128, 256), (256, 512), *[(512, 512)] * 4]
UP = [(512, 512), *[(1024, 512)] * 3, (1024, 256), (512, 128), (256, 64), (128, 1)]
PATCH = [(4, 64), (64, 128), (128, 256), (256, 512), (512, 1)]
SMALL = DepthGANHyper(batch_size=2, lr=1e-3, width=4, downsamplings=3, size=(32, 40))


def learner(hyper: DepthGANHyper = SMALL, **changes: Any) -> DepthGANLearner:
    torch.manual_seed(0)
    return DepthGANLearner(hyper, steps=4, device="cpu", **changes)


def batch(hyper: DepthGANHyper = SMALL, *, unknown: float = 0.3) -> dict[str, Tensor]:
    rng = np.random.default_rng(0)
    shape = (hyper.batch_size, *hyper.size)
    depth = np.where(rng.random(shape) < unknown, 0, rng.uniform(1, 80, shape)).astype(np.float32)
    image = rng.integers(0, 256, (hyper.batch_size, 3, *hyper.size), np.uint8)
    return {"image": torch.from_numpy(image), "depth": torch.from_numpy(depth)}


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def kinds(network: nn.Module) -> list[str]:
    """Class names of the layers, in order, without containers."""
    return [type(part).__name__ for part in network.modules() if not list(part.children())]


# The published networks


def test_the_published_generator_has_eight_convolutions_down_and_eight_up() -> None:
    with torch.device("meta"):
        network = Generator(width=64, downsamplings=8)
    down = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    up = [part for part in network.modules() if isinstance(part, nn.ConvTranspose2d)]
    assert [(part.in_channels, part.out_channels) for part in down] == DOWN
    assert [(part.in_channels, part.out_channels) for part in up] == UP
    assert {(part.kernel_size, part.stride, part.padding) for part in (*down, *up)} == {((4, 4), (2, 2), (1, 1))}


def test_batch_norm_follows_all_convolutions_except_the_outermost_and_the_one_into_the_bottleneck() -> None:
    with torch.device("meta"):
        network = Generator(width=64, downsamplings=8)
    norm_down, norm_up = ["LeakyReLU", "Conv2d", "BatchNorm2d"], ["ReLU", "ConvTranspose2d", "BatchNorm2d"]
    assert kinds(network.down) == ["Conv2d", *norm_down * 6, "LeakyReLU", "Conv2d"]
    assert kinds(network.up) == [*norm_up * 7, "ReLU", "ConvTranspose2d", "Tanh"]
    assert {part.negative_slope for part in network.modules() if isinstance(part, nn.LeakyReLU)} == {0.2}


def test_the_published_generator_has_54_million_parameters() -> None:
    with torch.device("meta"):
        network = Generator(width=64, downsamplings=8)
    kernels = sum(16 * before * after for before, after in (*DOWN, *UP))
    norms = sum(2 * after for _, after in (*DOWN[1:-1], *UP[:-1]))
    assert parameters(network) == kernels + norms + 1  # the last convolution's bias
    assert kernels + norms + 1 == 54_409_857


def test_the_published_discriminator_has_three_strided_convolutions_and_two_unstrided() -> None:
    with torch.device("meta"):
        network = Discriminator(width=64)
    parts = [part for part in network.modules() if isinstance(part, nn.Conv2d)]
    assert [(part.in_channels, part.out_channels) for part in parts] == PATCH
    assert [part.stride[0] for part in parts] == [2, 2, 2, 1, 1]
    norm = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds(network) == ["Conv2d", "LeakyReLU", *norm * 3, "Conv2d"]


def test_the_published_discriminator_has_2_8_million_parameters() -> None:
    with torch.device("meta"):
        network = Discriminator(width=64)
    kernels = sum(16 * before * after for before, after in PATCH)
    assert parameters(network) == kernels + (64 + 1) + 2 * (128 + 256 + 512)
    assert parameters(network) == 2_766_657


def test_a_verdict_depends_on_70x70_pixels() -> None:
    torch.manual_seed(0)
    network = Discriminator(width=2).eval()
    image = torch.zeros(1, 3, 256, 256, requires_grad=True)
    verdicts = network(image, torch.zeros(1, 1, 256, 256))
    assert verdicts.shape == (1, 1, 30, 30)
    verdicts[0, 0, 15, 15].backward()
    assert image.grad is not None
    seen = image.grad[0].abs().sum(dim=0).nonzero()
    assert (seen.max(dim=0).values - seen.min(dim=0).values + 1).tolist() == [70, 70]


def test_the_bottleneck_of_the_published_network_is_one_pixel() -> None:
    sizes = []
    with torch.device("meta"):
        network = Generator(width=64, downsamplings=8)
        for block in network.down:
            block.register_forward_hook(lambda _module, _inputs, output: sizes.append(output.shape[-1]))
        assert network(torch.zeros(2, 3, 256, 256)).shape == (2, 1, 256, 256)
    assert sizes == [128, 64, 32, 16, 8, 4, 2, 1]


def test_the_published_hyper_parameters_are_the_papers() -> None:
    hyper = DepthGANHyper()
    assert (hyper.batch_size, hyper.lr, hyper.betas, hyper.l1_weight) == (10, 1e-4, (0.5, 0.999), 100.0)
    assert (hyper.width, hyper.downsamplings, hyper.size) == (64, 8, (256, 256))


def test_the_published_network_takes_a_step() -> None:
    published = learner(DepthGANHyper(batch_size=1))
    losses = published.update(batch(published.hyper))
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())
    assert all(each.grad is not None and bool(each.grad.abs().sum() > 0) for each in published.generator.parameters())


def test_weights_are_initialised_as_in_pix2pix() -> None:
    torch.manual_seed(0)
    network = Generator(width=16, downsamplings=4)
    kernels = torch.cat([part.weight.flatten() for part in network.modules() if isinstance(part, nn.Conv2d)])
    gains = torch.cat([part.weight.flatten() for part in network.modules() if isinstance(part, nn.BatchNorm2d)])
    assert (float(kernels.detach().mean()), float(kernels.detach().std())) == pytest.approx((0, 0.02), abs=1e-3)
    assert (float(gains.detach().mean()), float(gains.detach().std())) == pytest.approx((1, 0.02), abs=5e-3)


def test_the_demo_trains_the_reduced_network() -> None:
    hyper = SPACES["demo"].budgets["depth_gan"].hyper
    assert (hyper["width"], hyper["downsamplings"]) == (12, 5)


# Sizes and ranges


def test_skips_join_layers_of_the_same_size() -> None:
    sizes = {}
    network = Generator(width=4, downsamplings=3)
    for name, module in network.named_modules():
        if isinstance(module, nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda _module, inputs, _output, name=name: sizes.update({name: tuple(inputs[0].shape[1:])})
            )
    assert network(torch.zeros(2, 3, 32, 40)).shape == (2, 1, 32, 40)
    assert list(sizes.values()) == [(16, 4, 5), (16, 8, 10), (8, 16, 20)]


@pytest.mark.parametrize("size", [(250, 256), (256, 100), (0, 256)])
def test_a_size_that_cannot_be_halved_often_enough_is_refused_with_its_value(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"size \({size[0]}, {size[1]}\).*multiples of 256"):
        DepthGANHyper(size=size)


def test_a_size_too_small_for_the_discriminator_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        DepthGANHyper(size=(16, 32), downsamplings=4)


@pytest.mark.parametrize(("near", "far"), [(0.0, 80.0), (5.0, 5.0), (1.0, -1.0)])
def test_an_empty_range_of_depths_is_refused_with_its_values(near: float, far: float) -> None:
    with pytest.raises(ValueError, match=f"min_depth {near} and max_depth {far} are no range"):
        DepthGANHyper(min_depth=near, max_depth=far)


@pytest.mark.parametrize(("width", "downsamplings"), [(0, 8), (64, 1)])
def test_width_zero_or_too_few_downsamplings_are_refused_with_their_values(width: int, downsamplings: int) -> None:
    with pytest.raises(ValueError, match=f"width {width} and downsamplings {downsamplings} are too small"):
        DepthGANHyper(width=width, downsamplings=downsamplings)


def test_the_linear_representation_of_depths_computed_by_hand() -> None:
    hyper = replace(SMALL, representation="linear", max_depth=80.0)
    assert encoded(torch.tensor([20.0, 40.0, 80.0]), hyper).tolist() == pytest.approx([-0.5, 0, 1])


def test_the_logarithmic_representation_of_depths_computed_by_hand() -> None:
    hyper = replace(SMALL, representation="log", min_depth=1.0, max_depth=81.0)
    assert encoded(torch.tensor([1.0, 3.0, 9.0, 81.0]), hyper).tolist() == pytest.approx([-1, -0.5, 0, 1], abs=1e-6)


@pytest.mark.parametrize("representation", ["linear", "log"])
def test_decoding_is_the_inverse_of_encoding(representation: Any) -> None:
    hyper = replace(SMALL, representation=representation)
    depths = torch.linspace(hyper.min_depth, hyper.max_depth, 100)
    assert decoded(encoded(depths, hyper), hyper).tolist() == pytest.approx(depths.tolist(), rel=1e-4)


@pytest.mark.parametrize("representation", ["linear", "log"])
def test_decoded_depths_stay_within_the_range(representation: Any) -> None:
    hyper = replace(SMALL, representation=representation)
    depths = decoded(torch.tensor([-1.0, 0.0, 1.0]), hyper)
    assert float(depths.min()) >= np.float32(hyper.min_depth) > 0
    assert float(depths.max()) <= hyper.max_depth


# Training


class DepthOfEachPixel(nn.Module):
    """Its depths are parameters, so the depths that a step changes are those that had a gradient."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.depths = nn.Parameter(torch.zeros(1, 1, height, width))

    def forward(self, images: Tensor) -> Tensor:
        return self.depths.expand(len(images), -1, -1, -1)


def test_pixels_of_unknown_depth_give_no_gradient() -> None:
    pixels = DepthOfEachPixel(*SMALL.size)
    one = {name: value[:1] for name, value in batch().items()}
    learner(generator=pixels).update(one)
    changed = pixels.depths.detach()[0, 0] != 0
    assert torch.equal(changed, one["depth"][0] > 0)


def test_the_l1_loss_is_the_mean_over_the_known_pixels() -> None:
    hyper = replace(SMALL, representation="linear", max_depth=80.0)
    depth = torch.zeros(1, *hyper.size)
    depth[0, 0, :4] = torch.tensor([80.0, 60.0, 40.0, 20.0])  # 1, 0.5, 0, -0.5
    image = torch.zeros(1, 3, *hyper.size, dtype=torch.uint8)
    losses = learner(hyper, generator=DepthOfEachPixel(*hyper.size)).update({"image": image, "depth": depth})
    assert float(losses["l1"]) == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)


def test_a_batch_without_known_depth_has_a_finite_loss() -> None:
    losses = learner().update(batch(unknown=1.0))
    assert float(losses["l1"]) == 0
    assert all(bool(torch.isfinite(loss)) for loss in losses.values())


def test_the_discriminator_receives_zero_where_the_truth_is_unknown() -> None:
    trained, given = learner(), batch()
    seen: list[Tensor] = []
    trained.discriminator.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[1].detach().clone()))
    trained.update(given)
    unknown = given["depth"][:, None] == 0
    assert all(set(depths[unknown].tolist()) == {0.0} for depths in seen)


def test_a_step_changes_both_networks() -> None:
    trained = learner()
    before = {name: value.clone() for name, value in trained.network.named_parameters()}
    trained.update(batch())
    same = {name for name, value in trained.network.named_parameters() if torch.equal(before[name], value)}
    assert {name for name in before if name.startswith("generator.")} - same
    assert {name for name in before if name.startswith("discriminator.")} - same


def test_the_discriminator_steps_before_it_judges_the_generators_depths() -> None:
    trained = learner()
    order: list[str] = []
    weights: list[Tensor] = []

    def judged(_module: nn.Module, inputs: tuple[Tensor, Tensor]) -> None:
        order.append("judges, with gradient" if inputs[1].requires_grad else "judges")
        weights.append(next(trained.discriminator.parameters()).detach().clone())

    trained.generator.register_forward_pre_hook(lambda _module, _inputs: order.append("generates"))
    trained.discriminator.register_forward_pre_hook(judged)
    trained.update(batch())
    assert order == ["generates", "judges", "judges", "judges, with gradient"]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_the_generators_step_does_not_change_the_discriminator() -> None:
    trained = learner()
    seen: list[Tensor] = []

    def keep(_optimiser: Any, _arguments: Any, _names: Any) -> None:
        seen.append(torch.cat([value.detach().flatten() for value in trained.discriminator.parameters()]))

    trained.optimisers["generator"].register_step_pre_hook(keep)
    trained.optimisers["generator"].register_step_post_hook(keep)
    trained.update(batch())
    before, after = seen
    assert torch.equal(before, after)


def test_with_adversarial_weight_zero_the_generator_does_not_depend_on_the_discriminator() -> None:
    trained, other = (learner(replace(SMALL, adversarial_weight=0.0)) for _ in range(2))
    with torch.no_grad():
        for parameter in other.discriminator.parameters():
            parameter.mul_(3)
    for each in (trained, other):
        each.update(batch())
    assert torch.equal(next(trained.generator.parameters()), next(other.generator.parameters()))


def test_one_cycle_does_not_change_the_momentum() -> None:
    trained = learner(replace(SMALL, lr_schedule="one_cycle"))
    trained.update(batch())
    for optimiser in trained.optimisers.values():
        assert optimiser.param_groups[0]["betas"] == (0.5, 0.999)


@pytest.mark.trained
def test_training_on_one_batch_lowers_the_l1_loss(margin: Margin) -> None:
    trained = learner(replace(SMALL, lr=5e-3, representation="log"))
    given = batch(unknown=0.0)
    given["depth"] = 5 + given["image"][:, 0].float() / 4
    losses = [float(trained.update(given)["l1"]) for _ in range(60)]
    margin(losses[-1] / losses[0], below=1 / 3)


# Predictions


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_predictions_are_in_metres_within_the_range(precision: Any) -> None:
    trained, given = learner(), batch()
    trained.network.eval()
    with torch.inference_mode(), computing(Numerics(precision=precision), "cpu"):
        found = trained.predict(given)
    assert len(found) == 2
    for depths in found:
        assert (depths.dtype, depths.shape) == (np.dtype(np.float32), SMALL.size)
        assert depths.min() > 0
        assert depths.max() <= SMALL.max_depth


def test_a_step_in_mixed_precision_changes_both_networks() -> None:
    trained = learner()
    before = {name: value.clone() for name, value in trained.network.named_parameters()}
    with computing(Numerics(precision="bfloat16"), "cpu"):
        losses = trained.update(batch())
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    changed = {name.split(".")[0] for name, value in trained.network.named_parameters() if not torch.equal(before[name], value)}
    assert changed == {"generator", "discriminator"}


def test_a_prediction_does_not_depend_on_the_other_items_of_a_batch() -> None:
    trained, given = learner(), batch()
    trained.network.eval()
    with torch.inference_mode():
        together, alone = trained.predict(given), trained.predict({"image": given["image"][1:]})
    assert together[1] == pytest.approx(alone[0], rel=1e-4)


def test_an_example_is_resized_without_averaging_depths() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 90, 70, 3), np.uint8)
    target = np.random.default_rng(1).choice(np.array([0, 2.5, 30, 655.35], np.float32), (90, 70))
    example = INPUTS.example(frames, target, SMALL, None)
    assert (example["image"].shape, example["image"].dtype) == ((3, 32, 40), np.dtype(np.uint8))
    assert (example["depth"].shape, example["depth"].dtype) == ((32, 40), np.dtype(np.float32))
    assert set(np.unique(example["depth"])) == {0, 2.5, 30, 80}


def numbered(height: int, width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Frames and a depth map that hold the same number at each pixel, one plus its column plus twice its row, below 200."""
    numbers = 1 + np.arange(width) + 2 * np.arange(height)[:, None]
    return np.repeat(numbers[None, ..., None], 3, axis=-1).astype(np.uint8), numbers.astype(np.float32)


def test_training_crops_and_mirrors_image_and_depth_alike_at_random() -> None:
    hyper = replace(SMALL, jitter=12, max_depth=500.0)
    frames, depth = numbered(32 + 12, 40 + 12)  # no resizing is needed
    corners, mirrored = set(), 0
    for seed in range(100):
        example = INPUTS.example(frames, depth, hyper, np.random.default_rng(seed))
        assert (example["image"].shape, example["depth"].shape) == ((3, 32, 40), (32, 40))
        assert np.array_equal(example["image"][0], example["depth"])
        rising = example["depth"][0, 0] < example["depth"][0, -1]
        mirrored += not rising
        upright = example["depth"] if rising else example["depth"][:, ::-1]
        assert np.array_equal(upright - upright[0, 0], depth[:32, :40] - depth[0, 0])
        corners.add(float(upright[0, 0]))
    assert 30 <= mirrored <= 70
    assert corners <= set(range(1, 1 + 12 + 24 + 1))
    assert len(corners) > 20


def test_evaluation_neither_crops_nor_mirrors() -> None:
    frames, depth = numbered(32, 40)
    example = INPUTS.example(frames, depth, replace(SMALL, max_depth=500.0), None)
    assert np.array_equal(example["depth"], depth)
    assert np.array_equal(example["image"], frames[0].transpose(2, 0, 1))


def test_training_without_jitter_and_flip_sees_what_evaluation_sees() -> None:
    frames, depth = numbered(50, 60)
    hyper = replace(SMALL, jitter=0, flip=False)
    trained, evaluated = (INPUTS.example(frames, depth, hyper, rng) for rng in (np.random.default_rng(0), None))
    assert all(np.array_equal(trained[name], evaluated[name]) for name in trained)


def test_the_published_jitter_is_that_of_pix2pix() -> None:
    hyper = DepthGANHyper()
    assert ([side + hyper.jitter for side in hyper.size], hyper.flip) == ([286, 286], True)


def test_a_negative_jitter_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^depth_gan: jitter -1 is negative"):
        DepthGANHyper(jitter=-1)


def test_a_picture_is_the_image_above_a_depth_map_that_is_bright_where_it_is_near() -> None:
    frames = np.full((1, 20, 30, 3), 7, np.uint8)
    depths = np.geomspace(0.5, 80, 6, dtype=np.float32).reshape(1, 6)
    picture = DEPTH.picture(frames, depths)
    assert picture.shape == (40, 30, 3)
    assert (picture[:20] == 7).all()
    brightness = picture[20, ::5].astype(int).sum(axis=1)
    assert (np.diff(brightness) < 0).all()
