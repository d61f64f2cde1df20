"""Gated networks: sparsity objectives, gates by estimator, multiply-adds, open blocks alone."""

from __future__ import annotations

import time
import types

import numpy as np
import pytest
import torch
from scipy.special import betainc
from support.matrix import one_in
from torch import Tensor, nn

from bnn.benchmark.gated_networks import check_gated, gated_networks, networks
from bnn.config.compose import compose
from bnn.data import Split
from bnn.errors import ConfigError
from bnn.models import GatedNetwork
from bnn.models.open_blocks import OpenBlocks
from bnn.models.sparsity import BatchShaping, CondNet, Sparsity, TargetRate, condnet_sums
from bnn.nn.forward import ForwardClosure
from bnn.nn.handlers import apply, sampled
from bnn.nn.neurons import set_slope
from bnn.nn.norms import couples_above_binary
from bnn.nn.readings import Reading
from bnn.plots.runs import gates_by_class
from bnn.specify import estimator_choices, setup
from bnn.tasks.classification import cross_entropy
from bnn.training.activations import rates_by_class
from bnn.training.initialisation import init_estimator
from bnn.training.optimizers import parameter_groups
from bnn.training.step import penalty_of, train_step

SMALL = ["device=cpu", "data=digits", "anneal=none"]
MLP = [*SMALL, "model=gated_mlp", "model.blocks=5", "model.block_size=3"]
RANDOM = ["model.gates=random", "estimator=frozen", "model/sparsity=none"]
OPEN = ["model.gates=open", "placement=none", "model/sparsity=none"]
CNN = [*SMALL, "model=gated_cnn", "model.channels=6"]


def trained(*overrides: str) -> GatedNetwork:
    """Network with running statistics and shifts of norms that are not their initial ones."""
    model = setup(compose(list(overrides))).model
    assert isinstance(model, GatedNetwork)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_var" in name:
                tensor.uniform_(0.2, 2, generator=generator)
            elif "norm" in name and tensor.is_floating_point():
                tensor.normal_(generator=generator)
            if name.endswith("norm1.weight"):
                tensor[:2] = 0  # every sign of the scale, and none
    return model.eval()


