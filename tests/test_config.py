"""Composition: every group's choices, canonical forms, digests, and refusals."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image
from support.matrix import one_in

from bnn.config.canonical import GROUPS, canonical, digest, flat, moves_result
from bnn.config.compose import compose
from bnn.config.overrides import override_word
from bnn.config.titles import differing_keys, estimator_title, run_title, varying_keys
from bnn.errors import ConfigError
from bnn.paths import folder
from bnn.specify import pick_device, setup


def config(*overrides: str) -> dict:
    return canonical(compose(overrides))


CHOICES = [
    (group, path.stem)
    for group in GROUPS
    for path in sorted((folder("conf") / group).glob("*.yaml"))
]
EXPERIMENTS = sorted(path.stem for path in (folder("conf") / "experiment").glob("*.yaml"))


@pytest.mark.integration
def test_the_comparison_of_estimators_pins_every_key_that_moves_its_result() -> None:
    """A change of a default must not change a published row; the sweep sets seed and task."""
    written = OmegaConf.load(folder("conf") / "experiment" / "estimators.yaml")
    assert {"override /data": "mnist"} in written.defaults
    pinned = flat(OmegaConf.to_container(written))  # type: ignore[arg-type]
    estimators = compose(["experiment=estimators"]).vars.estimators
    for by in estimators:
        for key in flat(config("experiment=estimators", f"vars.by={by}")):
            group, _, rest = key.partition(".")
            variable = f"vars.estimators.{by}.{rest}" if group == "estimator" else key
            assert (
                variable in pinned
                or not moves_result(key)
                or key in {"seed", "task.name", "data.name", "data.root", "device"}
            ), key


def test_a_switch_of_an_estimator_goes_by_its_key() -> None:
    assert estimator_title(config("estimator=muprop")) == "muprop 0.9 conditional"
    assert (
        estimator_title(config("estimator=muprop", "estimator.conditional=false")) == "muprop 0.9"
    )


@pytest.mark.parametrize(
    "words, said",
    [
        (["experiment=estimators", "estimator=disarm"], ["estimator=disarm", "vars.by=disarm"]),
        (["experiment=estimators", "estimator.tau=0.3"], ["estimator.tau", "vars.by"]),
        (["experiment=annealing", "anneal=none"], ["anneal=none", "vars.arm"]),
        (["experiment=gating", "model=mlp"], ["model=mlp", "sets model=gated_mlp"]),
        (["experiment=weights", "weights=sign"], ["weights=sign", "vars.rule=sign"]),
        (["estimator=relax", "estimator.scale=0.1"], ["estimator.scale", "leave it out"]),
        (["experiment=estimators", "recipe.by=disarm"], ["recipe.by: ", "write vars.by=disarm"]),
        (["recipe.arm=steep", "recipe.by=disarm"], ["write vars.arm=steep"]),
        (["recipe.by=disarm"], ["recipe.by: ", "write vars.by=disarm"]),
        (["estimator.proxy=identity"], ["estimator.proxy", "write estimator.pseudo_derivative"]),
    ],
    ids=" ".join,
)
def test_an_override_without_effect_is_refused(words: list[str], said: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        compose(words)
    assert all(word in str(refused.value) for word in said), refused.value


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_another_data_set(experiment: str) -> None:
    overrides = [f"experiment={experiment}"]
    mnist, digits = compose(overrides), compose([*overrides, "data=digits"])
    assert (mnist.data.name, digits.data.name) == ("mnist", "digits")
    assert {**mnist, "data": None, "tracking": None} == {**digits, "data": None, "tracking": None}


@pytest.mark.integration
@pytest.mark.parametrize("group, choice", CHOICES, ids="=".join)
def test_every_choice_of_every_group_builds(group: str, choice: str, tmp_path: Path) -> None:
    for number, name in itertools.product(range(5), "ab"):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("L", (28, 28), 50 * number).save(tmp_path / name / f"{number}.png")
    extra = {
        ("data", "folder"): [f"data.root={tmp_path}"],
        ("estimator", "none"): ["placement=none"],
        ("model", "cnn_generator"): ["task=gan"],
        ("estimator", "local_expectation"): ["placement=last"],
        ("estimator", "disarm_bound"): ["placement=last"],
        ("estimator", "enumeration"): [
            "model=mlp",
            "model.hidden=5",
            "model.norm=none",
            "data=digits",
        ],
        ("neuron", "stochastic_smooth"): ["estimator=none"],
        ("neuron", "noisy_rectifier"): ["estimator=none"],
    }
    setup(compose([f"{group}={choice}", *extra.get((group, choice), [])]))


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds(experiment: str) -> None:
    setup(compose([f"experiment={experiment}"]))


@pytest.mark.parametrize("experiment", ["structured", "vae", "vae_equal_cost"])
def test_a_recipe_of_a_task_takes_a_schedule_of_the_slope(experiment: str) -> None:
    assert compose([f"experiment={experiment}"]).anneal == {"name": "none", "slope": 1.0}
    annealed = compose([f"experiment={experiment}", "anneal=linear", "anneal.step=0.1"]).anneal
    assert (annealed.name, annealed.step) == ("linear", 0.1)


@pytest.mark.parametrize("law", ["uniform", "logistic", "gaussian", "triangular"])
def test_every_law_builds(law: str) -> None:
    setup(compose([f"neuron.law={law}"]))


def test_one_smooth_law_for_every_estimator_by_default() -> None:
    laws = {config(f"estimator={e}")["neuron"]["law"] for e in ("st", "reinforce", "frozen")}
    assert laws == {"logistic"}


def test_seed_table_takes_the_sources_law_where_it_can() -> None:
    laws = {
        e: config("experiment=seed_table", f"vars.by={e}")["neuron"]["law"]
        for e in ("st", "frozen", "reinforce")
    }
    assert laws == {"st": "uniform", "frozen": "uniform", "reinforce": "logistic"}


@pytest.mark.integration
def test_the_reference_table_has_19_rows() -> None:
    cells = itertools.product(
        ("stochastic", "deterministic"),
        ("none", "first", "last", "both"),
        ("st", "reinforce", "frozen"),
    )
    digests = {
        digest(config("experiment=seed_table", f"neuron={n}", f"placement={p}", f"vars.by={e}"))
        for n, p, e in cells
    }
    assert len(digests) == 19


def test_without_binary_layers_nothing_else_of_the_unit_matters() -> None:
    cells = [
        ("estimator=st", "anneal=none"),
        ("estimator=reinforce", "anneal=cosine"),
        ("neuron=deterministic", "anneal=none"),
    ]
    assert len({digest(config("placement=none", *cell)) for cell in cells}) == 1
    assert len({digest(config("placement=both", *cell)) for cell in cells}) == 3


@pytest.mark.integration
def test_the_digest_follows_what_moves_the_result_and_nothing_else() -> None:
    reference = digest(config())
    for moved in (
        "seed=1",
        "optimizer.lr=0.2",
        "data=digits",
        "trainer.precision=bf16",
        "data.limit=10",
    ):
        assert digest(config(moved)) != reference, moved
    for watched in (
        "tracking.experiment=x",
        "data.root=elsewhere",
        "trainer.progress=none",
        "tracking.heatmaps=false",
    ):
        assert digest(config(watched)) == reference, watched


def test_seed_zero_is_a_seed() -> None:
    assert setup(compose(["seed=0"])).training.seed == 0


def test_titles() -> None:
    assert (
        run_title(config("estimator=reinforce", "seed=3")) == "stochastic · reinforce · both · s3"
    )
    assert run_title(config("placement=none")) == "real · s0"
    assert estimator_title(config("estimator=reinforce")) == "reinforce nested_leave_one_out 2 8"
    assert (
        estimator_title(config("estimator/baseline=none", "estimator=reinforce"))
        == "reinforce none"
    )
    assert estimator_title(config("placement=none")) == "none"


def test_a_table_shows_the_keys_that_vary_and_no_others() -> None:
    assert differing_keys(
        [config("optimizer.lr=0.1"), config("optimizer.lr=0.2", "seed=1", "placement=first")]
    ) == ["optimizer.lr"]


def test_parameters_of_a_rule_of_the_weights_vary_among_its_own_runs_alone() -> None:
    rules = [config("weights=real"), config("weights=sign"), config("weights=bop")]
    assert differing_keys(rules) == []
    rates = [config("weights=sign", f"weights.lr={rate}") for rate in (0.1, 0.2)]
    assert differing_keys([*rules, *rates]) == ["weights.lr"]
    varying = varying_keys([*rules, *rates])
    assert run_title(rates[0], varying) == "sign weights · lr 0.1 · stochastic · st · both · s0"
    assert run_title(rules[0], varying) == "real weights · stochastic · st · both · s0"


def test_flat_names_leaves_by_their_path() -> None:
    assert flat({"a": {"b": 1, "c": {"d": None}}, "e": []}) == {"a.b": 1, "a.c.d": None, "e": []}


REFUSED = [
    (
        ["estimator=reinforce", "neuron.law=uniform"],
        ["estimator=reinforce", "neuron.law=uniform", "logistic"],
    ),
    (["estimator=reinforce", "neuron.law=triangular"], ["neuron.law=triangular"]),
    (["estimator=none"], ["estimator=none", "placement=both"]),
    (["placement.layers=[5]"], ["placement.layers", "2 activations", "5"]),
    (["placement.layers=[0,-2]"], ["placement.layers", "once"]),
    (["placement.layers=first"], ["placement"]),
    (
        ["estimator=reinforce", "estimator.baseline.samples=1"],
        ["estimator.baseline.samples", "at least 2", "1"],
    ),
    (
        ["estimator=reinforce", "estimator/baseline=moving_average", "estimator.baseline.decay=1"],
        ["decay", "[0, 1)"],
    ),
    (
        ["estimator=enumeration"],
        ["estimator=enumeration", "at most 12", "3136 + 1568", "estimator=reinforce"],
    ),
    (
        ["estimator=local_expectation"],
        ["estimator=local_expectation", "at most 256", "3136", "placement=last"],
    ),
    (
        ["estimator=enumeration", "data=digits", "model=mlp", "model.hidden=4"],
        ["batch norm", "model.norm=none"],
    ),
    (["estimator=local_expectation", "placement=first"], ["linear read-out", "placement=last"]),
    (["lab.every=30"], ["lab.every", "trainer.epochs=4", "30"]),
    (["lab.every=1", "neuron.law=uniform"], ["lab.every=1", "neuron.law=uniform", "logistic"]),
    (["lab.every=1", "placement=none"], ["lab.every", "without binary layers"]),
    (["lab.draws=1"], ["lab.draws", "at least 2", "1"]),
    (["estimator=concrete", "estimator.tau=inf"], ["estimator.tau", "finite", "inf"]),
    (["estimator=arms", "estimator.samples=1"], ["estimator.samples", "at least 2", "1"]),
    (["estimator=rebar", "estimator.tau=0"], ["estimator.tau", "positive", "0"]),
    (["estimator=concrete", "estimator.tau=-1"], ["estimator.tau", "positive", "-1"]),
    (["estimator=nvil", "estimator.decay=1"], ["estimator.decay", "[0, 1)", "1"]),
    (["estimator=rebar", "estimator.tau=lerned"], ["estimator.tau", "learned", "lerned"]),
    (["estimator=relax", "estimator.hidden=0"], ["estimator.hidden", "at least 1", "0"]),
    (
        ["estimator=disarm", "neuron.law=uniform"],
        ["estimator=disarm", "neuron.law=uniform", "logistic"],
    ),
    (["neuron=noisy_rectifier"], ["neuron=noisy_rectifier", "estimator=st", "estimator=none"]),
    (
        ["neuron=noisy_rectifier", "estimator=none", "neuron.noise=loud"],
        ["neuron.noise", "additive, multiplicative", "loud"],
    ),
    (["estimator=reinmax", "estimator.tau=0.5"], ["estimator.tau", "at least 1", "0.5"]),
    (
        ["estimator=reinmax", "neuron.law=uniform"],
        ["estimator=reinmax", "neuron.law=uniform", "logistic"],
    ),
    (
        ["estimator.pseudo_derivative=cubic"],
        ["estimator.pseudo_derivative", "density, identity, sigmoid", "cubic"],
    ),
    (["neuron.law=cauchy"], ["neuron.law", "gaussian, logistic, triangular, uniform", "cauchy"]),
    (["neuron.rescale_gradient=perhaps"], ["rescale_gradient"]),
    (["model.norm=layer"], ["model.norm", "batch, group, none, running", "layer"]),
    (["model=mlp", "model.hidden=0"], ["model.hidden", "0"]),
    (["model=mlp", "model.hidden=10", "model.norm=group"], ["model.norm=group", "10"]),
    (["model.hidden=3"], ["model.hidden"]),
    (["+model.hidden=3"], ["model.hidden", "norm"]),
    (["estimator=straight"], ["estimator=straight"]),
    (["seed=[1"], ["seed=[1"]),
    (["optimizer.lr=0"], ["optimizer.lr", "positive"]),
    (["optimizer=sgd", "optimizer.momentum=1.5"], ["optimizer.momentum", "1.5"]),
    (["optimizer.warmup=1"], ["optimizer.warmup"]),
    (["optimizer.lr_schedule=steps"], ["optimizer.lr_schedule", "constant, cosine, one_cycle"]),
    (["trainer.epochs=0"], ["trainer.epochs"]),
    (["trainer.epochs=1.5"], ["trainer"]),
    (["trainer.batch_size=1"], ["trainer.batch_size"]),
    (["trainer.validation_samples=0"], ["trainer.validation_samples", "at least 1"]),
    (["task=gan", "trainer.validation_samples=2"], ["trainer.validation_samples", "expected 1"]),
    (["trainer.validation_fraction=1"], ["trainer.validation_fraction"]),
    (["trainer.precision=fp8"], ["trainer.precision", "float32, bf16"]),
    (["trainer.progress=loud"], ["trainer.progress"]),
    (["data.name=imagenet"], ["data.name", "mnist", "imagenet"]),
    (["seed=-1"], ["seed"]),
    (
        ["placement=none", "estimator.pseudo_derivative=cubic"],
        ["estimator.pseudo_derivative", "cubic"],
    ),
    (["placement=none", "anneal.slope=-1"], ["anneal.slope"]),
    (["seed=one"], ["seed"]),
    (["device=tpu"], ["device", "auto, cpu, cuda"]),
    (["~optimizer"], ["optimizer"]),
    (["~seed"], ["seed"]),
    (["~neuron.law"], ["neuron.law"]),
    (["~placement.layers"], ["placement.layers"]),
    (["~estimator.name"], ["estimator.name"]),
    (["neuron.law=null"], ["neuron.law", "logistic"]),
    (
        ["estimator=reinforce", "estimator.baseline=null"],
        ["estimator.baseline.name", "leave_one_out"],
    ),
    (["+epochs=3"], ["epochs", "trainer"]),
    (["data.limit=0"], ["data.limit"]),
    (["data.limit=-5"], ["data.limit"]),
    (["+data.mirror=x"], ["data", "root"]),
    (["data=folder"], ["data.root", "folder of images", "None"]),
    (["data=folder", "data.root=x", "data.channels=2"], ["data.channels", "1", "3", "2"]),
    (["data=folder", "data.root=x", "data.size=0"], ["data.size", "0"]),
    (["data=folder", "data.root=x", "data.test_fraction=1"], ["data.test_fraction", "(0, 1)"]),
    (
        ["estimator=reinforce", "neuron.rescale_gradient=true"],
        ["estimator=reinforce", "neuron.rescale_gradient=true"],
    ),
    (["seed=${nowhere}"], ["nowhere"]),
]


@pytest.mark.integration
@pytest.mark.parametrize(
    "overrides, words",
    one_in(3, REFUSED),
    ids=lambda v: " ".join(v) if isinstance(v, list) else None,
)
def test_nonsense_is_refused_in_one_line_that_names_the_key(
    overrides: list[str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        setup(compose(overrides))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_jobs_are_spread_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [pick_device("auto", job) for job in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert pick_device("cpu", 1) == "cpu"


@pytest.mark.integration
@pytest.mark.parametrize(
    "layers, name",
    [
        ("[]", "none"),
        ("[0]", "first"),
        ("[1]", "last"),
        ("[-1]", "last"),
        ("[1,0]", "both"),
        ("[0,-1]", "both"),
    ],
)
def test_a_placement_is_named_by_the_layers_it_makes_binary(layers: str, name: str) -> None:
    by_layers, by_name = (
        setup(compose([f"placement.layers={layers}"])),
        setup(compose([f"placement={name}"])),
    )
    assert by_layers.spec.config["placement"]["name"] == name
    assert by_layers.spec.digest == by_name.spec.digest


@pytest.mark.integration
def test_integers_and_floats_of_one_value_are_one_choice() -> None:
    assert digest(config("optimizer.weight_decay=0")) == digest(
        config("optimizer.weight_decay=0.0")
    )
    assert digest(config("neuron.rescale_gradient=true")) != digest(
        config("neuron.rescale_gradient=false")
    )


def test_the_digest_holds_the_kind_of_device_that_is_used() -> None:
    assert setup(compose(["device=cpu"])).spec.config["device"] == "cpu"
    assert digest(config("device=cpu")) != digest(config("device=cuda"))


def test_an_experiment_has_the_last_word_before_the_command_line() -> None:
    """An experiment is merged after train.yaml's own values, and can set them."""
    defaults = OmegaConf.load(folder("conf") / "train.yaml").defaults
    words = [item if isinstance(item, str) else str(next(iter(item))) for item in defaults]
    assert words.index("experiment") > words.index("_self_")


