"""torch's default generator as a random stream of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor


class DefaultGenerator:
    """Random stream that stands in for the default generator of a device.

    torch's own modules that draw in training, such as `nn.Dropout`, take no generator: they draw
    from the default one of their device.

    Args:
        seed: seed of the stream.
        device: device of the training.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        self._state = torch.Generator(device).manual_seed(seed).get_state()

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Draw from this stream within the context; the program's own state returns after it."""
        outer = self._default_state()
        self._set_default(self._state)
        try:
            yield
        finally:
            self._state = self._default_state()
            self._set_default(outer)

    def get_state(self) -> Tensor:
        """State of the stream, as of a `torch.Generator`."""
        return self._state

    def set_state(self, state: Tensor) -> None:
        """Restore a state.

        Args:
            state: value of `get_state`.
        """
        torch.Generator(self._device).set_state(state)  # refuses the state of another device
        self._state = state

    def _default_state(self) -> Tensor:
        if self._device.type == "cpu":
            return torch.get_rng_state()
        if self._device.type == "cuda":
            return torch.cuda.get_rng_state(self._device)
        state: Tensor = torch.get_device_module(self._device).get_rng_state()
        return state

    def _set_default(self, state: Tensor) -> None:
        if self._device.type == "cpu":
            torch.set_rng_state(state)
        elif self._device.type == "cuda":
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.get_device_module(self._device).set_rng_state(state)
