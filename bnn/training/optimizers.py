"""Optimizers by name, each with its learning-rate schedule.

A schedule is a pure function `(step, steps, warmup) -> multiplier` of the peak learning rate, with
`warmup` a share of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bnn.errors import ConfigError
from bnn.models.gated import GATER
from bnn.nn.weight_layers import WEIGHTS
from bnn.nn.weights import WeightRule
from bnn.registry import Registry
from bnn.tasks import Task

LR_SCHEDULES: Registry[float] = Registry("optimizer.lr_schedule")


@LR_SCHEDULES.add("constant")
def constant(step: int, steps: int, warmup: float) -> float:
    """Constant rate: linear from 0 during the warm-up, then 1."""
    return min(1.0, (step + 1) / max(1.0, warmup * steps))


@LR_SCHEDULES.add("cosine")
def cosine(step: int, steps: int, warmup: float) -> float:
    """Cosine annealing without restarts (Loshchilov & Hutter 2017).

    Linear from 0 during the warm-up, then half a cosine down to 0.
    """
    rising = warmup * steps
    if step < rising:
        return (step + 1) / max(1.0, rising)
    return (1 + math.cos(math.pi * (step - rising) / max(1.0, steps - rising))) / 2


@LR_SCHEDULES.add("one_cycle")
def one_cycle(step: int, steps: int, warmup: float) -> float:
    """One-cycle policy (Smith & Topin 2018).

    Half a cosine up from 1/25 during the warm-up, then half a cosine down to 1/250,000.
    """
    rising = warmup * steps
    low, progress = (
        (1 / 25, 1 - step / rising)
        if step < rising
        else (4e-6, (step - rising) / max(1.0, steps - rising))
    )
    return low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2


NETWORK, ESTIMATOR, TASK = "network", "estimator", "task"
"""Parameter groups: of the network, of the estimator, and of the networks that a task brings."""


def parameter_groups(
    model: nn.Module, estimator: nn.Module, task: Task
) -> dict[str, list[nn.Parameter]]:
    """Parameters by the name of their group; groups without any are left out.

    A module of the network puts its own parameters into another group by an attribute
    `parameter_group`, a name or a mapping from some of its parameters to names; a parameter that
    several modules share counts for the first of them.

    Args:
        model: the network.
        estimator: gradient estimator.
        task: the task; parameters that its own optimizers hold are left out.

    Raises:
        ConfigError: for a module that names the estimator's or the task's group.
    """
    owner: dict[int, str] = {}
    for name, module in model.named_modules():
        group = getattr(module, "parameter_group", NETWORK)
        for key, parameter in module.named_parameters(recurse=False):
            own = group.get(key, NETWORK) if isinstance(group, Mapping) else group
            if own in (ESTIMATOR, TASK):
                raise ConfigError(
                    f"{name}.parameter_group: {own!r} holds what is no part of the network; give "
                    "it another name"
                )
            owner.setdefault(id(parameter), own)
    groups: dict[str, list[nn.Parameter]] = {NETWORK: []}
    for parameter in model.parameters():
        groups.setdefault(owner[id(parameter)], []).append(parameter)
    groups[ESTIMATOR] = list(estimator.parameters())
    taken = {
        id(one)
        for optimizer in task.optimizers().values()
        for group in optimizer.param_groups
        for one in group["params"]
    }
    groups[TASK] = [one for one in task.parameters() if id(one) not in taken]
    return {name: own for name, own in groups.items() if own}


@dataclass(frozen=True)
class Optimization:
    """Optimizer for given parameters, and its learning rate over a number of steps.

    Args:
        optimizer: constructor from parameter groups.
        lr_schedule: multiplier of the learning rate, `(step, steps, warmup) -> multiplier`.
        warmup: share of the steps with a rising learning rate.
        groups: settings of parameter groups that differ from the network's: `lr`, `weight_decay`.
    """

    optimizer: Callable[[Iterable[Any]], torch.optim.Optimizer]
    lr_schedule: Callable[[int, int, float], float]
    warmup: float
    groups: Mapping[str, Mapping[str, float]]

    def start(
        self,
        groups: Mapping[str, Sequence[nn.Parameter]],
        steps: int,
        rule: WeightRule | None = None,
    ) -> tuple[Optimizers, LambdaLR]:
        """Optimizer of parameter groups, and its learning rate over a number of steps.

        Args:
            groups: parameters by the name of their group; see `parameter_groups`.
            steps: optimizer steps of the whole training.
            rule: rule of the binary weights; its settings are those of the latent weights, which
                have no weight decay but its own.

        Returns:
            The optimizer, joined with the rule's where it has one; the learning rate is that of the
            former.

        Raises:
            ConfigError: for a group without settings, and for settings of no group.
        """
        self.check_groups(groups)
        latents = list(groups.get(WEIGHTS, []))
        own = rule.optimizer(latents) if rule is not None and latents else None
        settings = [
            {"params": list(parameters), "name": name, **self.groups.get(name, {})}
            for name, parameters in groups.items()
            if own is None or name != WEIGHTS
        ]
        if rule is not None and latents and own is None:
            self._set_latents(settings, rule.group_settings())
        optimizer = self.optimizer(settings)
        rate = LambdaLR(optimizer, lambda step: self.lr_schedule(step, steps, self.warmup))
        return Optimizers(optimizer, *([own] if own is not None else [])), rate

    def of_group(self, name: str, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
        """Optimizer of the parameters of one group, at its peak learning rate.

        Args:
            name: the group, whose settings count.
            parameters: its parameters.
        """
        return self.optimizer([{"params": list(parameters), **self.groups.get(name, {})}])

    def check_groups(self, names: Collection[str]) -> None:
        """Check that each parameter group has settings, and that settings belong to a group.

        Args:
            names: groups that have parameters. Settings of `gater`, `estimator` and `task` may be
                there without any: other runs of a sweep have them.

        Raises:
            ConfigError: naming the group and the key to change.
        """
        if unknown := set(names) - {NETWORK, WEIGHTS, *self.groups}:
            raise ConfigError(
                f"optimizer.groups: expected settings of the group {min(unknown)}, which has "
                f"parameters; write +optimizer.groups.{min(unknown)}={{}} for those of the network"
            )
        if empty := set(self.groups) - {*GROUPS, *names}:
            raise ConfigError(
                f"optimizer.groups.{min(empty)}: no parameter is in this group; expected settings "
                f"of {', '.join(sorted({*GROUPS, *names} - {NETWORK, WEIGHTS}))}"
            )

    def _set_latents(self, groups: Sequence[dict[str, Any]], settings: Mapping[str, Any]) -> None:
        """Settings of the group of the latent weights."""
        group = next(group for group in groups if group["name"] == WEIGHTS)
        group |= {key: value for key, value in settings.items() if key != "momentum"}
        group["weight_decay"] = 0.0
        if "momentum" in settings:
            sgd = self.optimizer([torch.zeros(1, requires_grad=True)]).defaults
            momentum = settings["momentum"]
            group |= (
                {"momentum": momentum}
                if "momentum" in sgd
                else {"betas": (momentum, sgd["betas"][1])}
            )


class Optimizers:
    """Several optimizers that are stepped together, each with parameters of its own.

    Args:
        optimizers: the optimizers; the first has the learning-rate schedule, which the others
            follow.
    """

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of all of them."""
        return [group for one in self.optimizers for group in one.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients.

        Args:
            set_to_none: remove them instead of writing zeros.
        """
        for one in self.optimizers:
            one.zero_grad(set_to_none)

    def step(self) -> None:
        """One step of each."""
        first, *others = self.optimizers
        first.step()
        group = first.param_groups[0]
        for other in others:
            for own in other.param_groups:
                own["lr"] = group["lr"] / group["initial_lr"]
            other.step()

    def state_dict(self) -> dict[str, Any]:
        """State of the first, as alone, and under `further` those of the others."""
        first, *others = (one.state_dict() for one in self.optimizers)
        return {**first, **({"further": others} if others else {})}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state.

        Args:
            state: value of `state_dict`.

        Raises:
            ValueError: for the state of another number of optimizers.
        """
        further = state.get("further", [])
        if len(further) != len(self.optimizers) - 1:
            raise ValueError(f"expected {len(self.optimizers)} optimizers, got {1 + len(further)}")
        first = {key: value for key, value in state.items() if key != "further"}
        for one, own in zip(self.optimizers, [first, *further], strict=True):
            one.load_state_dict(own)


def make_capturable(optimizer: Optimizers) -> None:
    """Set up an optimizer for steps that a CUDA graph repeats: its learning rates become tensors.

    A schedule of the learning rate then writes into them.

    Args:
        optimizer: changed in place; it has its schedule already.
    """
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(group["lr"], device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = True


OPTIMIZERS: Registry[Optimization] = Registry("optimizer.name")
GROUP_KEYS = ("lr", "weight_decay")
GROUPS: dict[str, Any] = {name: dict.fromkeys(GROUP_KEYS) for name in (GATER, ESTIMATOR, TASK)}
"""Default of `groups`: null stands for the network's setting."""


def _group_settings(groups: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Settings by group, those that are null left out."""
    if WEIGHTS in groups:
        raise ConfigError(
            f"optimizer.groups.{WEIGHTS}: latent weights have the settings of their rule; write "
            "weights.lr or weights.momentum"
        )
    for name, settings in groups.items():
        if not isinstance(settings, Mapping) or set(settings) - set(GROUP_KEYS):
            raise ConfigError(
                f"optimizer.groups.{name}: expected a mapping with {' and '.join(GROUP_KEYS)}, got "
                f"{settings}"
            )
        for key, value in settings.items():
            if value is not None and not (isinstance(value, int | float) and value >= 0):
                raise ConfigError(
                    f"optimizer.groups.{name}.{key}: expected a number >= 0, or null for the "
                    f"network's; got {value}"
                )
    return {
        name: {k: float(v) for k, v in own.items() if v is not None} for name, own in groups.items()
    }


def _optimization(
    kind: Any,
    lr: float,
    lr_schedule: str,
    warmup: float,
    groups: Mapping[str, Any],
    **options: float,
) -> Optimization:
    if not lr > 0:
        raise ConfigError(f"optimizer.lr: expected a positive number, got {lr}")
    if not 0 <= warmup < 1:
        raise ConfigError(
            f"optimizer.warmup: expected a share of the steps in [0, 1), got {warmup}"
        )
    if not options["weight_decay"] >= 0:
        raise ConfigError(
            f"optimizer.weight_decay: expected a number >= 0, got {options['weight_decay']}"
        )
    # fused: one kernel for all parameters; the same update
    made = partial(kind, lr=lr, fused=True, **options)
    return Optimization(
        made, LR_SCHEDULES[lr_schedule], warmup, _group_settings({**GROUPS, **groups})
    )


@OPTIMIZERS.add("sgd")
def sgd(
    *,
    lr: float = 0.05,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    lr_schedule: str = "cosine",
    warmup: float = 0.05,
    groups: dict[str, Any] = GROUPS,
) -> Optimization:
    """Stochastic gradient descent with heavy-ball momentum."""
    if not 0 <= momentum < 1:
        raise ConfigError(f"optimizer.momentum: expected a number in [0, 1), got {momentum}")
    return _optimization(
        torch.optim.SGD,
        lr,
        lr_schedule,
        warmup,
        groups,
        momentum=momentum,
        weight_decay=weight_decay,
    )


@OPTIMIZERS.add("adam")
def adam(
    *,
    lr: float = 0.015,
    weight_decay: float = 0.0,
    lr_schedule: str = "cosine",
    warmup: float = 0.05,
    groups: dict[str, Any] = GROUPS,
) -> Optimization:
    """Adam (Kingma & Ba 2015)."""
    return _optimization(
        torch.optim.Adam, lr, lr_schedule, warmup, groups, weight_decay=weight_decay
    )


@OPTIMIZERS.add("adamw")
def adamw(
    *,
    lr: float = 0.002,
    weight_decay: float = 0.01,
    lr_schedule: str = "cosine",
    warmup: float = 0.05,
    groups: dict[str, Any] = GROUPS,
) -> Optimization:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""
    return _optimization(
        torch.optim.AdamW, lr, lr_schedule, warmup, groups, weight_decay=weight_decay
    )


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """Euclidean norm of the present gradient, by the name of the layer that owns the parameters."""
    squares: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            layer = name.rpartition(".")[0] or name
            before = squares.get(layer, torch.zeros((), device=parameter.device))
            squares[layer] = before + parameter.grad.square().sum()
    return {layer: float(square.sqrt()) for layer, square in squares.items()}
