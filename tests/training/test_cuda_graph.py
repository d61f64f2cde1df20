"""Choice of the steps that a CUDA graph repeats, and their learning rates; no GPU is needed.

Captured steps themselves are tested in tests/test_cuda.py.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.estimators import REBAR, StraightThrough
from bnn.nn.neurons import Stochastic
from bnn.tasks import Classification
from bnn.training.cuda_graph import is_captured
from bnn.training.optimizers import OPTIMIZERS, make_capturable

GPU = torch.device("cuda", 1)


class OfAnotherPackage(StraightThrough):
    pass


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), Stochastic(), nn.Linear(4, 2))


def test_steps_of_this_package_are_captured_unless_they_differ() -> None:
    for estimator, captured in (
        (StraightThrough(), True),
        (REBAR(tau=0.5), True),
        (REBAR(), False),
        (OfAnotherPackage(), False),
    ):
        parts = (network(), estimator, Classification())
        assert is_captured("auto", *parts, GPU) is captured
        assert is_captured("always", *parts, GPU)
        assert not is_captured("never", *parts, GPU)
        assert not is_captured("auto", *parts, torch.device("cpu"))


def test_a_cuda_graph_on_a_cpu_is_refused() -> None:
    parts = (network(), StraightThrough(), Classification())
    with pytest.raises(ConfigError, match=r"trainer\.cuda_graph=always: expected device=cuda"):
        is_captured("always", *parts, torch.device("cpu"))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_learning_rates_in_tensors_follow_the_same_schedule(name: str) -> None:
    rates, weights = [], []
    for as_tensors in (False, True):
        weight = nn.Parameter(torch.ones(5))
        optimizer, schedule = OPTIMIZERS[name]().start({"network": [weight]}, steps=20)
        if as_tensors:
            make_capturable(optimizer)
            for group in optimizer.param_groups:
                assert isinstance(group["lr"], torch.Tensor)
                group["capturable"] = False  # which a CPU has no use for
        seen = []
        for step in range(20):
            seen.append(float(schedule.get_last_lr()[0]))
            weight.grad = torch.full((5,), float(step % 3))
            optimizer.step()
            schedule.step()
        rates.append(seen)
        weights.append(weight.detach())
    assert rates[1] == pytest.approx(rates[0], rel=1e-6) and len(set(rates[0])) > 10
    torch.testing.assert_close(weights[1], weights[0])
