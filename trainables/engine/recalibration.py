"""Batch-norm statistics estimated anew: what a shift of the imagery costs that no weight needs to be retrained for."""

from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.contracts import Architecture, Numerics, Recipe, Source, Weights
from trainables.networks.initial import load
from trainables.engine.loading import evaluation_draws, loader, samples
from trainables.engine.numerics import computing, prepare
from trainables.engine.runtime import Runtime


def recalibrate(
    architecture: Architecture,
    recipe: Recipe,
    hyper: Any,
    weights: Weights,
    *,
    data: Source,
    numerics: Numerics = Numerics(),
    runtime: Runtime = Runtime(),
) -> Weights:
    """The weights with the means and variances of every batch norm taken over the training images at the recipe's level.

    One pass, without labels, gradient or augmentation; batches count alike (Nado et al. 2020 estimate on test batches, this does
    not touch them). Raises ValueError for a network without batch norm, to which the recipe is not applicable.
    """
    learner = architecture.learner(hyper, data, 1, runtime.device)
    load(architecture, learner.network, weights)
    norms = [module for module in learner.network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        raise ValueError(f"{architecture.name} has no batch norm: {recipe.name} is not applicable")
    prepare(learner, numerics)
    learner.network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches, whatever their order
        norm.train()
    items = samples(architecture, hyper, data, "train", recipe.codec, runtime)
    draws = evaluation_draws(len(items.split.names), hyper.batch_size, recipe.recalibrated_at)
    for batch in loader(items, draws, runtime):
        with torch.inference_mode(), computing(numerics, runtime.device):
            learner.predict(batch.examples)
    return learner.network.state_dict()
