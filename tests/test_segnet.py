from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from search_spaces import SPACES
from trainables import Architecture, Source
from trainables.tasks.segmentation.metrics import VOID
from trainables.tasks.segmentation.segnet import SegmentationLearner, SegNet, weights_of_classes

PUBLISHED = (2, 2, 3, 3, 3)
VGG16 = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256)]
VGG16 += [(256, 512), (512, 512), (512, 512), (512, 512), (512, 512), (512, 512)]


def published(classes: int) -> SegNet:
    """The paper's network, with parameters that have shapes but no values."""
    with torch.device("meta"):
        return SegNet(classes, width=1, convolutions=PUBLISHED)


def reduced(classes: int = 11) -> SegNet:
    torch.manual_seed(0)
    return SegNet(classes, width=0.25, convolutions=(1, 1, 1, 1, 1))


def convolutions(*modules: nn.Module) -> list[tuple[int, int]]:
    parts = [part for module in modules for part in module.modules() if isinstance(part, nn.Conv2d)]
    return [(part.in_channels, part.out_channels) for part in parts]


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def test_the_published_encoder_has_the_13_convolutions_of_vgg16() -> None:
    assert convolutions(published(19).encoder) == VGG16
    assert len(VGG16) == 13


def test_the_published_decoder_mirrors_the_encoder_and_ends_in_the_classes() -> None:
    network = published(19)
    mirrored = [(after, before) for before, after in reversed(VGG16)]
    assert convolutions(network.decoder, network.last) == [*mirrored[:-1], (64, 19)]


def test_the_published_network_has_29_million_parameters() -> None:
    decoder = [*((after, before) for before, after in reversed(VGG16[1:])), (64, 19)]
    kernels = sum(9 * before * after + after for before, after in (*VGG16, *decoder))
    norms = sum(2 * after for _, after in (*VGG16, *decoder[:-1]))
    assert parameters(published(19)) == kernels + norms
    assert kernels + norms == pytest.approx(29.4e6, abs=0.1e6)


@pytest.mark.slow
def test_the_published_network_runs_forward_and_backward_at_the_papers_size() -> None:
    torch.manual_seed(0)
    network = SegNet(19, width=1, convolutions=PUBLISHED)
    logits = network(torch.rand(1, 3, 512, 1024))
    assert logits.shape == (1, 19, 512, 1024)
    logits.square().mean().backward()
    assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in network.parameters())


def test_the_reduced_network_has_half_a_million_parameters() -> None:
    encoder = [(3, 16), (16, 32), (32, 64), (64, 128), (128, 128)]
    decoder = [(after, before) for before, after in reversed(encoder[1:])]
    kernels = sum(9 * before * after + after for before, after in (*encoder, *decoder, (16, 11)))
    norms = sum(2 * after for _, after in (*encoder, *decoder))
    assert parameters(reduced(11)) == kernels + norms
    assert kernels + norms == pytest.approx(0.49e6, abs=0.01e6)


def test_every_convolution_but_the_last_is_followed_by_batch_norm_and_relu() -> None:
    parts = [part for part in published(19).modules() if isinstance(part, nn.Conv2d | nn.BatchNorm2d | nn.ReLU)]
    assert [type(part) for part in parts] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 25 + [nn.Conv2d]


def test_every_convolution_is_3_by_3_and_keeps_the_size() -> None:
    found = [part for part in published(19).modules() if isinstance(part, nn.Conv2d)]
    assert {(part.kernel_size, part.padding, part.stride) for part in found} == {((3, 3), (1, 1), (1, 1))}


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 63), (45, 67), (96, 128), (90, 120)])
def test_logits_have_the_size_of_the_input(height: int, width: int) -> None:
    network = reduced(11).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, height, width)).shape == (2, 11, height, width)


def test_logits_can_be_negative() -> None:
    with torch.inference_mode():
        logits = reduced().eval()(torch.randn(1, 3, 32, 32))
    assert logits.min() < 0 < logits.max()


