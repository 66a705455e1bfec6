import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet101

from search_spaces import SPACES
from trainables import ARCHITECTURES, Numerics
from trainables.tasks.action import TWO_STREAM, MotionHyper, SpatialHyper
from trainables.tasks.action.clips import read_clip
from trainables.tasks.action.flow import EXTRACTORS, flows
from trainables.tasks.action.metrics import Outcome
from trainables.tasks.action.sampling import flow_stacks, pictures, runs, stills
from trainables.tasks.action.two_stream import StreamLearner, imagenet, motion, small, spatial
from trainables.engine.numerics import computing

SPATIAL, MOTION = ARCHITECTURES["two_stream_spatial"], ARCHITECTURES["two_stream_motion"]
DEMO = {name: SPACES["demo"].budgets[name].hyper for name in ("two_stream_spatial", "two_stream_motion")}


def parameters(network: nn.Module) -> int:
    return sum(each.numel() for each in network.parameters())


def clip_of(frames: int, height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    """Noise that drifts to the right, a pixel a frame."""
    noise = np.random.default_rng(0).integers(0, 256, (height, width + frames, 3), np.uint8)
    return np.stack([noise[:, frames - frame : frames - frame + width] for frame in range(frames)])


# Networks


@pytest.mark.parametrize(("make", "channels"), [(spatial, 3), (motion, 20)])
def test_the_published_network_is_resnet_101_by_its_parameters(make: Any, channels: int) -> None:
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
    """Weights of a ResNet-101 of ImageNet's classes, in the place of the published ones."""
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


def test_imagenet_gives_all_but_the_classifier(trained: dict[str, Tensor]) -> None:
    network = spatial(SpatialHyper(), 5, 1, "cpu").network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    imagenet(network)
    after = network.state_dict()
    assert {name for name, value in after.items() if not torch.equal(value, trained[name])} == {"fc.weight", "fc.bias"}
    assert torch.equal(after["fc.weight"], before["fc.weight"])


def test_imagenet_is_refused_for_a_reduced_network() -> None:
    with pytest.raises(ValueError, match="resnet101"):
        imagenet(small(3, 5, 16))


# The protocol


@pytest.mark.parametrize("seed", range(5))
def test_training_takes_one_still_of_each_third(seed: int) -> None:
    first, second, third = stills(30, SpatialHyper(), np.random.default_rng(seed))
    assert 0 <= first < 10 <= second < 20 <= third < 30


def test_every_frame_can_be_drawn() -> None:
    drawn = {frame for seed in range(200) for frame in stills(16, SpatialHyper(), np.random.default_rng(seed))}
    assert drawn == set(range(16))


def test_evaluation_takes_19_stills_evenly_spaced_from_the_first_to_the_last() -> None:
    assert stills(181, SpatialHyper(), None) == list(range(0, 181, 10))


def test_training_takes_eleven_frames_in_a_row_from_a_random_start() -> None:
    starts = set()
    for seed in range(100):
        frames = runs(16, MotionHyper(), np.random.default_rng(seed))
        assert list(frames) == list(range(frames[0], frames[0] + 11))
        starts.add(frames[0])
    assert starts == set(range(6))


def test_evaluation_takes_19_runs_evenly_spaced_from_the_first_to_the_last() -> None:
    frames = np.array(runs(191, MotionHyper(), None)).reshape(19, 11)
    assert frames[:, 0].tolist() == list(range(0, 181, 10))
    assert (np.diff(frames, axis=1) == 1).all()


def test_one_position_is_the_middle() -> None:
    assert stills(21, SpatialHyper(positions=1), None) == [10]
    assert runs(31, MotionHyper(positions=1), None)[0] == 10


@pytest.mark.parametrize("rng", [None, np.random.default_rng(0)])
@pytest.mark.parametrize("length", [1, 2, 7, 10])
def test_of_a_short_clip_the_last_frame_is_repeated(length: int, rng: np.random.Generator | None) -> None:
    frames = runs(length, MotionHyper(positions=1), rng)
    assert list(frames) == [*range(length), *[length - 1] * (11 - length)]
    assert set(stills(length, SpatialHyper(), rng)) <= set(range(length))


# Examples


def test_an_evaluation_example_is_the_whole_frames_at_the_size_of_the_network() -> None:
    frames = clip_of(3)
    assert np.array_equal(pictures(frames, SpatialHyper(size=(24, 32)), None), frames.transpose(0, 3, 1, 2))
    assert pictures(frames, SpatialHyper(), None).shape == (3, 3, 224, 224)


def test_flow_keeps_native_pixels_whatever_the_size_of_the_network() -> None:
    frames = clip_of(11, 48, 64)
    small_size, large = (flow_stacks(frames, MotionHyper(size=size), None) for size in ((24, 32), (96, 128)))
    assert (small_size.shape, large.shape) == ((1, 20, 24, 32), (1, 20, 96, 128))
    for stacks in (small_size, large):
        assert np.median(20 * stacks[:, ::2]) == pytest.approx(1, abs=0.1)
        assert np.median(20 * stacks[:, 1::2]) == pytest.approx(0, abs=0.1)


def test_flow_is_cut_off_at_20_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    motions = np.zeros((10, 24, 32, 2), np.float32)
    motions[:, :12], motions[:, 12:] = (40, -5), (-30, 10)
    monkeypatch.setattr("trainables.tasks.action.sampling.flows", lambda *_: motions)
    found = flow_stacks(clip_of(11), MotionHyper(size=(24, 32)), None)[0]
    assert set(found[::2].ravel().tolist()) == {1.0, -1.0}
    assert set(found[1::2].ravel().tolist()) == {-0.25, 0.5}


class Always(np.random.Generator):
    """A generator whose coin always falls on the same side."""

    def __init__(self, coin: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.coin = coin

    def random(self, *_: Any, **__: Any) -> Any:
        return self.coin


def test_a_mirrored_flow_goes_the_other_way() -> None:
    frames, hyper = clip_of(11, 48, 64), MotionHyper(size=(48, 64), crop=1.0)
    plain, mirrored = (flow_stacks(frames, hyper, Always(coin))[0] for coin in (0.9, 0.1))
    assert np.array_equal(mirrored[::2], -plain[::2, :, ::-1])
    assert np.array_equal(mirrored[1::2], plain[1::2, :, ::-1])


def test_mirrored_stills_are_mirrored() -> None:
    frames, hyper = clip_of(3), SpatialHyper(size=(24, 32), crop=1.0)
    plain, mirrored = (pictures(frames, hyper, Always(coin)) for coin in (0.9, 0.1))
    assert np.array_equal(mirrored, plain[..., ::-1])


def test_half_of_the_clips_are_mirrored_and_none_where_it_is_off() -> None:
    frame = clip_of(1)
    for flip, least, most in ((True, 30, 70), (False, 0, 0)):
        hyper = SpatialHyper(size=(24, 32), crop=1.0, flip=flip)
        found = [pictures(frame, hyper, np.random.default_rng(seed))[0, 0] for seed in range(100)]
        assert least <= sum(not np.array_equal(each, frame[0, ..., 0]) for each in found) <= most


def test_one_crop_is_taken_of_all_frames_of_a_clip() -> None:
    frames = np.repeat(clip_of(1), 3, axis=0)
    for seed in range(5):
        found = pictures(frames, SpatialHyper(size=(24, 32)), np.random.default_rng(seed))
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])


