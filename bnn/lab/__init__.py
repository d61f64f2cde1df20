"""Measurement of gradient estimators: bias, variance and cosine, on networks that train.

`python -m bnn.lab` compares estimators on one network; `bnn.lab.questions` has a command for each
other question. From Python prefer `comparison.compare`. Its parts are `GradientSampler` (estimates
of one gradient), `reference_gradient` (exact, or the mean of many) and `measure` (numbers with 95 %
intervals, each an `Estimate`). `GradientProbe` measures during a training, for `lab.every`.
"""

from bnn.lab import moved

moved.install()