@pytest.mark.parametrize("counts", [(2, 2, 3, 3), (2, 2, 3, 3, 3, 3), (2, 2, 0, 3, 3)])
def test_convolutions_other_than_five_positive_counts_are_refused_with_their_value(counts: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=", ".join(map(str, counts))):
        SegNet(11, width=1, convolutions=counts)


def test_a_width_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match=r"width 0 and convolutions .* give a width above 0"):
        SegNet(11, width=0, convolutions=PUBLISHED)


def brightest(maps: Tensor) -> Tensor:
    """Mask of the first maximum in each 2x2 window."""
    places = torch.zeros_like(maps, dtype=torch.bool)
    for n, c, y, x in np.ndindex(maps.shape[0], maps.shape[1], maps.shape[2] // 2, maps.shape[3] // 2):
        window = maps[n, c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1).tolist()
        place = window.index(max(window))
        places[n, c, 2 * y + place // 2, 2 * x + place % 2] = True
    return places


def test_the_decoder_unpools_to_the_positions_of_the_encoders_maxima() -> None:
    torch.manual_seed(0)
    network = SegNet(3, width=1 / 32, convolutions=(1, 1, 1, 1, 1)).eval()
    encoded: list[Tensor] = []
    unpooled: list[Tensor] = []
    for block in network.encoder:
        block.register_forward_hook(lambda _module, _inputs, output: encoded.append(output.clone()))
    for block in [*network.decoder, network.last]:
        block.register_forward_pre_hook(lambda _module, inputs: unpooled.append(inputs[0].clone()))
    with torch.inference_mode():
        network(torch.randn(1, 3, 64, 96))
    assert len(encoded) == len(unpooled) == 5
    for maps, sparse in zip(reversed(encoded), unpooled, strict=True):
        assert sparse.shape == maps.shape
        assert not sparse[~brightest(maps)].any()
        assert sparse.any()


def test_the_deepest_unpooling_restores_the_values_of_the_maxima() -> None:
    network = reduced().eval()
    seen: list[Tensor] = []
    network.encoder[-1].register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    network.decoder[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].clone()))
    with torch.inference_mode():
        network(torch.randn(1, 3, 64, 64))
    maps, sparse = seen
    assert torch.equal(sparse, torch.where(brightest(maps), maps, 0.0))


class LogitsOfEachPixel(nn.Module):
    """Its logits are parameters, so the logits that a step changes are those that had a gradient."""

    def __init__(self, classes: int, height: int, width: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(1, classes, height, width))

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1, -1, -1)


def learner_of_pixels(hyper: Any, class_weights: Tensor | None = None) -> SegmentationLearner:
    plain = replace(hyper, optimiser="sgd", lr=1.0, lr_schedule="constant", momentum=0.0)
    return SegmentationLearner(LogitsOfEachPixel(3, 4, 4), plain, class_weights=lambda: class_weights, steps=1, device="cpu")


def batch_of(mask: Tensor) -> dict[str, Tensor]:
    return {"image": torch.zeros(len(mask), 3, 4, 4, dtype=torch.uint8), "mask": mask.to(torch.uint8)}


def test_void_pixels_give_no_gradient(hyper: Any) -> None:
    learner = learner_of_pixels(hyper)
    mask = torch.randint(0, 3, (1, 4, 4), generator=torch.Generator().manual_seed(0))
    mask[0, 1:3, 2:] = VOID
    learner.update(batch_of(mask))
    changed = learner.network.logits.detach().abs().sum(dim=1) > 0  # type: ignore[operator]
    assert torch.equal(changed, mask != VOID)


def test_the_loss_of_equal_logits_is_the_logarithm_of_the_number_of_classes(hyper: Any) -> None:
    mask = torch.full((2, 4, 4), VOID)
    mask[:, 0] = 1
    assert learner_of_pixels(hyper).update(batch_of(mask))["loss"].item() == pytest.approx(np.log(3))


