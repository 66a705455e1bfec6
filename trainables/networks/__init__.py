"""Code that several networks share: initial weights, optimisation, the one-network learner, input normalisation."""
