from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainables import CODECS, Recipe, Workload, find_recipe, recalibrate

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
    recalibrated = recalibrate(workload, recalibrated_at(workload, 5), weights)
    # By hand: mean and unbiased variance of the first convolution over each batch of four compressed images, averaged over batches.
    network = learner(workload).network
    convolution = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    jpeg, means, variances = CODECS["jpeg"], [], []
    for start in range(0, 12, 4):
        coded = [jpeg.decode(jpeg.encode(images_of(index), 5))[0] for index in range(start, start + 4)]
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
    recalibrated = recalibrate(workload, recalibrated_at(workload, 10), weights)
    for name, before in weights.items():
        assert torch.equal(before, recalibrated[name]) is not name.endswith(("running_mean", "running_var", "tracked"))


def test_equal_levels_give_equal_statistics_and_other_levels_give_others(workload: Workload) -> None:
    weights = fresh(workload)
    at_5, again, at_95 = (recalibrate(workload, recalibrated_at(workload, level), weights) for level in (5, 5, 95))
    assert all(torch.equal(at_5[name], again[name]) for name in weights)
    assert any(not torch.equal(at_5[name], at_95[name]) for name in weights)


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
        recalibrate(bare, recalibrated_at(workload, 5), fresh(bare))
