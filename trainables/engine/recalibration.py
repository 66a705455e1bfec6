"""Re-estimation of batch-norm statistics on compressed training images: how much of the loss is recovered without training."""

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.contracts import Recipe, Weights
from trainables.engine.loading import Draw, loader, samples
from trainables.engine.numerics import computing, prepare
from trainables.engine.workload import Workload
from trainables.networks.initial import load


def recalibrate(workload: Workload, recipe: Recipe, weights: Weights, *, seed: int) -> Weights:
    """The weights, with the mean and variance of every batch norm estimated on the training images at the recipe's level.

    One pass in a random order that depends on the seed, without labels, gradient or augmentation; every batch counts equally and
    the last incomplete one is dropped. The order matters: neighbouring frames look alike, and a batch of them underestimates the
    variance. (Nado et al. 2020 estimate on test batches; this function never reads them.) Raises ValueError for a network without
    batch norm, where the recipe does not apply.
    """
    architecture, runtime = workload.architecture, workload.runtime
    learner = architecture.learner(workload.hyper, workload.trained, 1, runtime.device)
    load(architecture, learner.network, weights)
    norms = [module for module in learner.network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        raise ValueError(f"{architecture.name} has no batch norm: {recipe.name} does not apply to it")
    prepare(learner, workload.numerics)
    learner.network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches, whatever their order
        norm.train()
    items = samples(workload, "train")
    count, size = len(workload.kept), workload.hyper.batch_size
    order = np.random.default_rng(seed).permutation(count).tolist()
    draws = [Draw(workload.kept[place], recipe.condition(recipe.recalibrated_at), None) for place in order]
    batches = [draws[start : start + size] for start in range(0, max(1, count - size + 1), size)]
    for batch in loader(items, batches, runtime):
        with torch.inference_mode(), computing(workload.numerics, runtime.device):
            learner.predict(batch.examples)
    return learner.network.state_dict()
