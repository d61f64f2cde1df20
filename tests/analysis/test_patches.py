"""Top patches are found where they were planted."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.analysis import Patches, ReceptiveFields, top_patches
from bnn.analysis.responses import preactivations
from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.nn.handlers import sampled
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import Logistic
from bnn.nn.readings import seeded_noise
from bnn.specify import setup

PLUS = torch.tensor(
    [
        [-1, -1, 1, -1, -1],
        [-1, -1, 1, -1, -1],
        [1, 1, 1, 1, 1],
        [-1, -1, 1, -1, -1],
        [-1, -1, 1, -1, -1],
    ]
)


class Planted(nn.Module):
    """Two channels of a pooled 5×5 convolution with bits: a given filter, and random weights."""

    def __init__(self, pattern: Tensor) -> None:
        super().__init__()
        self.conv, self.pool, self.act = (
            nn.Conv2d(1, 2, 5, padding=2),
            nn.MaxPool2d(2),
            Stochastic(law=Logistic()),
        )
        with torch.no_grad():
            self.conv.weight[0, 0] = pattern

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.pool(self.conv(x))).flatten(1)


def images(*plants: tuple[int, int, int], count: int = 12) -> Tensor:
    """Faint noise of 16×16, with the pattern centred at row and column in each plant's image."""
    drawn = 0.1 * torch.randn(
        count, 1, 16 + 4, 16 + 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    for image, row, column in plants:
        drawn[image, 0, row : row + 5, column : column + 5] = PLUS.double()
    return drawn[:, :, 2:-2, 2:-2]


def found(pictures: Tensor, pattern: Tensor = PLUS, count: int = 3) -> Patches:
    return top_patches(Planted(pattern).double(), "act", pictures, count=count, draws=1, seed=0)


def assert_planted(patches: Patches, pictures: Tensor, image: int, row: int, column: int) -> None:
    """Assert that the first channel's best patch is the field of the unit pooled over the plant."""
    assert int(patches.images[0, 0]) == image
    assert patches.places[0, 0].tolist() == [row // 2, column // 2]
    top, left = 2 * (row // 2) - 2, 2 * (column // 2) - 2
    window = F.pad(pictures[image], (6,) * 4, value=math.nan)[
        :, top + 6 : top + 12, left + 6 : left + 12
    ]
    torch.testing.assert_close(patches.pixels[0, 0], window, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("row, column", [(7, 10), (8, 5), (6, 6), (0, 9), (15, 15), (1, 0)])
def test_a_planted_pattern_is_found_precisely(row: int, column: int) -> None:
    pictures = images((7, row, column))
    assert_planted(found(pictures), pictures, 7, row, column)


def test_the_lowest_instead_of_the_highest_and_a_shift_by_one_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Mutants of the search."""
    pictures = images((7, 7, 10))
    with pytest.raises(AssertionError):
        assert_planted(found(pictures, -PLUS), pictures, 7, 7, 10)
    corners = ReceptiveFields.corners.fget
    monkeypatch.setattr(ReceptiveFields, "corners", property(lambda fields: corners(fields) + 1))
    with pytest.raises(AssertionError):
        assert_planted(found(pictures), pictures, 7, 7, 10)


def test_a_patch_at_the_border_goes_on_beyond_it_as_nan() -> None:
    patch = found(images((3, 0, 15))).pixels[0, 0, 0]
    missing = patch.isnan()
    assert missing[:2].all() and missing[:, 4:].all() and not missing[2:, :4].any()


def test_an_image_gives_one_patch_and_the_best_stands_first() -> None:
    pictures = images((4, 4, 4), (4, 12, 12), (9, 5, 11))
    pictures[4] *= 1.5
    patches = found(pictures)
    assert patches.images[0, :2].tolist() == [4, 9]
    assert all(len(set(row.tolist())) == 3 for row in patches.images)
    assert (patches.values.diff(dim=1) <= 0).all()


def test_patches_of_a_whole_network_are_those_of_an_exhaustive_search() -> None:
    """Every channel of the reference network's first layer, by its own modules alone."""
    model = setup(compose(["device=cpu", "data=digits", "seed=3"])).model.double().eval()
    pictures = torch.randn(
        30, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    patches = top_patches(model, "act1", pictures, count=4, draws=1, seed=0)
    with torch.no_grad():
        a = model.pool(model.norm1(model.conv1(pictures)))
    for channel in range(16):
        best = sorted(range(30), key=lambda i: -float(a[i, channel].max()))[:4]
        assert patches.images[channel].tolist() == best
        for k, image in enumerate(best):
            row, column = patches.places[channel, k].tolist()
            assert (
                a[image, channel, row, column]
                == a[image, channel].max()
                == patches.values[channel, k]
            )


def test_above_random_bits_the_preactivation_is_a_mean_over_draws() -> None:
    model = setup(
        compose(["device=cpu", "data=digits", "model=mlp", "model.hidden=6"])
    ).model.double()
    pictures = torch.randn(
        8, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    patches = top_patches(model, "act2", pictures, count=8, draws=300, seed=0)
    reading = sampled(seeded_noise(1, torch.device("cpu")))
    with torch.no_grad():
        others = torch.stack(
            [preactivations(model, "act2", pictures, reading)[:, :, 0, 0].T for _ in range(300)]
        )
    others = others.gather(2, patches.images.expand(300, -1, -1))
    error = others.std(0) * math.sqrt(2 / 300)
    z = (patches.values - others.mean(0)) / error
    assert float(z.abs().max()) < 4.5 and float(
        (others[0] - others.mean(0)).abs().max()
    ) > 4.5 * float(error.max())
    assert patches.pixels.shape == (6, 8, 1, 8, 8), "units without a place look at the whole image"


def test_the_mean_patch_is_over_the_patches_that_reach_a_pixel() -> None:
    pixels = torch.tensor([[[[[1.0, math.nan]]], [[[3.0, 5.0]]]]])
    none = torch.zeros(1, 2, dtype=torch.int64)
    assert Patches("act", pixels, none, none, none).mean.tolist() == [[[[2.0, 5.0]]]]


@pytest.mark.parametrize("count", [0, 13])
def test_more_patches_than_images_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="1 to 12 patches"):
        found(images(), count=count)
