from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainables import CODECS, Architecture, Recipe, Source, recalibrate, recipes

RECALIBRATED = {recipe.recalibrated_at: recipe for recipe in recipes(CODECS["jpeg"]) if recipe.recalibrated_at}
EXACT = 1e-5


def fresh(segnet: Architecture, hyper: Any, streets: Source) -> dict[str, Any]:
    torch.manual_seed(0)
    return dict(segnet.learner(hyper, streets, 1, "cpu").network.state_dict())


def test_there_is_a_recipe_for_each_level_of_the_ladder() -> None:
    assert set(RECALIBRATED) == set(CODECS["jpeg"].levels)


def test_the_first_statistics_are_those_of_the_coded_training_images(segnet: Architecture, hyper: Any, streets: Source) -> None:
    weights = fresh(segnet, hyper, streets)
    recalibrated = recalibrate(segnet, RECALIBRATED[5], hyper, weights, data=streets)
    # by hand: the first convolution over each batch of four images after the codec, mean and unbiased variance averaged
    learner = segnet.learner(hyper, streets, 1, "cpu")
    learner.network.load_state_dict(weights)
    convolution = next(module for module in learner.network.modules() if isinstance(module, nn.Conv2d))
    jpeg, means, variances = CODECS["jpeg"], [], []
    for start in range(0, 12, 4):
        coded = [jpeg.decode(jpeg.encode(streets.train.frames(index), 5))[0] for index in range(start, start + 4)]
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


def test_no_weight_changes_and_every_statistic_does(segnet: Architecture, hyper: Any, streets: Source) -> None:
    weights = fresh(segnet, hyper, streets)
    recalibrated = recalibrate(segnet, RECALIBRATED[10], hyper, weights, data=streets)
    for name, before in weights.items():
        assert torch.equal(before, recalibrated[name]) is not name.endswith(("running_mean", "running_var", "tracked"))


def test_levels_give_different_statistics_and_the_same_level_the_same(segnet: Architecture, hyper: Any, streets: Source) -> None:
    weights = fresh(segnet, hyper, streets)
    at_5, again, at_95 = (recalibrate(segnet, RECALIBRATED[q], hyper, weights, data=streets) for q in (5, 5, 95))
    assert all(torch.equal(at_5[name], again[name]) for name in weights)
    assert any(not torch.equal(at_5[name], at_95[name]) for name in weights)


def test_a_network_without_batch_norm_is_refused(segnet: Architecture, hyper: Any, streets: Source) -> None:
    def without(*arguments: Any) -> Any:
        learner = segnet.learner(*arguments)
        for parent in list(learner.network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.Identity())
        return learner

    bare, recipe = replace(segnet, name="bare", learner=without), Recipe(name="recalibrated-5", recalibrated_at=5, codec="jpeg")
    weights = without(hyper, streets, 1, "cpu").network.state_dict()
    with pytest.raises(ValueError, match="bare has no batch norm: recalibrated-5 is not applicable"):
        recalibrate(bare, recipe, hyper, weights, data=streets)