@pytest.mark.parametrize(
    "value",
    [0.1, 1e-05, 3, True, None, "logistic", "a,b", "null", "true", "5", "1e3", "it's", 'say "so"',
     "a b", "${x}", "",
     [0, -1], ["a", "b,c"], {"name": "x", "k": 1.5}, "back\\slash", "a:b", "path/to.x"],
    ids=repr,
)  # fmt: skip
def test_a_value_written_as_an_override_reads_back_as_itself(value: object) -> None:
    (word,) = shlex.split(override_word("key", value))
    (override,) = OverridesParser.create().parse_overrides([word])
    assert not override.is_sweep_override() and override.key_or_group == "key"
    read = OmegaConf.to_container(OmegaConf.create({"key": override.value()}), resolve=True)["key"]
    assert read == value and type(read) is type(value)


EARLIER = ["anneal=none", "trainer.epochs=10"]
"""Defaults of version 0.1.0 that are others now, beside the optimizer."""


@pytest.mark.parametrize(
    "words, expected",
    [
        ([*EARLIER, "optimizer=sgd"], "11d8f63b4c8b"),
        (
            [*EARLIER, "estimator=reinforce", "optimizer.lr=0.002", "placement=none"],
            "c70462207387",
        ),
    ],
)
def test_a_configuration_of_version_0_1_0_keeps_its_digest(words: list[str], expected: str) -> None:
    """Digests of version 0.1.0, by which runs of the same configuration are found."""
    assert setup(compose(["data=digits", "device=cpu", *words])).spec.digest == expected
    other = setup(
        compose(["data=digits", "device=cpu", *words, "optimizer.groups.estimator.lr=0.01"])
    )
    assert other.spec.digest != expected, (
        "a key that 0.1.0 lacked counts as soon as it says something else"
    )
