"""Numbers in sentences about results are those of the tables that the sentences stand on.

Each page of PAGES has a function of claims: phrases of the page with their numbers computed. A
number in the page's prose that no claim covers fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import claims_of_gates as gates
import claims_of_gradients as gradients
import claims_of_runs as runs
import claims_of_tasks as tasks
import pytest
from findings import prose

from bnn.report.generated import source_tree

ROOT = source_tree()
PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "sweeps/results/seed_table_mnist.md": runs.seed_table,
    "sweeps/results/bnn_mnist.md": runs.bnn_mnist,
    "sweeps/results/short_training_mnist.md": runs.short_training,
    "sweeps/results/estimators_mnist.md": runs.estimators,
    "sweeps/results/equal_time_mnist.md": runs.equal_time,
    "sweeps/results/structured_equal_cost_mnist.md": tasks.structured_equal_cost,
    "sweeps/results/vae_equal_cost_mnist.md": tasks.vae_equal_cost,
    "sweeps/results/across_tasks.md": tasks.across_tasks,
    "sweeps/results/gan_mnist.md": tasks.gan,
    "sweeps/results/baselines_mnist.md": runs.baselines,
    "sweeps/results/reinforce_tuned_mnist.md": runs.reinforce_tuned,
    "sweeps/results/weights_mnist.md": runs.weights,
    "sweeps/results/annealing_mnist.md": runs.annealing,
    "sweeps/results/norms_mnist.md": runs.norms,
    "sweeps/results/precision_mnist.md": runs.precision,
    "sweeps/results/pruning_mnist.md": gradients.pruning,
    "sweeps/results/recipe_mnist.md": gradients.recipe,
    "sweeps/results/benchmark_cpu.md": gradients.benchmark,
    "sweeps/results/benchmark_gpu.md": gradients.benchmark_gpu,
    "sweeps/results/gating_mnist.md": gates.gating,
    "sweeps/results/gates_time.md": gates.gates_time,
    "sweeps/results/packed_mnist.md": gradients.packed,
    "sweeps/results/lab_exact.md": gradients.lab_exact,
    "sweeps/results/lab_cnn.md": gradients.lab_cnn,
    "sweeps/results/lab_vae.md": gradients.lab_vae,
    "sweeps/results/lab_structured_training.md": gradients.lab_structured_training,
    "sweeps/results/lab_vae_training.md": gradients.lab_vae_training,
    "sweeps/results/lab_structured.md": gradients.lab_structured,
    "sweeps/results/lab_target.md": gradients.target,
    "sweeps/results/lab_checkpoints.md": gradients.checkpoints,
    "sweeps/results/lab_slopes.md": gradients.slopes,
    "sweeps/results/lab_coupling.md": gradients.coupling,
    "sweeps/results/lab_toy.md": gradients.toy,
    "sweeps/results/lab_weights.md": gradients.weights,
    "sweeps/results/lab_mirror.md": gradients.mirror,
    "sweeps/results/README.md": lambda: iter(()),
    "docs/estimators.md": gradients.estimators,
    "README.md": runs.readme,
}
NUMBER = re.compile(r"\S*(?<![A-Za-z\d])\d\S*")
"""A number; `bf16` and `float32` are names."""


@pytest.mark.parametrize("page", PAGES)
def test_numbers_in_sentences_are_those_of_the_tables(page: str) -> None:
    text = prose(ROOT / page)
    for claim in PAGES[page]():
        assert claim in text, claim
        text = text.replace(claim, "")
    assert NUMBER.findall(text) == []


def test_every_result_page_has_its_claims() -> None:
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sweeps/results").glob("*.md")}
    assert there == {page for page in PAGES if page.startswith("sweeps/")}


def test_a_number_that_no_claim_covers_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Q\n\nIt is `7` of 8 in [x 9](10.md), bf16.\n\n| 11 |\n\n```\n12\n```\n"
        "<!-- generated: x -->\n13\n<!-- /generated -->\n"
    )
    assert NUMBER.findall(prose(page)) == ["8", "9],"]
