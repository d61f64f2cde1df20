"""Gradient estimator of one's own: REINFORCE whose baseline is the loss of the batch's others.

One forward pass; B_i is the mean loss of the other samples, which the bits of sample i do not move.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

import bnn
from bnn.estimators import Estimator
from bnn.estimators.base import gradient_only
from bnn.nn.forward import ForwardClosure
from bnn.nn.sites import Site
from bnn.testing import check_estimator


@Estimator.registry.add("batch_reinforce")
class BatchReinforce(Estimator):
    """REINFORCE with a baseline from the other samples of the batch."""

    # the claims, which check_estimator measures
    unbiased = True
    needs_full_support = True  # takes log q(b)
    assumes_independent_samples = True  # credits a draw with the loss of its own sample

    def evaluations(self, units: Sequence[int]) -> int:
        return 1

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(Site.sample)  # loss [1, samples]
        loss = drawn.loss.detach()
        others = (loss.sum(1, keepdim=True) - loss) / max(loss.shape[1] - 1, 1)
        score = torch.zeros(())
        for site, bits in zip(drawn.sites, drawn.bits, strict=True):
            # binary weights are one draw for the whole batch: no other sample is independent of it
            baseline = 0.0 if site.shared else site.aligned(others)
            score = score + (site.credit(loss, baseline) * site.score(bits)).sum()
        return drawn.loss.mean() + gradient_only(score)


def main(epochs: int = 20) -> float:
    check_estimator(BatchReinforce(), ["one layer", "two layers", "residual", "shared weights"])
    print("BatchReinforce keeps its claims")

    data = bnn.data.load({"name": "digits"}, seed=0, validation_fraction=0.1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), bnn.Stochastic(), nn.Linear(32, 10))
    adam = {"name": "adam", "lr": 0.01}
    bnn.fit(net, data, estimator="batch_reinforce", epochs=epochs, optimizer=adam, progress="none")
    accuracy = bnn.evaluate(net, data.test)["mc_mean"]["accuracy"]
    print(f"test accuracy {100 * accuracy:.1f} %")
    return accuracy


if __name__ == "__main__":
    main()
