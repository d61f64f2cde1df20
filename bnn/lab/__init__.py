"""Measuring estimators: the objects that train, held against the truth.

`python -m bnn.lab` is the entry. Prefer `measure`: bias, variance and cosine of any estimator on any network that trains.
The other commands each answer one question: `target` (where straight-through stops), `slopes` (what annealing does to its
gradient), `checkpoints` (a published figure's protocol), `coupling` (what batch norm does to per-sample credit).
"""
