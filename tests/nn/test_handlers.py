"""Effect handlers: a binary layer in training has an estimator, or says that it has none."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from bnn import functional
from bnn.errors import ConfigError, NoEstimatorError
from bnn.estimators import Estimator, Reinforce, ReinMax, StraightThrough
from bnn.nn import Deterministic, Stochastic, apply, handling, sampled, threshold
from bnn.nn.handlers import evaluating, replication

X, Y = torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3


def network(neuron: type[nn.Module] = Stochastic) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), neuron(), nn.Linear(4, 3))


def seeded(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda like: torch.empty_like(like).uniform_(generator=generator)


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_a_plain_loop_in_training_mode_raises() -> None:
    with pytest.raises(
        NoEstimatorError, match=r"no estimator in force.*estimator\(net, inputs, targets\)"
    ):
        F.cross_entropy(network()(X), Y)


def test_evaluation_and_no_grad_fire_by_the_neurons_own_rule() -> None:
    model = network(Deterministic)
    with torch.no_grad():
        expected = model[2]((model[0](X) > 0).float())
        torch.testing.assert_close(model(X), expected)
    torch.testing.assert_close(model.eval()(X), expected)
    torch.manual_seed(1)
    assert set(Stochastic().eval()(torch.zeros(100)).tolist()) == {0.0, 1.0}


def test_a_neuron_below_which_nothing_learns_does_not_raise() -> None:
    assert Stochastic()(torch.zeros(4, 2)).shape == (4, 2)


def test_the_handler_is_not_in_force_in_another_thread() -> None:
    model, caught = network(), []

    def forward() -> None:
        try:
            model(X)
        except NoEstimatorError as error:
            caught.append(error)

    with StraightThrough().in_force():
        model(X)
        thread = threading.Thread(target=forward)
        thread.start()
        thread.join()
    assert len(caught) == 1


class Checkpointed(nn.Module):
    """A network that recomputes its binary layer in the backward pass."""

    def __init__(self, reentrant: bool) -> None:
        super().__init__()
        self.below, self.above, self.reentrant = network()[:2], nn.Linear(4, 3), reentrant

    def forward(self, x: Tensor) -> Tensor:
        return self.above(checkpoint(self.below, x.requires_grad_(), use_reentrant=self.reentrant))


@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_by_activation_checkpointing_raises(reentrant: bool) -> None:
    model = Checkpointed(reentrant)
    loss = StraightThrough()(model, X.clone(), Y)
    with pytest.raises(NoEstimatorError, match="activation checkpointing"):
        loss.backward()
    with (
        pytest.raises(NoEstimatorError, match="activation checkpointing"),
        StraightThrough().in_force(),
    ):
        F.cross_entropy(model(X.clone()), Y).backward()


def test_a_forward_pass_inside_another_has_its_own_handler() -> None:
    teacher = network().eval()

    class Taught(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = network()

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.target = apply(teacher, x, threshold)
            assert not self.training or replication() is not None, "the outer handler is back"
            return self.student(x) - self.target

    model = Taught()
    loss = StraightThrough()(model, X, Y, noise=seeded())
    with StraightThrough().in_force(seeded()):
        expected = F.cross_entropy(network()(X) - model.target, Y)
    torch.testing.assert_close(loss, expected)
    with torch.no_grad():
        assert torch.equal(model.target, apply(teacher, X, threshold))


def test_an_exception_in_the_middle_leaves_no_handler_behind() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.below = network()

        def forward(self, x: Tensor) -> Tensor:
            self.below(x)
            raise ZeroDivisionError

    for estimator in (StraightThrough(), Reinforce()):
        with pytest.raises(ZeroDivisionError):
            estimator(Fails(), X, Y)
        assert replication() is None
        with pytest.raises(NoEstimatorError):
            network()(X)
    with pytest.raises(ZeroDivisionError), handling(threshold):
        raise ZeroDivisionError
    with pytest.raises(NoEstimatorError):
        network()(X)


@pytest.mark.parametrize("estimator", [StraightThrough(), Reinforce()], ids=["one pass", "several"])
def test_a_pass_that_meets_no_binary_layer_of_a_network_that_has_some_raises(
    estimator: Estimator,
) -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.around = network(), False

        def forward(self, x: Tensor) -> Tensor:
            return self.net[2](self.net[0](x)) if self.around else self.net(x)

    model = Sometimes()
    estimator(model, X, Y)
    model.around = True
    with pytest.raises(NoEstimatorError, match="met no binary layer"):
        estimator(model, X, Y)


def test_in_force_is_the_same_estimate_around_ones_own_forward_pass() -> None:
    model = network()
    for estimator in (StraightThrough(), ReinMax(), ReinMax(tau=1.5)):
        with estimator.in_force(seeded()):
            mine = F.cross_entropy(model(X), Y)
        theirs = estimator(model, X, Y, noise=seeded())
        assert all(
            torch.equal(a, b)
            for a, b in zip(gradients(model, mine), gradients(model, theirs), strict=True)
        )


def test_in_force_around_no_binary_layer_raises() -> None:
    with (
        pytest.raises(NoEstimatorError, match="no binary layer was met"),
        StraightThrough().in_force(),
    ):
        nn.Linear(5, 3)(X)


def test_a_law_without_full_support_is_refused_without_an_estimator_object_too() -> None:
    a = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    for function in (functional.reinmax, functional.st_gumbel, functional.concrete):
        with pytest.raises(ConfigError, match="with the uniform law: expected a law under which"):
            function(a, law="uniform")
    with pytest.raises(ConfigError, match="with the uniform law"), ReinMax().in_force():
        Stochastic(law="uniform")(a[None])
    functional.straight_through(a, law="uniform").sum().backward()
    assert a.grad is not None and a.grad.isfinite().all()


def test_an_estimator_that_has_to_see_the_losses_cannot_be_put_in_force() -> None:
    with pytest.raises(ConfigError, match=r"loss = estimator\(net"), Reinforce().in_force():
        pass


def test_modes_of_modules_come_back_after_evaluation() -> None:
    model = network()
    model[1].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert model.training and model[0].training and not model[1].training


@pytest.mark.numerical
@pytest.mark.parametrize("estimator", [StraightThrough(), Reinforce()], ids=["one pass", "several"])
def test_a_compiled_network_has_the_same_gradient(estimator: Estimator) -> None:
    model = network()
    compiled = torch.compile(model, backend="aot_eager")
    found = gradients(model, estimator.init(model, X)(compiled, X, Y, noise=seeded()))
    expected = gradients(model, estimator(model, X, Y, noise=seeded()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_an_exported_network_keeps_the_reading_that_was_set_inside_its_forward_pass() -> None:
    class Served(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, x: Tensor) -> Tensor:
            with handling(threshold):
                return self.net(x)

    model = Served().eval()
    exported = torch.export.export(model, (X,), strict=False).module()
    torch.testing.assert_close(exported(X), model(X))
    random = torch.export.export(Random(), (X,), strict=False).module()
    assert not torch.equal(random(X), random(X)), "the control: a sampled reading draws anew"


class Random(nn.Module):
    """A network that is served with sampled units."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network().eval()

    def forward(self, x: Tensor) -> Tensor:
        with handling(sampled()):
            return self.net(x)
