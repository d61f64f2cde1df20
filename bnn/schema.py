"""Names of a run's metrics and tags, each once."""

from __future__ import annotations

from collections.abc import Mapping

# ---- metrics

TRAIN, VALIDATION, BEST_VALIDATION, TEST = "train/", "val/", "val_best/", "test/"
"""Prefixes of a task's metrics: over an epoch of training, on the validation split, there at the
best epoch, and on the test split at the best epoch."""
ERROR, ACCURACY = "error", "accuracy"
"""Test error in percent, logged beside the accuracy (a share) of a task that has one."""
BEST = "best/"
"""Prefix on a parent run: final metrics of the best of its runs, `best/test/error`."""
BEST_EPOCH = "best_epoch"
SLOPE, LEARNING_RATE = "schedule/slope", "schedule/lr"
TRAIN_SECONDS, TOTAL_SECONDS = "seconds/train", "seconds/total"
SECONDS, UNITS, GRADIENT_NORM, ESTIMATOR, LAB, SCHEDULE = (
    "seconds/",
    "units/",
    "gradient_norm/",
    "estimator/",
    "lab/",
    "schedule/",
)
WEIGHTS = "weights/"
"""Prefix of statistics of binary weights: `weights/conv2/flip_rate`."""
HEATMAP, PICTURES = "heatmap/", "pictures/"
"""Prefixes of a layer's images by epoch, and of those that the task draws."""

SAMPLED, MC_MEAN, THRESHOLD = "sampled", "mc_mean", "threshold"
"""Readings of the random units in evaluation: one draw by each neuron's own rule, the mean of
several draws, and the more probable bit."""
SIGN_WEIGHTS, DRAWN_WEIGHTS, ENSEMBLE, LRT = "sign", "drawn_weights", "ensemble", "lrt"
"""Further readings of weights that are drawn in training: by sign under the training's statistics,
one drawn network, the mean of several, and the Gaussians of local reparameterisation."""
TRAINING_STATISTICS = "_training_statistics"
"""Suffix of a reading under the running statistics of the training."""
OTHER_READINGS = (MC_MEAN, THRESHOLD, DRAWN_WEIGHTS, ENSEMBLE, LRT, TRAINING_STATISTICS)
"""Endings of test metrics under another reading than `sampled`."""


def test_metric(metric: str, reading: str) -> str:
    """Name of a test metric under a reading: `accuracy`, `accuracy_mc_mean`."""
    return metric if reading == SAMPLED else f"{metric}_{reading}"


def best_validation(key: str) -> str:
    """Key of a validation metric at the best epoch: `val/loss` -> `val_best/loss`."""
    return BEST_VALIDATION + key.removeprefix(VALIDATION)


def current_metric(key: str) -> str:
    """Key of a metric as this version logs it, from a run of any version."""
    return key.removesuffix("_mean") + "_mc_mean" if _is_old_mean(key) else key


def _is_old_mean(key: str) -> bool:
    return key.startswith(TEST) and key.endswith("_mean") and not key.endswith("_mc_mean")


# ---- tags

PARENT, NOTE, SOURCE = "mlflow.parentRunId", "mlflow.note.content", "mlflow.source.name"
KIND = "bnn.kind"
"""`run`, `trial` (one seed of a trial, which does not read the test set) or `sweep`."""
DIGEST, RESULT_KEY = "bnn.digest", "bnn.result_key"
COMMAND, COMMIT, HARDWARE, VERSIONS = "bnn.command", "bnn.commit", "bnn.hardware", "bnn.versions"
THREADS, HOST = "bnn.threads", "bnn.host"
RUN_DIR, RUN_DIR_OWNER = "bnn.run_dir", "bnn.run_dir_owner"
JOBS, PLUGINS = "bnn.jobs", "bnn.plugins"
REASON, PRUNED, CHECKPOINT = "bnn.reason", "bnn.pruned", "bnn.checkpoint"
SAMPLES_IN_TRAINING, EVALUATIONS = "bnn.samples_in_training", "bnn.evaluations"
ORIGIN, COPIED, SORTED_BY = "bnn.origin", "bnn.copied", "bnn.sorted_by"
INIT_FROM, CONTINUED_FROM = "bnn.init_from", "bnn.continued_from"
"""Source of the initial weights; and the run of fewer epochs that a run went on from."""
DATASET, NEURON, ESTIMATOR_NAME, ESTIMATOR_TITLE = (
    "dataset",
    "neuron",
    "estimator",
    "estimator_title",
)
PLACEMENT, ANNEAL, LAW, WEIGHT_RULE = "placement", "anneal", "law", "weights"
FILTERS = (DATASET, NEURON, WEIGHT_RULE, ESTIMATOR_NAME, PLACEMENT, ANNEAL)
"""Tags by which a person filters runs; views show them as columns."""
TRIAL, STUDY, TRIAL_PARAMS = "trial", "study", "trial_params"

OLD_TAGS: Mapping[str, str] = {
    RESULT_KEY: "bnn.result",
    RUN_DIR: "bnn.folder",
    RUN_DIR_OWNER: "bnn.home",
    JOBS: "bnn.cells",
    SAMPLES_IN_TRAINING: "bnn.explores",
    EVALUATIONS: "bnn.passes",
}
"""Tags that version 0.1.0 called otherwise."""


def current_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under the names of this version, from a run of any version."""
    renamed = {key: tags[old] for key, old in OLD_TAGS.items() if old in tags}
    return {**tags, **renamed} if renamed else dict(tags)
