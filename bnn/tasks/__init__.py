"""Tasks: what a network is trained for, and its metrics.

A new task needs its class here and its yaml in conf/task.
"""

from bnn.tasks.base import Metric, Scores, Task
from bnn.tasks.classification import Classification, cross_entropy

__all__ = ["Classification", "Metric", "Scores", "Task", "cross_entropy"]
