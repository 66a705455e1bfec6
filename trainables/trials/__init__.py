"""Trials: what identifies one, and the directory that holds its results."""
