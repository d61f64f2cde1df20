"""REINFORCE, REBAR and RELAX on the toy problem, in the setting of RELAX's published code.

A plain implementation of toy.py, pytorch_toy.py and rebar_toy.py in github.com/duvenaud/relax,
beside which the registered estimators are shown. The curves in the papers (arXiv 1711.00123,
figure 1; arXiv 1703.07370, figure 1) are pictures, of which no number was read here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.lab.questions.toy_problem import (
    RATE,
    Descent,
    expected_loss,
    in_last_tenth,
    measured_steps,
    variance,
)

PUBLISHED = ("reinforce", "rebar", "relax")
HIDDEN = 10
"""Units of RELAX's network."""


class PublishedSetting:
    """Estimators in the papers' setting, one for each seed, one sample a step, all by Adam at RATE.

    With z = θ - logit(u), b = 1[z > 0], and z̃ its reparameterization given b, an estimate is
    (f(b) - c(z̃)) (b - p) + dc(z)/dθ - dc(z̃)/dθ. REBAR's c is η times the relaxed loss, η from 1;
    RELAX's is a network alone, of HIDDEN tanh units on 2σ(z / τ) - 1. z̃ takes the uniform number
    of z. η, τ (from ½, by its logarithm) and the network descend on the square of each estimate.

    Args:
        name: one of PUBLISHED.
        t: target.
        seeds: number of estimators.
    """

    def __init__(self, name: str, t: float, seeds: int) -> None:
        self.name, self.t, self.seeds = name, t, seeds
        self.generator = torch.Generator().manual_seed(0)
        self.theta = self._parameter(1)
        self.log_tau = self._parameter(1, value=math.log(0.5))
        self.eta = self._parameter(1, value=1.0)
        self.first, self.shift = self._parameter(HIDDEN, scale=1.0), self._parameter(HIDDEN)
        self.last, self.offset = self._parameter(HIDDEN, scale=HIDDEN**-0.5), self._parameter(1)
        network = [self.first, self.shift, self.last, self.offset]
        self.learned = {
            "reinforce": [],
            "rebar": [self.log_tau, self.eta],
            "relax": [self.log_tau, *network],
        }[name]

    def _parameter(self, *shape: int, scale: float = 0.0, value: float = 0.0) -> Tensor:
        drawn = torch.randn(self.seeds, *shape, generator=self.generator, dtype=torch.float64)
        return (value + scale * drawn).requires_grad_()

    def control_variate(self, z: Tensor) -> Tensor:
        """Control variate c at z, [seeds, draws]."""
        y = torch.sigmoid(z / self.log_tau.exp())
        if self.name == "rebar":
            return self.eta * (y - self.t).square()
        hidden = torch.tanh((2 * y - 1)[..., None] * self.first[:, None] + self.shift[:, None])
        return (hidden * self.last[:, None]).sum(2) + self.offset

    def estimate(self, draws: int) -> Tensor:
        """Estimates of d E / dθ, [seeds, draws]."""
        theta = self.theta.detach().expand(-1, draws).clone().requires_grad_()
        p = torch.sigmoid(theta)
        u = torch.rand(self.seeds, draws, generator=self.generator, dtype=torch.float64)
        b = (u < p).double()
        score, f = b - p.detach(), (b - self.t).square()
        if self.name == "reinforce":
            return f * score
        # position of u in the interval that b leaves to it
        share = torch.where(b > 0, u / p, (u - p) / (1 - p)).detach()
        u_given_b = torch.where(b > 0, share * p, p + share * (1 - p))
        c, c_given_b = (self.control_variate(theta - torch.logit(one)) for one in (u, u_given_b))
        (slope,) = torch.autograd.grad(c.sum(), theta, create_graph=True)
        (slope_given_b,) = torch.autograd.grad(c_given_b.sum(), theta, create_graph=True)
        return (f - c_given_b) * score + slope - slope_given_b

    def descend(self, steps: int, *, draws: int) -> list[Descent]:
        """Descents of so many steps, one for each seed.

        Args:
            steps: steps of Adam.
            draws: estimates behind each variance.
        """
        optimizer = torch.optim.Adam([self.theta, *self.learned], RATE)
        found = [Descent() for _ in range(self.seeds)]
        losses, measured = [], set(measured_steps(steps))
        for step in range(1, steps + 1):
            self._backward()
            optimizer.step()
            if step in measured:
                for descent, values in zip(found, self.estimate(draws).detach(), strict=True):
                    descent.variances.append((step, *variance(values)))
            if in_last_tenth(step, steps):
                probabilities = torch.sigmoid(self.theta.detach()).flatten()
                losses.append([expected_loss(float(p), self.t) for p in probabilities])
        for descent, of_one in zip(found, zip(*losses, strict=True), strict=True):
            descent.loss = sum(of_one) / len(of_one)
        return found

    def _backward(self) -> None:
        """Set the gradients: the estimate for θ, that of its square for what is learned."""
        latest = self.estimate(1)
        self.theta.grad = latest.detach()
        if self.learned:
            gradients = torch.autograd.grad(latest.square().sum(), self.learned)
            for parameter, gradient in zip(self.learned, gradients, strict=True):
                parameter.grad = gradient
