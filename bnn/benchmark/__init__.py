"""How fast a step is, against what, and where a run's time goes: `python -m bnn.benchmark`."""
