"""Launchers of Hydra under which sweeps are tested, with the packages that they need."""

from __future__ import annotations

LAUNCHERS = {
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit": ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=10"],
    "ray": [
        "hydra/launcher=ray",
        "+hydra.launcher.ray.init.num_cpus=2",
        "+hydra.launcher.ray.init.include_dashboard=false",
    ],
}
"""Overrides of each launcher."""
NEEDS = {"submitit": "submitit", "ray": "ray"}
"""Module of each launcher that is not part of the installation."""
