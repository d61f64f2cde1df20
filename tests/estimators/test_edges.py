"""Networks, losses and states at the edges: served rightly, or refused in one line."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bnn
from bnn.errors import ConfigError
from bnn.estimators import (
    NVIL,
    REBAR,
    RELAX,
    DisARM,
    LocalExpectation,
    MuProp,
    Reinforce,
    StraightThrough,
)
from bnn.nn import Latents, NoisyRectifier, RunningNorm, Stochastic, StochasticSmooth
from bnn.nn.forward import ForwardClosure
from bnn.nn.handlers import threshold
from bnn.nn.layers import has_linear_readout
from bnn.nn.replicas import branching, mean_of_descendants
from bnn.nn.sites import Site
from bnn.nn.statistics import reestimate, running_statistics
from bnn.testing import network
from bnn.training.optimizers import parameter_groups

X, Y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2


def chain(*above: nn.Module, width: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, width), bnn.Stochastic(), nn.Linear(width, 2), *above)


@pytest.mark.parametrize(
    "above",
    [nn.Hardtanh(), nn.ReLU(), nn.Tanh(), NoisyRectifier(), nn.BatchNorm1d(2)],
    ids=lambda one: type(one).__name__,
)
def test_a_readout_that_is_not_linear_is_told_far_from_the_bits_too(above: nn.Module) -> None:
    net = bnn.nn.convert_batch_norms(chain(above))
    with pytest.raises(ConfigError, match="linear read-out"):
        LocalExpectation().init(net, X)
    LocalExpectation().init(chain(), X)
    with torch.autocast("cpu", torch.bfloat16):
        LocalExpectation()(chain(), X, Y)


def test_credits_are_not_rounded_under_autocast() -> None:
    loss = 150 + torch.rand(4, 5)
    expected = mean_of_descendants(loss, [0, 1, 0, 0])
    with torch.autocast("cpu", torch.bfloat16):
        found = mean_of_descendants(loss, [0, 1, 0, 0])
    assert found.dtype == torch.float32 and torch.equal(found, expected)
    torch.testing.assert_close(expected[0], loss[[0, 2, 3]].mean(0))


@pytest.mark.parametrize("estimator", [REBAR(), RELAX()], ids=["rebar", "relax"])
def test_relaxations_are_not_differentiated_through_units_that_draw_by_their_own_probability(
    estimator,
) -> None:
    with pytest.raises(ConfigError, match=r"3: StochasticSmooth draws by its own probability"):
        estimator.init(chain(StochasticSmooth()), X)
    estimator(chain(NoisyRectifier()), X, Y).backward()


class Folded(nn.Module):
    """Two steps in time, folded into the batch for a norm, below a binary layer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = bnn.nn.convert_batch_norms(nn.BatchNorm1d(3))
        self.neuron, self.readout = bnn.Stochastic(), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.norm(torch.cat([x, 2 * x + 1])).unflatten(0, (2, -1))
        return self.readout(self.neuron(steps.transpose(0, 1).flatten(1)))


@pytest.mark.parametrize("estimator", [StraightThrough(), Reinforce()], ids=["one pass", "several"])
def test_a_batch_that_is_folded_for_a_norm_is_one_replica(estimator) -> None:
    net, reference = Folded(), nn.BatchNorm1d(3)
    estimator(net, X, Y)
    reference(torch.cat([X, 2 * X + 1]))
    torch.testing.assert_close(net.norm.running_mean, reference.running_mean)


def test_a_score_of_another_axis_than_the_batch_is_refused() -> None:
    class TimeFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron, self.readout = bnn.Stochastic(), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.readout(self.neuron(torch.stack([x, x, x, x])).mean(0))

    StraightThrough()(TimeFirst(), X, Y).backward()
    with pytest.raises(ValueError, match="first axis of a binary layer, 6 samples"):
        Reinforce(baseline="none")(TimeFirst(), X, Y)


