import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet101

from search_spaces import DEMO
from tests.conftest import Margin
from trainables.contracts import Architecture, Numerics
from trainables.engine.numerics import computing
from trainables.tasks.action import ACTION, TWO_STREAM, TWO_STREAM_MOTION, TWO_STREAM_SPATIAL, MotionHyper, SpatialHyper
from trainables.tasks.action.clips import read_clip
from trainables.tasks.action.flow import EXTRACTORS, flows
from trainables.tasks.action.metrics import Outcome
from trainables.tasks.action.sampling import flow_stacks, pictures, runs, stills
from trainables.tasks.action.two_stream import StreamLearner, imagenet, motion, small, spatial

STREAMS = (TWO_STREAM_SPATIAL, TWO_STREAM_MOTION)
REDUCED = {stream.name: replace(stream.hyper, **DEMO.budgets[stream.name].hyper) for stream in STREAMS}


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def clip_of(frames: int, height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    """Noise that moves to the right by one pixel per frame."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width + frames, 3), np.uint8)
    return np.stack([noise[:, frames - frame : frames - frame + width] for frame in range(frames)])


# Networks


@pytest.mark.parametrize(("make", "channels"), [(spatial, 3), (motion, 20)])
def test_the_published_network_has_the_parameters_of_resnet_101(make: Any, channels: int) -> None:
    hyper = SpatialHyper() if make is spatial else MotionHyper()
    expected = 49 * channels * 64 + 2 * 64
    before = 64
    for width, blocks in ((64, 3), (128, 4), (256, 23), (512, 3)):
        expected += before * 4 * width + 2 * 4 * width  # the shortcut of the first block
        for _ in range(blocks):
            expected += before * width + 9 * width * width + width * 4 * width + 2 * (width + width + 4 * width)
            before = 4 * width
    expected += 2048 * 101 + 101
    with torch.device("meta"):
        network = make(hyper, 101, 1, "meta").network
    assert parameters(network) == expected
    assert expected == pytest.approx(42.7e6, abs=0.1e6)


@pytest.mark.parametrize("make", [spatial, motion])
def test_the_published_network_takes_a_step_at_a_reduced_size(make: Any) -> None:
    torch.manual_seed(0)
    hyper = SpatialHyper() if make is spatial else MotionHyper()
    learner = make(hyper, 101, 1, "cpu")
    channels = 3 if make is spatial else 20
    loss = learner.update({"clip": torch.rand(2, 1, channels, 64, 64), "label": torch.tensor([0, 100])})["loss"]
    assert bool(torch.isfinite(loss))
    assert all(each.grad is not None and bool(each.grad.isfinite().all()) for each in learner.network.parameters())


def test_the_reduced_network_has_five_convolutions() -> None:
    network = small(20, 8, 16)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [module.out_channels for module in convolutions] == [16, 32, 64, 64, 64]
    kernels = 9 * (20 * 16 + 16 * 32 + 32 * 64 + 64 * 64 + 64 * 64)
    assert parameters(network) == kernels + 2 * (16 + 32 + 64 + 64 + 64) + 64 * 8 + 8


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Weights of a random ResNet-101 with ImageNet's classes, in place of the published ones."""
    weights: dict[str, Tensor] = resnet101(weights=None).state_dict()
    monkeypatch.setattr("trainables.tasks.action.two_stream.published", lambda _: weights)
    return weights


def test_the_first_convolution_of_the_motion_stream_is_the_mean_over_rgb_repeated(trained: dict[str, Tensor]) -> None:
    network = motion(MotionHyper(), 5, 1, "cpu").network
    imagenet(network)
    first = network.state_dict()["conv1.weight"]
    assert first.shape == (64, 20, 7, 7)
    for channel in range(20):
        assert torch.equal(first[:, channel], trained["conv1.weight"].mean(dim=1))


def test_imagenet_weights_replace_everything_but_the_classifier(trained: dict[str, Tensor]) -> None:
    network = spatial(SpatialHyper(), 5, 1, "cpu").network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    imagenet(network)
    after = network.state_dict()
    assert {name for name, value in after.items() if not torch.equal(value, trained[name])} == {"fc.weight", "fc.bias"}
    assert torch.equal(after["fc.weight"], before["fc.weight"])


def test_imagenet_is_refused_for_a_reduced_network() -> None:
    with pytest.raises(ValueError, match="backbone='resnet101' only"):
        imagenet(small(3, 5, 16))


# The protocol


@pytest.mark.parametrize("seed", range(5))
def test_training_samples_one_still_from_each_third(seed: int) -> None:
    first, second, third = stills(30, SpatialHyper(), np.random.default_rng(seed))
    assert 0 <= first < 10 <= second < 20 <= third < 30


def test_every_frame_can_be_drawn() -> None:
    drawn = {frame for seed in range(200) for frame in stills(16, SpatialHyper(), np.random.default_rng(seed))}
    assert drawn == set(range(16))


def test_evaluation_samples_19_evenly_spaced_stills_from_first_to_last() -> None:
    assert stills(181, SpatialHyper(), None) == list(range(0, 181, 10))


def test_training_samples_eleven_consecutive_frames_from_a_random_start() -> None:
    starts = set()
    for seed in range(100):
        frames = runs(16, MotionHyper(), np.random.default_rng(seed))
        assert list(frames) == list(range(frames[0], frames[0] + 11))
        starts.add(frames[0])
    assert starts == set(range(6))


def test_evaluation_samples_19_evenly_spaced_runs_from_first_to_last() -> None:
    frames = np.array(runs(191, MotionHyper(), None)).reshape(19, 11)
    assert frames[:, 0].tolist() == list(range(0, 181, 10))
    assert (np.diff(frames, axis=1) == 1).all()


def test_a_single_position_is_the_middle() -> None:
    assert stills(21, SpatialHyper(positions=1), None) == [10]
    assert runs(31, MotionHyper(positions=1), None)[0] == 10


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
@pytest.mark.parametrize("length", [1, 2, 7, 10])
def test_the_last_frame_of_a_short_clip_is_repeated(length: int, rng: np.random.Generator | None) -> None:
    frames = runs(length, MotionHyper(positions=1), rng)
    assert list(frames) == [*range(length), *[length - 1] * (11 - length)]
    assert set(stills(length, SpatialHyper(), rng)) <= set(range(length))


# Examples


def test_an_evaluation_example_shows_whole_frames_at_the_input_size() -> None:
    frames = clip_of(3)
    assert np.array_equal(pictures(frames, SpatialHyper(size=(24, 32)), None), frames.transpose(0, 3, 1, 2))
    assert pictures(frames, SpatialHyper(), None).shape == (3, 3, 224, 224)


def test_flow_is_in_native_pixels_at_every_input_size() -> None:
    frames = clip_of(11, 48, 64)
    small_size, large = (flow_stacks(frames, MotionHyper(size=size)) for size in ((24, 32), (96, 128)))
    assert (small_size.shape, large.shape) == ((1, 20, 24, 32), (1, 20, 96, 128))
    for stacks in (small_size, large):
        assert np.median(20 * stacks[:, ::2]) == pytest.approx(1, abs=0.1)
        assert np.median(20 * stacks[:, 1::2]) == pytest.approx(0, abs=0.1)


def test_flow_is_clipped_at_20_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    motions = np.zeros((10, 24, 32, 2), np.float32)
    motions[:, :12], motions[:, 12:] = (40, -5), (-30, 10)
    monkeypatch.setattr("trainables.tasks.action.sampling.flows", lambda *_: motions)
    found = flow_stacks(clip_of(11), MotionHyper(size=(24, 32)))[0]
    assert set(found[::2].ravel().tolist()) == {1.0, -1.0}
    assert set(found[1::2].ravel().tolist()) == {-0.25, 0.5}


POSITIONS = np.concatenate([np.mgrid[0:120, 0:160].transpose(1, 2, 0), np.zeros((120, 160, 1))], axis=-1).astype(np.uint8)[None]
"""A frame in which the values of a pixel are its row and its column."""


def test_a_training_still_is_a_window_at_native_resolution_at_a_random_place() -> None:
    corners = set()
    for seed in range(60):
        (found,) = pictures(POSITIONS, SpatialHyper(size=(24, 32), flip=False), np.random.default_rng(seed)).astype(int)
        top, left = found[0, 0, 0], found[1, 0, 0]
        assert np.array_equal(found[:2], np.mgrid[top : top + 24, left : left + 32])
        corners.add((top, left))
    rows, columns = zip(*corners, strict=True)
    assert len(corners) > 50
    assert (min(rows) < 20, max(rows) > 76, min(columns) < 20, max(columns) > 108) == (True,) * 4


def test_the_windows_of_a_clip_differ_between_its_frames() -> None:
    one, two, three = pictures(np.repeat(POSITIONS, 3, axis=0), SpatialHyper(size=(24, 32)), np.random.default_rng(0))
    assert not np.array_equal(one, two)
    assert not np.array_equal(two, three)


@pytest.mark.parametrize("size", [(120, 160), (240, 200), (100, 200)])
def test_a_frame_that_is_smaller_than_the_window_is_enlarged(size: tuple[int, int]) -> None:
    found = pictures(POSITIONS, SpatialHyper(size=size, flip=False), np.random.default_rng(0))
    assert found.shape == (1, 3, *size)
    assert np.ptp(found[0, 0]) == min(size[0], 120) - 1
    assert np.ptp(found[0, 1]) == min(size[1], 160) - 1


def test_without_windows_training_shows_whole_frames_as_evaluation_does() -> None:
    frames, hyper = clip_of(3), SpatialHyper(size=(12, 16), crop="none", flip=False)
    assert np.array_equal(pictures(frames, hyper, np.random.default_rng(0)), pictures(frames, hyper, None))


def test_half_of_the_stills_are_mirrored_unless_flip_is_off() -> None:
    frames = clip_of(1)
    plain = frames.transpose(0, 3, 1, 2)
    for flip, least, most in ((True, 30, 70), (False, 0, 0)):
        hyper = SpatialHyper(size=(24, 32), flip=flip)
        found = [pictures(frames, hyper, np.random.default_rng(seed)) for seed in range(100)]
        mirrored = sum(np.array_equal(each, plain[..., ::-1]) for each in found)
        assert mirrored + sum(np.array_equal(each, plain) for each in found) == 100
        assert least <= mirrored <= most


def test_the_motion_stream_is_not_augmented() -> None:
    frames = clip_of(11)
    examples = [TWO_STREAM_MOTION.inputs.example(frames, 0, MotionHyper(), rng) for rng in (None, np.random.default_rng(0))]
    assert np.array_equal(examples[0]["clip"], examples[1]["clip"])


@pytest.mark.parametrize(("make", "name"), [(SpatialHyper, "crop"), (MotionHyper, "flow_range")])
def test_an_unknown_choice_is_refused_with_the_known_ones(make: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^two_stream_\w+: {name} 1\.0 is unknown; use one of \w+, \w+$"):
        make(**{name: 1.0})


def test_examples_depend_only_on_their_random_stream() -> None:
    frames = clip_of(11)
    one, other, third = (pictures(frames, SpatialHyper(size=(12, 16)), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, third)


# Learning


class Slope(nn.Module):
    """Logits equal to a parameter times the mean of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(dim=(1, 2, 3))[:, None] * self.slope


def slope_learner() -> StreamLearner:
    return StreamLearner(Slope(), SpatialHyper(), normalise=lambda clips, _: clips, steps=2, device="cpu")


def test_the_loss_is_the_cross_entropy_of_the_logits_summed_over_a_clip() -> None:
    clips, labels = torch.rand(4, 3, 3, 5, 6), torch.tensor([0, 1, 2, 0])
    summed = clips.mean(dim=(2, 3, 4)).sum(dim=1)[:, None] * torch.tensor([1.0, -2.0, 0.5])
    expected = F.cross_entropy(summed, labels).item()
    assert slope_learner().update({"clip": clips, "label": labels})["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_predictions_are_logits_summed_over_the_positions() -> None:
    clips = torch.rand(2, 4, 3, 5, 6)
    with torch.inference_mode():
        together = slope_learner().predict({"clip": clips})
        alone = [slope_learner().predict({"clip": clips[:, [position]]}) for position in range(4)]
    for item in range(2):
        assert together[item] == pytest.approx(np.sum([each[item] for each in alone], axis=0), rel=1e-5)


def test_predictions_are_float32_in_mixed_precision() -> None:
    learner = spatial(REDUCED["two_stream_spatial"], 8, 1, "cpu")
    learner.network.eval()
    with torch.inference_mode(), computing(Numerics(precision="bfloat16"), "cpu"):
        found = learner.predict({"clip": torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)})
    assert [(each.shape, each.dtype) for each in found] == [((8,), np.dtype(np.float32))] * 2


def test_stills_are_normalised_as_for_imagenet_and_flow_is_mapped_to_its_range() -> None:
    seen: list[Tensor] = []
    published, symmetric = MotionHyper(backbone="small"), MotionHyper(backbone="small", flow_range="symmetric")
    cases: list[tuple[Any, SpatialHyper | MotionHyper, float]] = [(spatial, SpatialHyper(backbone="small"), 255.0)]
    cases += [(motion, hyper, value) for hyper in (published, symmetric) for value in (-1.0, 0.0, 0.5)]
    for make, hyper, value in cases:
        learner = make(hyper, 3, 1, "cpu")
        learner.network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        learner.network.eval()
        with torch.inference_mode():
            learner.predict({"clip": torch.full((1, 1, 3 if make is spatial else 20, 8, 8), value)})
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], abs=1e-3)
    assert [set(each.flatten().tolist()) for each in seen[1:]] == [{0.0}, {0.5}, {0.75}, {-1.0}, {0.0}, {0.5}]


@pytest.mark.trained
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_every_optimiser_and_schedule_lowers_the_loss(optimiser: Any, schedule: Any, margin: Margin, seed: int) -> None:
    torch.manual_seed(seed)
    hyper = SpatialHyper(backbone="small", optimiser=optimiser, lr=1e-2, lr_schedule=schedule)
    learner = spatial(hyper, 2, 20, "cpu")
    clips = torch.randint(0, 256, (4, 1, 3, 16, 16), dtype=torch.uint8)
    losses = [learner.update({"clip": clips, "label": torch.tensor([0, 1, 0, 1])})["loss"].item() for _ in range(20)]
    margin(losses[-1] / losses[0], below=0.7)


# Fusion


class Labels:
    """A split with the given labels."""

    def __init__(self, *labels: int) -> None:
        self._labels = labels

    def target(self, index: int) -> int:
        return self._labels[index]


def test_fusion_sums_the_logits() -> None:
    of_stills = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]], np.float32)
    of_motion = np.array([[0.0, 4.0, 1.0], [1.0, 0.0, 0.0]], np.float32)
    split: Any = Labels(0, 1)
    assert list(TWO_STREAM.fuse([of_stills, of_motion], split)) == [Outcome(0, 1), Outcome(1, 1)]


def test_the_streams_store_their_logits_for_fusion() -> None:
    assert list(TWO_STREAM.streams.values()) == [stream.name for stream in STREAMS]
    logits = np.array([1.0, 2.0], np.float32)
    for stream in STREAMS:
        assert stream.output is not None
        assert np.array_equal(stream.output(logits), logits)


# Figures


def test_a_picture_shows_the_middle_frame_beside_its_flow() -> None:
    frames = clip_of(5)
    found = ACTION.picture(frames, np.zeros(3, np.float32))
    assert (found.shape, found.dtype) == ((24, 64, 3), np.dtype(np.uint8))
    assert np.array_equal(found[:, :32], frames[2])


def test_the_picture_of_a_single_frame_shows_no_motion() -> None:
    found = ACTION.picture(clip_of(1), np.zeros(3, np.float32))
    assert set(found[:, 32:].ravel().tolist()) == {255}


# Real clips


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.name)
def test_both_streams_run_on_real_clips(stream: Architecture) -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set; set it to a folder with ucf101/UCF-101 and clips")
    hyper = replace(REDUCED[stream.name], positions=2)
    source: Any = type("Classes", (), {"classes": ("a", "b")})
    learner, examples = stream.learner(hyper, source, 2, "cpu"), []
    paths = [*sorted(Path(place, "ucf101").rglob("*.avi")), Path(place, "clips", "rawvideo.mp4")]
    assert len(paths) == 3
    assert stream.inputs.window is not None
    for label, path in enumerate(paths):
        frames, rng = read_clip(path), np.random.default_rng(label)
        chosen = frames[list(stream.inputs.window(len(frames), hyper, rng))]
        examples.append(stream.inputs.example(chosen, label % 2, hyper, rng))
    loss = learner.update(stream.inputs.collate(examples))["loss"]
    assert bool(torch.isfinite(loss))


def test_flow_stacks_hold_the_flow_of_each_pair_in_each_run() -> None:
    frames = clip_of(22, 24, 32)
    found = flow_stacks(frames, MotionHyper(size=(24, 32)))
    expected = flows(frames[11:], EXTRACTORS["dis_fast"])[4] / 20
    assert found.shape == (2, 20, 24, 32)
    assert found[1, 8:10] == pytest.approx(expected.transpose(2, 0, 1), abs=1e-3)
