"""Tasks: what a network is trained for, and its metrics.

A new task needs its class here and its yaml in conf/task.
"""

from bnn.tasks.base import Metric, Pictures, Scores, Task, TrainingStep
from bnn.tasks.classification import Classification, cross_entropy
from bnn.tasks.gan import GenerativeAdversarial
from bnn.tasks.structured import StructuredPrediction
from bnn.tasks.vae import VariationalAutoencoder

__all__ = [
    "Classification",
    "GenerativeAdversarial",
    "Metric",
    "Pictures",
    "Scores",
    "StructuredPrediction",
    "Task",
    "TrainingStep",
    "VariationalAutoencoder",
    "cross_entropy",
]