def test_crops_keep_the_least_share_and_are_of_many_sizes() -> None:
    # Each pixel's value is its place, so that corners tell what was taken.
    places = np.mgrid[0:120, 0:160].transpose(1, 2, 0).astype(np.uint8)
    frame = np.concatenate([places, np.zeros((120, 160, 1), np.uint8)], axis=-1)[None]
    shares = []
    for seed in range(60):
        found = pictures(frame, SpatialHyper(size=(24, 32), flip=False), np.random.default_rng(seed))[0].astype(float)
        tall, wide = np.ptp(found[0]) + 6, np.ptp(found[1]) + 6
        shares.append(tall * wide / (120 * 160))
    assert min(shares) > 0.42
    assert max(shares) > 0.85
    assert np.std(shares) > 0.08


def test_examples_are_drawn_from_the_stream_alone() -> None:
    frames = clip_of(11)
    for make, hyper in ((pictures, SpatialHyper(size=(24, 32))), (flow_stacks, MotionHyper(size=(24, 32)))):
        one, other, third = (make(frames, hyper, np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(one, other)
        assert not np.array_equal(one, third)


# Learning


class Level(nn.Module):
    """Logits that are a parameter times the mean of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.mean(dim=(1, 2, 3))[:, None] * self.slope


def learner_of_level(hyper: Any = SpatialHyper(optimiser="sgd")) -> StreamLearner:  # noqa: B008
    return StreamLearner(Level(), hyper, mean=(0.0,), deviation=(1.0,), steps=2, device="cpu")


def test_the_loss_is_the_cross_entropy_of_the_logits_summed_over_a_clip() -> None:
    clips, labels = torch.rand(4, 3, 3, 5, 6), torch.tensor([0, 1, 2, 0])
    summed = clips.mean(dim=(2, 3, 4)).sum(dim=1)[:, None] * torch.tensor([1.0, -2.0, 0.5])
    expected = F.cross_entropy(summed, labels).item()
    assert learner_of_level().update({"clip": clips, "label": labels})["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_predictions_are_the_logits_summed_over_the_positions() -> None:
    clips = torch.rand(2, 4, 3, 5, 6)
    with torch.inference_mode():
        together = learner_of_level().predict({"clip": clips})
        alone = [learner_of_level().predict({"clip": clips[:, [position]]}) for position in range(4)]
    for item in range(2):
        assert together[item] == pytest.approx(np.sum([each[item] for each in alone], axis=0), rel=1e-5)


def test_predictions_are_float32_in_mixed_precision() -> None:
    hyper = SPATIAL.hyper(**DEMO["two_stream_spatial"])
    learner = spatial(hyper, 8, 1, "cpu")
    learner.network.eval()
    with torch.inference_mode(), computing(Numerics(precision="bfloat16"), "cpu"):
        found = learner.predict({"clip": torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8)})
    assert [(each.shape, each.dtype) for each in found] == [((8,), np.dtype(np.float32))] * 2


def test_pictures_are_normalised_as_imagenet_and_flow_is_not() -> None:
    seen: list[Tensor] = []
    for make, value in ((spatial, 255.0), (motion, 0.5)):
        hyper = (SpatialHyper if make is spatial else MotionHyper)(network="small")
        learner = make(hyper, 3, 1, "cpu")
        learner.network.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
        learner.network.eval()
        with torch.inference_mode():
            learner.predict({"clip": torch.full((1, 1, 3 if make is spatial else 20, 8, 8), value)})
    assert seen[0][0, :, 0, 0].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], abs=1e-3)
    assert set(seen[1].flatten().tolist()) == {0.5}


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_every_optimiser_and_schedule_lowers_the_loss(optimiser: Any, schedule: Any) -> None:
    torch.manual_seed(0)
    hyper = SpatialHyper(network="small", optimiser=optimiser, lr=1e-2, lr_schedule=schedule)
    learner = spatial(hyper, 2, 20, "cpu")
    clips = torch.randint(0, 256, (4, 1, 3, 16, 16), dtype=torch.uint8)
    losses = [learner.update({"clip": clips, "label": torch.tensor([0, 1, 0, 1])})["loss"].item() for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]


# Fusion


class Labels:
    """A source whose test split has these labels."""

    def __init__(self, *labels: int) -> None:
        self.test, self._labels = self, labels

    def target(self, index: int) -> int:
        return self._labels[index]


def test_fusion_answers_by_the_plain_sum_of_logits() -> None:
    assert TWO_STREAM.fuse is not None
    stills_say = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]], np.float32)
    motion_says = np.array([[0.0, 4.0, 1.0], [1.0, 0.0, 0.0]], np.float32)
    source: Any = Labels(0, 1)
    assert list(TWO_STREAM.fuse([stills_say, motion_says], source)) == [Outcome(0, 1), Outcome(1, 1)]


def test_what_is_fused_is_what_the_streams_put_out() -> None:
    for name in TWO_STREAM.streams.values():
        output, logits = ARCHITECTURES[name].output, np.array([1.0, 2.0], np.float32)
        assert output is not None
        assert np.array_equal(output(logits), logits)


def test_a_fusion_has_no_network() -> None:
    source: Any = Labels(0)
    with pytest.raises(ValueError, match="no network of its own"):
        TWO_STREAM.learner(TWO_STREAM.hyper(), source, 1, "cpu")


# Figures


def test_a_picture_is_the_middle_frame_beside_its_flow() -> None:
    frames = clip_of(5)
    found = SPATIAL.picture(frames, np.zeros(3, np.float32))
    assert (found.shape, found.dtype) == ((24, 64, 3), np.dtype(np.uint8))
    assert np.array_equal(found[:, :32], frames[2])


def test_the_picture_of_a_single_frame_shows_no_motion() -> None:
    found = MOTION.picture(clip_of(1), np.zeros(3, np.float32))
    assert set(found[:, 32:].ravel().tolist()) == {255}


# Real clips


@pytest.mark.parametrize("name", ["two_stream_spatial", "two_stream_motion"])
def test_both_streams_run_on_real_clips(name: str) -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set: it names a folder that holds ucf101/UCF-101 and clips")
    architecture = ARCHITECTURES[name]
    hyper = architecture.hyper(**{**DEMO[name], "positions": 2})
    source: Any = type("Classes", (), {"classes": ("a", "b")})
    learner, examples = architecture.learner(hyper, source, 2, "cpu"), []
    paths = [*sorted(Path(place, "ucf101").rglob("*.avi")), Path(place, "clips", "rawvideo.mp4")]
    assert len(paths) == 3
    assert architecture.window is not None
    for label, path in enumerate(paths):
        frames, rng = read_clip(path), np.random.default_rng(label)
        chosen = frames[list(architecture.window(len(frames), hyper, rng))]
        examples.append(architecture.example(chosen, label % 2, hyper, rng))
    loss = learner.update(architecture.collate(examples))["loss"]
    assert bool(torch.isfinite(loss))


def test_flow_stacks_hold_the_flow_of_each_pair_of_each_run() -> None:
    frames = clip_of(22, 24, 32)
    found = flow_stacks(frames, MotionHyper(size=(24, 32)), None)
    expected = flows(frames[11:], EXTRACTORS["dis_fast"])[4] / 20
    assert found.shape == (2, 20, 24, 32)
    assert found[1, 8:10] == pytest.approx(expected.transpose(2, 0, 1), abs=1e-3)