def test_the_loss_applies_class_weights(hyper: Any) -> None:
    learner = learner_of_pixels(hyper, torch.tensor([1.0, 0.0, 2.0]))
    mask = torch.zeros(1, 4, 4)
    mask[0, 1], mask[0, 2] = 1, 2
    learner.update(batch_of(mask))
    steps = learner.network.logits.detach().abs().sum(dim=1)[0, :, 0]  # type: ignore[operator]
    assert (steps / steps[0]).tolist() == pytest.approx([1, 0, 2, 1])


def test_class_weights_are_computed_once_and_only_for_training(hyper: Any) -> None:
    computed: list[Tensor] = []

    def class_weights() -> Tensor:
        computed.append(torch.ones(3))
        return computed[-1]

    learner = SegmentationLearner(LogitsOfEachPixel(3, 4, 4), hyper, class_weights=class_weights, steps=2, device="cpu")
    batch = batch_of(torch.zeros(1, 4, 4))
    learner.predict(batch)
    assert not computed
    for _ in range(2):
        learner.update(batch)
    assert len(computed) == 1


def learner_with_void(hyper: Any, void_output: int, weights: Tensor | None = None) -> SegmentationLearner:
    """Three outputs, of which one is void: classes 0 and 1 are the others, in order."""
    plain = replace(hyper, optimiser="sgd", lr=1.0, lr_schedule="constant", momentum=0.0)
    network = LogitsOfEachPixel(3, 4, 4)
    return SegmentationLearner(network, plain, class_weights=lambda: weights, steps=1, device="cpu", void_output=void_output)


@pytest.mark.parametrize(("void_output", "labels"), [(0, [VOID, 0, 1]), (1, [0, VOID, 1]), (2, [0, 1, VOID])])
def test_the_void_output_predicts_void_and_the_others_the_classes_in_order(hyper: Any, void_output: int, labels: list[int]) -> None:
    learner = learner_with_void(hyper, void_output)
    for output, label in enumerate(labels):
        with torch.no_grad():
            learner.network.logits.zero_()[:, output] = 1  # type: ignore[operator]
        (found,) = learner.predict(batch_of(torch.zeros(1, 4, 4)))
        assert (found.dtype, set(found.ravel().tolist())) == (np.dtype(np.uint8), {label})


@pytest.mark.parametrize("void_output", [0, 1, 2])
def test_training_with_a_void_output_raises_the_logit_of_the_true_class_and_ignores_void(hyper: Any, void_output: int) -> None:
    learner = learner_with_void(hyper, void_output, torch.tensor([1.0, 2.0]))
    mask = torch.tensor([0, 1, VOID, VOID]).view(1, 4, 1).expand(1, 4, 4)
    learner.update(batch_of(mask))
    logits = learner.network.logits.detach()[0, :, :, 0]  # type: ignore[operator]
    first, second = (output for output in range(3) if output != void_output)
    assert logits.argmax(dim=0)[:2].tolist() == [first, second]
    assert logits[second, 1] == pytest.approx(2 * logits[first, 0])
    assert not logits[:, 2:].any()


def test_the_network_has_one_output_more_for_void(segnet: Architecture, hyper: Any, streets: Source) -> None:
    for void_output, outputs in ((None, 11), (0, 12), (11, 12)):
        network = segnet.learner(replace(hyper, void_output=void_output), streets, 1, "cpu").network
        assert convolutions(network.last)[-1][1] == outputs  # type: ignore[arg-type]


@pytest.mark.parametrize("void_output", [-1, 12])
def test_a_void_output_that_does_not_exist_is_refused(segnet: Architecture, hyper: Any, streets: Source, void_output: int) -> None:
    with pytest.raises(ValueError, match=rf"^segnet: void_output {void_output} does not exist [^\n]*; give 0\.\.11$"):
        segnet.learner(replace(hyper, void_output=void_output), streets, 1, "cpu")


