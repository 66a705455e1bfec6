from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainables import CODECS, Frames, Recipe, Workload, find_recipe, recalibrate
from trainables.contracts import Weights
from trainables.data.subset import Subset

EXACT = 1e-5


def recalibrated_at(workload: Workload, level: int) -> Recipe:
    return find_recipe(workload.architecture, f"recalibrated-{level}", "jpeg", (level,))


def learner(workload: Workload) -> Any:
    torch.manual_seed(0)
    return workload.architecture.learner(workload.hyper, workload.data, 1, "cpu")


def fresh(workload: Workload) -> dict[str, Any]:
    return dict(learner(workload).network.state_dict())


def test_the_first_statistics_are_those_of_the_compressed_training_images(workload: Workload) -> None:
    weights, images_of = fresh(workload), workload.data.train.frames
    recalibrated = recalibrate(workload, recalibrated_at(workload, 5), weights, seed=3)
    # By hand: mean and unbiased variance of the first convolution over each batch of four compressed images, averaged over batches.
    order = np.random.default_rng(3).permutation(12)
    network = learner(workload).network
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    jpeg, means, variances = CODECS["jpeg"], [], []
    for start in range(0, 12, 4):
        coded = [jpeg.decode(jpeg.encode(images_of(index), 5))[0] for index in order[start : start + 4]]
        images = torch.from_numpy(np.stack(coded)).permute(0, 3, 1, 2).float()
        images -= torch.tensor((123.675, 116.28, 103.53)).view(3, 1, 1)
        images /= torch.tensor((58.395, 57.12, 57.375)).view(3, 1, 1)
        with torch.no_grad():
            outputs = convolution(images)
        means.append(outputs.mean(dim=(0, 2, 3)))
        variances.append(outputs.var(dim=(0, 2, 3), unbiased=True))
    first = next(name for name in weights if name.endswith("running_mean"))
    assert torch.allclose(recalibrated[first], torch.stack(means).mean(0), atol=EXACT)
    assert torch.allclose(recalibrated[first.replace("mean", "var")], torch.stack(variances).mean(0), rtol=1e-4)


def test_every_batch_norm_statistic_changes_and_no_trained_weight_does(workload: Workload) -> None:
    weights = fresh(workload)
    recalibrated = recalibrate(workload, recalibrated_at(workload, 10), weights, seed=0)
    for name, before in weights.items():
        assert torch.equal(before, recalibrated[name]) is not name.endswith(("running_mean", "running_var", "tracked"))


def same_weights(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_equal_levels_and_seeds_give_equal_statistics_and_others_give_others(workload: Workload) -> None:
    weights = fresh(workload)

    def at(level: int, seed: int) -> Weights:
        return recalibrate(workload, recalibrated_at(workload, level), weights, seed=seed)

    assert same_weights(at(5, 0), at(5, 0))
    assert not same_weights(at(5, 0), at(95, 0))
    assert not same_weights(at(5, 0), at(5, 1))


@dataclass(frozen=True)
class Darkened(Subset):
    """A split in which one image is darkened."""

    at: int

    def frames(self, index: int) -> Frames:
        return super().frames(index) // (2 if index == self.at else 1)


@pytest.mark.parametrize(("place", "dropped"), [(0, False), (9, False), (10, True), (11, True)])
def test_the_last_incomplete_batch_is_dropped(workload: Workload, place: int, dropped: bool) -> None:
    weights, recipe = fresh(workload), recalibrated_at(workload, 5)
    fives = replace(workload, hyper=replace(workload.hyper, batch_size=5))
    dark = Darkened(workload.data.train, range(12), at=int(np.random.default_rng(3).permutation(12)[place]))
    darkened = replace(fives, data=replace(workload.data, train=dark))
    before, after = (recalibrate(each, recipe, weights, seed=3) for each in (fives, darkened))
    assert same_weights(before, after) is dropped


def test_a_split_smaller_than_a_batch_is_one_batch(workload: Workload) -> None:
    weights, recipe = fresh(workload), recalibrated_at(workload, 5)
    whole, larger = (
        recalibrate(replace(workload, hyper=replace(workload.hyper, batch_size=size)), recipe, weights, seed=3) for size in (12, 20)
    )
    assert same_weights(whole, larger)


def test_a_network_without_batch_norm_is_refused(workload: Workload) -> None:
    segnet = workload.architecture

    def without(*arguments: Any) -> Any:
        made = segnet.learner(*arguments)
        for parent in list(made.network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.Identity())
        return made

    bare = replace(workload, architecture=replace(segnet, name="bare", learner=without))
    with pytest.raises(ValueError, match=r"^bare has no batch norm: recalibrated-5 does not apply to it$"):
        recalibrate(bare, recalibrated_at(workload, 5), fresh(bare), seed=0)