def images(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_sums_of_the_condnet_are_those_of_the_source() -> None:
    probs = torch.tensor([[0.1, 0.4], [0.3, 0.2]])
    sums = torch.stack(condnet_sums(probs, 0.25))
    torch.testing.assert_close(sums, torch.tensor([0.005, 0.0, 0.02, 0.025]))
    objective = CondNet(balance=2, variance=3)(probs, 0.25)
    assert float(objective) == pytest.approx(2 * 0.005 - 3 * (0.02 + 0.0025))


def test_batch_shaping_is_the_cramer_von_mises_distance() -> None:
    """At a share of 0.6 the distribution is the source's Beta(0.6, 0.4)."""
    probs = torch.tensor([[0.7], [0.1], [0.9], [0.4]], dtype=torch.float64, requires_grad=True)
    objective = BatchShaping(weight=1)(probs, 0.6)
    assert float(objective.detach()) == pytest.approx(0.0072635, abs=5e-8)
    (gradient,) = torch.autograd.grad(objective, probs)

    def exact(values: np.ndarray) -> float:
        ranks = np.arange(1, 5) / 5
        return float(((ranks - betainc(0.6, 0.4, np.sort(values))) ** 2).mean())

    given = probs.detach().numpy()[:, 0]
    for i, step in enumerate(1e-6 * np.eye(4)):
        slope = (exact(given + step) - exact(given - step)) / 2e-6
        assert float(gradient[i]) == pytest.approx(slope, rel=1e-5)


def test_the_target_rate_is_missed_by_gates_and_not_by_samples() -> None:
    even, by_sample = torch.full((4, 2), 0.25), torch.eye(4)[:, :1].repeat(1, 2)
    by_gate = torch.tensor([[0.0, 0.5]]).repeat(4, 1)
    objective = TargetRate(weight=2)
    assert float(objective(even, 0.25)) == float(objective(by_sample, 0.25)) == 0
    assert float(objective(by_gate, 0.25)) == pytest.approx(2 * 0.0625)


def test_negative_weights_are_refused() -> None:
    for made in (CondNet, TargetRate, BatchShaping):
        key = "balance" if made is CondNet else "weight"
        with pytest.raises(ConfigError, match=rf"model.sparsity.{key}: .* got -1"):
            made(**{key: -1.0})


def test_gates_begin_at_the_share_that_is_to_be_open() -> None:
    for law in ("logistic", "gaussian"):
        model = setup(compose([*MLP, f"neuron.law={law}", "model.open=0.1"])).model
        assert isinstance(model, GatedNetwork) and model.gater is not None
        at_zero = model.gater.act.law.cdf(model.gater.linear2.bias)
        torch.testing.assert_close(at_zero, torch.full((5,), 0.1))


OTHERS = ("estimator=frozen", "estimator=enumeration")
"""Estimators that send nothing below the gates, or take no network with a path around them."""
TRAINED_BY = [words for words in estimator_choices() if words[0] not in OTHERS]


@pytest.mark.parametrize("words", one_in(3, TRAINED_BY), ids=lambda words: " ".join(words))
def test_every_estimator_trains_gates_by_the_loss_and_by_the_objective(words: list[str]) -> None:
    """The objective's own gradient is exact: with the loss's it adds up, whatever the estimator."""

    def gradient(balance: float) -> Tensor:
        torch.manual_seed(0)
        chosen = [f"model.sparsity.balance={balance}", "model.sparsity.variance=0"]
        made = setup(compose([*MLP, *words, *chosen]))
        model, estimator = made.model.train(), made.training.estimator
        init_estimator(estimator, model, images(8), seed=0)
        layers = estimator.layers
        generator = torch.Generator().manual_seed(3)
        forward = ForwardClosure(
            model,
            images(8),
            torch.arange(8),
            cross_entropy,
            lambda like: torch.empty_like(like).uniform_(generator=generator),
            layers=layers,
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        train_step(forward, estimator, optimizer, "float32", model.training_penalty)
        return model.gater.linear2.bias.grad.clone()

    of_loss, of_both = gradient(0.0), gradient(100.0)
    assert (of_loss != 0).any()
    model = setup(compose(MLP)).model
    probs = model.gater.act.law.cdf(
        model.gater.linear2(torch.tanh(model.gater.linear1(images(8).flatten(1))))
    )
    objective = CondNet(balance=100, variance=0)(probs, 0.25)
    (expected,) = torch.autograd.grad(objective, model.gater.linear2.bias)
    torch.testing.assert_close(of_both - of_loss, expected, rtol=1e-3, atol=1e-4)


def test_the_frozen_gater_learns_by_the_objective_alone() -> None:
    made = setup(compose([*MLP, "estimator=frozen"]))
    model = made.model.train()
    forward = ForwardClosure(model, images(8), torch.arange(8), cross_entropy)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    init_estimator(made.training.estimator, model, images(8), seed=0)
    _, penalty = train_step(forward, made.training.estimator, optimizer, "float32")
    assert penalty is None and model.gater.linear1.weight.grad is None
    forward = ForwardClosure(model, images(8), torch.arange(8), cross_entropy)
    _, penalty = train_step(
        forward, made.training.estimator, optimizer, "float32", model.training_penalty
    )
    assert penalty is not None and (model.gater.linear1.weight.grad != 0).any()


@pytest.mark.parametrize("network", [MLP, CNN], ids=["mlp", "cnn"])
@pytest.mark.parametrize("norm", ["batch", "running", "none"])
def test_open_blocks_give_the_outputs_of_the_masked_network(network: list[str], norm: str) -> None:
    model = trained(*network, f"model.norm={norm}")
    x, count = images(30), 0
    gates = (torch.rand(30, model.blocks, generator=torch.Generator().manual_seed(2)) < 0.3).float()
    gates[0] = 0
    with torch.no_grad():
        masked = model.masked(x, gates)
    inference = OpenBlocks.of(model)
    together = inference(x, gates)
    torch.testing.assert_close(together.outputs, masked, rtol=1e-5, atol=1e-5)
    assert together.blocks == int(gates.sum())
    for i in range(30):
        one = inference(x[i : i + 1], gates[i : i + 1])
        torch.testing.assert_close(one.outputs, masked[i : i + 1], rtol=1e-5, atol=1e-5)
        count += one.blocks
    assert count == int(gates.sum())
    gates[3] = 1 - gates[3]
    with torch.no_grad():
        other = model.masked(x, gates)
    assert (other[3] - masked[3]).abs().max() > 1e-3, "the control: gates matter"


def test_open_blocks_take_binary_weights_by_their_signs() -> None:
    model = trained(*CNN, "weights=sign")
    gates = (torch.rand(4, 6, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    with torch.no_grad():
        masked = model.masked(images(4), gates)
    outputs = OpenBlocks.of(model)(images(4), gates).outputs
    torch.testing.assert_close(outputs, masked, rtol=1e-5, atol=1e-5)


def test_what_has_no_open_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model.norm: GroupNorm depends on each sample"):
        OpenBlocks.of(trained(*CNN, "model.channels=8", "model.norm=group"))
    with pytest.raises(ConfigError, match="expected gated_mlp or gated_cnn"):
        OpenBlocks.of(nn.Linear(2, 2))


def counted_multiply_adds(model: GatedNetwork, x: Tensor) -> int:
    """Multiply-adds of one image's linear and convolutional layers, by the shapes of a pass."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        positions = output[0].numel() // module.weight.shape[0]
        total += positions * module.weight.numel()

    hooks = [
        module.register_forward_hook(add)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    Reading.threshold().outputs(model, x)
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("name", ["gated_mlp", "gated_cnn"])
def test_multiply_adds_are_those_of_the_layers(name: str) -> None:
    model = setup(compose([f"model={name}", "device=cpu"])).model
    every, of_block = model.multiply_adds
    assert every + model.blocks * of_block == counted_multiply_adds(
        model, torch.zeros(1, 1, 28, 28)
    )


def test_costs_of_a_split_are_those_of_the_gates_that_fired() -> None:
    made = setup(compose([*MLP, "trainer.evaluation_samples=3"]))
    model = made.model
    of_split = Split(images(20), torch.arange(20) % 10)
    with torch.no_grad():
        model.gater.linear2.bias.fill_(50.0)
    made.training.task.init(made.spec.data)
    found = made.training.task.evaluate(model, of_split, Reading.mc_mean(3, 0))
    every, of_block = model.multiply_adds
    assert found["open"] == 1 and found["multiply_adds"] == every + 5 * of_block
    with torch.no_grad():
        model.gater.linear2.bias.fill_(-50.0)
    found = made.training.task.evaluate(model, of_split, Reading.mc_mean(3, 0))
    assert found["open"] == 0 and found["multiply_adds"] == every


def test_random_gates_keep_their_share_at_every_slope() -> None:
    made = setup(compose([*MLP, *RANDOM, "model.open=0.25"]))
    for slope in (1.0, 5.0):
        set_slope(made.model, slope)
        gates: list[Tensor] = []
        hook = made.model.gater.register_forward_hook(lambda m, i, o, gates=gates: gates.append(o))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            apply(
                made.model,
                images(4000),
                sampled(lambda like, g=generator: torch.empty_like(like).uniform_(generator=g)),
            )
        hook.remove()
        assert float(gates[0].mean()) == pytest.approx(0.25, abs=0.01)


def test_open_gates_are_no_binary_layer() -> None:
    with pytest.raises(ConfigError, match=r"model.gates=open with placement=last: "):
        setup(compose([*MLP, "model.gates=open"]))
    made = setup(compose([*MLP, *OPEN]))
    assert made.spec.units == () and made.model.gater is None
    with pytest.raises(ConfigError, match=r"model.gates=random with neuron=deterministic"):
        setup(compose([*MLP, *RANDOM, "neuron=deterministic"]))
    with pytest.raises(ConfigError, match=r"model.gates=random with estimator=st: .*frozen"):
        setup(compose([*MLP, "model.gates=random", "model/sparsity=none"]))
    for words in (["placement=none"], ["neuron=stochastic_smooth"]):
        with pytest.raises(ConfigError, match=r"binary units; write placement=last neuron=stoch"):
            setup(compose([*MLP, *RANDOM, *words]))
    for words in ([*RANDOM, "model/sparsity=condnet"], [*OPEN, "model/sparsity=target_rate"]):
        with pytest.raises(ConfigError, match="such gates do not learn; write model/sparsity=none"):
            setup(compose([*MLP, *words]))


@pytest.mark.parametrize(
    "words",
    [["placement=none"], ["neuron=noisy_rectifier", "estimator=none"]],
    ids=["real", "noisy_rectifier"],
)
def test_gates_are_bits(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"model.gates=input: gates are binary units, got"):
        setup(compose([*MLP, *words]))


def test_latent_variables_have_no_gates_beside_them() -> None:
    """A decoder that sees the image through the hidden units would report no bound."""
    with pytest.raises(ConfigError, match="through its latent variables alone"):
        setup(compose(["task=vae", *MLP]))
    setup(compose(["task=structured", *MLP]))


def test_a_cost_does_not_take_the_place_of_a_metric() -> None:
    made = setup(compose(MLP))
    split = Split(images(4), torch.arange(4))
    made.model.sample_costs = types.MethodType(
        lambda self, latents, rows: {"loss": torch.zeros(rows)}, made.model
    )
    with pytest.raises(ConfigError, match="sample_costs: loss is a metric of the task"):
        made.training.task.evaluate(made.model, split, Reading.sampled(0))


def test_a_network_may_have_a_penalty_of_its_own() -> None:
    class Net(nn.Sequential):
        training_penalty = 0.1

    assert penalty_of(Net()) is None
    assert penalty_of(setup(compose(MLP)).model) is not None


@pytest.mark.parametrize(
    "word, said",
    [
        ("model.gates=shut", "model.gates: expected one of input, random, open; got 'shut'"),
        ("model.open=1", r"model.open: expected a share of the gates in \(0, 1\), got 1"),
        ("model.blocks=0", "model.blocks: expected at least 1, got 0"),
        ("model.gater=0", "model.gater: expected at least 1, got 0"),
        ("model.block_size=0", "model.block_size: expected at least 1 unit, got 0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        setup(compose([*MLP, word]))


def test_the_gater_is_a_parameter_group_of_its_own() -> None:
    made = setup(compose(MLP))
    groups = parameter_groups(made.model, made.training.estimator, made.training.task)
    assert {id(p) for p in groups["gater"]} == {id(p) for p in made.model.gater.parameters()}
    optimizer, _ = setup(
        compose([*MLP, "optimizer.groups.gater.lr=0.5"])
    ).training.optimization.start(groups, 10)
    rates = {group["name"]: group["initial_lr"] for group in optimizer.param_groups}
    assert rates["gater"] == 0.5 != rates["network"]


def test_norms_of_a_gated_network_are_not_above_its_gates() -> None:
    assert not couples_above_binary(setup(compose(MLP)).model, images(2))


def test_rates_by_class_are_means_of_bits() -> None:
    model = setup(compose(MLP)).model
    with torch.no_grad():
        model.gater.linear2.weight.zero_()
        model.gater.linear2.bias.copy_(torch.tensor([50.0, -50.0, 0.0, 0.0, 0.0]))
    labels = torch.tensor([3, 7]).repeat(200)
    rates = rates_by_class(model, "gater.act", images(400), labels, seed=0)
    assert rates.shape == (2, 5)
    assert rates[:, 0].tolist() == [1, 1] and rates[:, 1].tolist() == [0, 0]
    assert (rates[:, 2:] - 0.5).abs().max() < 0.15
    axis = gates_by_class(rates, ["three", "seven"]).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["three", "seven"]


def test_a_dense_network_has_the_multiply_adds_of_the_gated_one() -> None:
    for model in ("gated_mlp", "gated_cnn"):
        words = [f"model={model}", "device=cpu"]
        for share in (0.1, 0.5):
            config = compose([*words, f"model.open={share}"])
            gated, dense = networks(config, words)
            every, of_block = gated.multiply_adds
            asked = every + share * gated.blocks * of_block
            fixed, of_unit = dense.multiply_adds
            assert abs(fixed + dense.blocks * of_unit - asked) <= of_unit / 2 + 800
            assert dense.gater is None


def test_the_benchmark_of_gates_refuses_what_it_cannot_time() -> None:
    for words, said in {
        "model=mlp": "--gates: expected model=gated_mlp or gated_cnn, got model=mlp",
        "model=gated_mlp model.norm=group": "--gates with model.norm=group",
        "model=gated_mlp model.open=0.3": "leave model.open out",
        "model=gated_mlp model.gates=open": "leave model.gates out",
    }.items():
        with pytest.raises(ConfigError, match=said):
            check_gated(words.split())
    check_gated(["model=gated_cnn"])


@pytest.mark.slow
@pytest.mark.integration
def test_the_benchmark_of_gates_has_a_row_for_each_share_and_batch() -> None:
    table = gated_networks(["data=digits", "model=gated_mlp", "device=cpu"], 1, time.perf_counter)
    rows = [line.split("|") for line in table.splitlines()[2:]]
    assert [row[2].strip() for row in rows] == ["1", "64", "500"] * 3


def test_every_objective_is_tried_here() -> None:
    assert set(Sparsity.registry) == {"none", "condnet", "target_rate", "batch_shaping"}