def test_groups_of_estimator_and_task_are_not_for_layers_and_tied_parameters_count_once() -> None:
    net = chain()
    net[0].parameter_group = "estimator"
    with pytest.raises(ConfigError, match=r"0\.parameter_group: 'estimator'"):
        parameter_groups(net, nn.Identity(), bnn.tasks.Classification())
    net[0].parameter_group = "latent"
    net[2].bias, net[0].weight = net[0].bias, net[0].weight
    groups = parameter_groups(net, nn.Identity(), bnn.tasks.Classification())
    assert {name: len(own) for name, own in groups.items()} == {"network": 1, "latent": 2}


def test_running_norms_are_of_any_precision_and_need_two_values() -> None:
    norm = RunningNorm(3).double()
    norm(X.double())
    assert norm.running_mean.dtype == torch.float64 and norm.running_mean.isfinite().all()
    with pytest.raises(ValueError, match="more than one value per channel"):
        RunningNorm(3)(X[:1])
    with pytest.raises(ConfigError, match="momentum"):
        RunningNorm(3, momentum=None)


@pytest.mark.parametrize("baseline", ["moving_average", "min_variance"])
def test_a_state_is_loaded_after_init_and_never_wiped_in_silence(baseline: str) -> None:
    net, trained = chain(), Reinforce(baseline=baseline)
    for _ in range(3):
        trained(net, X, Y)
    state = copy.deepcopy(trained.state_dict())
    with pytest.raises(ConfigError, match=r"call estimator\.init\(net, inputs\)"):
        Reinforce(baseline=baseline).load_state_dict(state)
    again = Reinforce(baseline=baseline).init(net, X)
    again.load_state_dict(state)
    noise = lambda like: torch.full_like(like, 0.3)  # noqa: E731
    assert torch.equal(*(one(net, X, Y, noise=noise).detach() for one in (trained, again)))
    assert all(
        torch.equal(value, again.state_dict()[key]) for key, value in trained.state_dict().items()
    )


def test_averages_of_an_earlier_network_do_not_stay() -> None:
    estimator = Reinforce(baseline="min_variance")
    estimator.init(
        nn.Sequential(
            nn.Linear(3, 4), bnn.Stochastic(), nn.Linear(4, 4), bnn.Stochastic(), nn.Linear(4, 2)
        ),
        X,
    )
    deep = set(estimator.state_dict())
    estimator.init(chain(), X)
    assert set(estimator.state_dict()) < deep


def test_nvil_takes_integer_inputs() -> None:
    net = nn.Sequential(
        nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 4), bnn.Stochastic(), nn.Linear(4, 2)
    )
    words = torch.tensor([[0, 1], [2, 3], [4, 0], [1, 2]])
    NVIL().init(net, words)(net, words, torch.tensor([0, 1, 0, 1])).backward()
    assert net[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "estimator", [MuProp(), REBAR(), DisARM()], ids=["muprop", "rebar", "disarm"]
)
def test_networks_below_which_nothing_learns_or_whose_bits_lead_nowhere_are_served(
    estimator,
) -> None:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lower, self.neuron, self.other = nn.Linear(3, 3), bnn.Stochastic(), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.neuron(self.lower(x))
            return self.other(x)

    fixed = chain()
    fixed[0].requires_grad_(False)
    for net in (fixed, Unused(), nn.Linear(3, 2)):
        one = copy.deepcopy(estimator).init(net, X)
        one(net, X, Y).backward()
        assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_min_variance_takes_a_loss_of_another_precision() -> None:
    Reinforce(baseline="min_variance")(
        chain(), X, Y, lambda o, t: F.cross_entropy(o, t, reduction="none").double()
    )


def test_local_expectation_takes_outputs_of_any_shape() -> None:
    one = nn.Sequential(nn.Linear(3, 2), bnn.Stochastic(), nn.Linear(2, 1), nn.Flatten(0))
    LocalExpectation()(one, X, Y, lambda output, targets: (output - targets).square()).backward()
    assert one[0].weight.grad.abs().sum() > 0


