"""Time of a training step, of the parts of a run, and of each estimator."""
