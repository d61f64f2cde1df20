"""Tasks: inputs, targets, loss, metrics and evaluation. To add one: its class here, its yaml in conf/task."""

from bnn.tasks.base import Metric, Scores, Task
from bnn.tasks.classification import Classification, cross_entropy

__all__ = ["Classification", "Metric", "Scores", "Task", "cross_entropy"]