def test_a_network_with_more_outputs_than_classes_is_told_by_the_name_of_the_data(segnet: Architecture, streets: Source) -> None:
    batch = {"mask": torch.zeros(1, 2, 2, dtype=torch.uint8)}
    with pytest.raises(ValueError, match=rf"^the network predicts class 11, but {streets.name} has 11 classes \(0\.\.10\)"):
        segnet.task.statistics([np.full((2, 2), 11, np.uint8)], batch, streets)


def test_inverse_sqrt_weights_are_inverse_roots_of_frequencies_with_mean_one(streets: Source) -> None:
    counts = np.zeros(11)
    for index in range(12):
        for label in streets.train.target(index).ravel():
            counts[label] += 1
    expected = 1 / np.sqrt(counts / counts.sum())
    weights = weights_of_classes(streets, "inverse_sqrt")
    assert weights is not None
    assert weights.tolist() == pytest.approx((expected / expected.mean()).tolist(), rel=1e-5)


def test_a_class_that_never_occurs_has_weight_zero(streets: Source) -> None:
    weights = weights_of_classes(replace(streets, classes=(*streets.classes, "unicorn")), "inverse_sqrt")
    assert weights is not None
    assert weights[-1] == 0
    assert weights[:-1].mean().item() == pytest.approx(1)


def test_predictions_do_not_depend_on_the_other_items_of_a_batch(segnet: Architecture, hyper: Any, streets: Source) -> None:
    learner = segnet.learner(hyper, streets, 1, "cpu")
    learner.network.eval()
    images = torch.from_numpy(np.concatenate([streets.val.frames(i) for i in range(3)]).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        together = learner.predict({"image": images})
        alone = learner.predict({"image": images[1:2]})
    assert np.mean(together[1] == alone[0]) > 0.999


def test_the_demo_trains_the_reduced_network() -> None:
    hyper = SPACES["demo"].budgets["segnet"].hyper
    assert (hyper["width"], hyper["convolutions"]) == (0.25, (1, 1, 1, 1, 1))


def test_without_indices_the_decoder_up_samples_bilinearly_with_the_same_parameters() -> None:
    published, bilinear = (SegNet(11, width=0.25, convolutions=(1,) * 5, indices=indices) for indices in (True, False))
    bilinear.load_state_dict(published.state_dict())
    images = torch.rand(1, 3, 45, 67)
    with torch.no_grad():
        ours, theirs = bilinear.eval()(images), published.eval()(images)
    assert ours.shape == theirs.shape == (1, 11, 45, 67)
    assert not torch.allclose(ours, theirs)


def test_bilinear_up_sampling_passes_gradients_to_every_parameter() -> None:
    network = SegNet(5, width=1 / 16, convolutions=(1,) * 5, indices=False)
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


@dataclass(frozen=True)
class Masks:
    """A training split of given masks."""

    maps: tuple[list[list[int]], ...]

    @property
    def names(self) -> list[str]:
        return [str(index) for index in range(len(self.maps))]

    def target(self, index: int) -> npt.NDArray[np.uint8]:
        return np.array(self.maps[index], np.uint8)


def masks_of(*maps: list[list[int]]) -> Any:
    """A source of three classes."""
    return SimpleNamespace(classes=("a", "b", "c"), train=Masks(maps))


def test_median_frequency_weights_computed_by_hand() -> None:
    # a: 3 of the 4 + 3 known pixels of both images; b: 3 of 7; c: 1 of the 4 pixels of the only image that contains it
    source = masks_of([[0, 0], [1, 2]], [[0, 1], [1, 255]])
    frequency = np.array([3 / 7, 3 / 7, 1 / 4])
    weights = weights_of_classes(source, "median_frequency")
    assert weights is not None
    assert weights.numpy() == pytest.approx(3 / 7 / frequency)


def test_the_rule_none_gives_no_weights() -> None:
    assert weights_of_classes(masks_of([[0, 0], [1, 2]]), "none") is None