def test_a_loss_gets_the_latents_as_a_module_or_by_their_name() -> None:
    class Bound(nn.Module):
        def forward(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
            return latents[0].bits.sum(1)

    def named(output: Tensor, targets: Tensor, latents: Latents | None = None) -> Tensor:
        return latents[0].bits.sum(1)

    def other(output: Tensor, targets: Tensor, scale: float = 2.0) -> Tensor:
        return scale * output.sum(1)

    for loss in (Bound(), named, other):
        assert ForwardClosure(chain(), X, Y, loss)(Site.sample, branching(2)).loss.shape == (2, 6)


@pytest.mark.parametrize(
    "module", [nn.RReLU(), nn.LSTM(4, 4, dropout=0.5, num_layers=2)], ids=["rrelu", "lstm"]
)
def test_modules_that_drop_beside_a_path_around_a_layer_are_refused(module: nn.Module) -> None:
    net = network("residual").float()
    net.noisy = module
    with pytest.raises(ValueError, match="noisy: dropout"):
        Reinforce()(net, X, Y)
    StraightThrough()(net, X, Y)


def test_another_network_without_init_is_told() -> None:
    estimator = Reinforce()
    estimator(chain(), X, Y)
    with pytest.raises(ValueError, match=r"met 1 of 7 units; call estimator\.init"):
        estimator(chain(width=7), X, Y)


def test_a_copy_of_an_estimator_holds_no_network() -> None:
    estimator = Reinforce().init(chain(), X)
    assert all(site.module is None for site in estimator.layers.sites)


@pytest.mark.parametrize(
    "words, said",
    [
        ({"task": "classification"}, "task: expected an object of bnn.tasks"),
        (
            {"estimator": StraightThrough},
            "estimator: expected an object such as bnn.estimators.ReinMax",
        ),
        ({"tracker": "mlflow"}, "tracker: expected bnn.MLflow"),
        ({"optimizer": torch.optim.Adam}, "optimizer: expected one of adam, adamw, sgd"),
        ({"anneal": None}, "anneal: expected one of"),
        ({"epochs": 1.5}, "epochs: expected an integer"),
        ({"seed": -1}, "seed: expected an integer in"),
        ({"data": (X, Y)}, "data: expected a data set of bnn.data"),
        ({"model": None}, "model: expected a network"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_of_another_kind_are_one_line(words: dict, said: str) -> None:
    data = bnn.data.load({"name": "digits", "limit": 100}, seed=0, validation_fraction=0.1)
    arguments = {"model": chain(), "data": data, "progress": "none", **words}
    with pytest.raises(ConfigError, match=said.replace(".", r"\.")):
        bnn.fit(arguments.pop("model"), arguments.pop("data"), **arguments)


def test_a_readout_whose_noise_depends_on_the_bits_is_not_linear() -> None:
    """In evaluation its weights are their signs, which are linear."""
    net = nn.Sequential(nn.Linear(4, 3), Stochastic(), nn.Linear(3, 3))
    x = torch.randn(6, 4)
    assert has_linear_readout(net, x)
    bnn.binarize(net, "lrt", ["0"])
    assert has_linear_readout(net, x), "below the bits it may be drawn"
    bnn.binarize(net, "lrt", ["2"])
    assert not has_linear_readout(net, x)
    with pytest.raises(ConfigError, match="linear read-out"):
        LocalExpectation().init(net, x)


def test_statistics_of_running_norms_are_estimated_again_from_the_bottom() -> None:
    """Those of the weights before, in the norm below, do not reach the norm above."""
    torch.manual_seed(0)
    net = nn.Sequential(RunningNorm(3), nn.Linear(3, 3), nn.Tanh(), RunningNorm(3))
    batches = [torch.randn(64, 3) for _ in range(3)]
    found = []
    for mean, var in ((0.0, 1.0), (2.0, 9.0)):
        net[0].running_mean.fill_(mean)
        net[0].running_var.fill_(var)
        reestimate(net, batches, threshold)
        found.append(running_statistics(net))
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    below = torch.cat(batches)
    torch.testing.assert_close(net[0].running_mean, below.mean(0))
    assert not net[0].estimates_again
