"""The learning rate of each step, and of each layer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LayerRates", "Schedule"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Slanted triangle (Howard and Ruder 2018): linear warm-up, then linear decay to ``final_ratio``."""

    peak: float
    total_steps: int
    warmup_fraction: float = 0.1
    final_ratio: float = 0.03

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = max(1, round(self.total_steps * self.warmup_fraction))
        if step < warmup:
            return self.peak * (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, self.total_steps - warmup))
        return self.peak * (1.0 - (1.0 - self.final_ratio) * done)


@dataclass(frozen=True, kw_only=True)
class LayerRates:
    """Factors on the learning rate by layer (Howard and Ruder 2018).

    Parameters
    ----------
    layers : tuple of str
        Names in front of the parameters' last dot, from the output down to the embedding.
    decay : float
        One factor more for each layer down.
    unfreeze_steps : int
        Gradual unfreezing: the output learns from step 0, the lowest layer from this step, the others between.
    """

    layers: tuple[str, ...]
    decay: float = 1.0
    unfreeze_steps: float = 0

    def factor(self, parameter: str, step: int) -> float:
        """Factor for a parameter at a step; 0 while its layer is frozen."""
        depth = self.layers.index(parameter.rsplit(".", 1)[0])
        if step < self.unfreeze_steps * depth / max(1, len(self.layers) - 1):
            return 0.0
        return self.decay**depth
