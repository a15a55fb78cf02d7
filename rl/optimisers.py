"""Optimisers: their parameters, and the coefficients their compiled loops take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1).

    Parameters
    ----------
    beta1, beta2 : float
        Decay of the first and second moment, in [0, 1).
    eps : float
        Added to the denominator, > 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            if not 0.0 <= value < 1.0:
                raise ValueError(f"{name} must be in [0, 1), got {value!r}")
        if not self.eps > 0.0:
            raise ValueError(f"eps must be positive, got {self.eps!r}")

    def coefficients(self, t: int, lr: float) -> tuple[float, float]:
        """Return (step_size, v_scale) of the `t`-th step, counted from 1.

        theta -= step_size * m / (sqrt(v) * v_scale + eps) is then algorithm 1's step with rate `lr`.

        Examples
        --------
        >>> step_size, v_scale = Adam(beta1=0.5, beta2=0.75).coefficients(1, 0.1)
        >>> step_size, v_scale
        (0.2, 2.0)
        """
        return lr / (1.0 - self.beta1**t), float((1.0 - self.beta2**t) ** -0.5)
