"""What a machine's formula says of a trace, and what it says where it does not hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.component import Charge

Int64 = npt.NDArray[np.int64]


class NotApplicableError(ValueError):
    """The closed form does not hold for an op; the message names the op and the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTimes:
    """What a formula says of a trace.

    Parameters
    ----------
    latency_fs : int64[ops]
        Latency of each op.
    phases_fs : dict of int64[samplings]
        The latency of each sampling, split along its critical path.
    charges : list of Charge
        Who worked, waited and paid.
    """

    latency_fs: Int64
    phases_fs: dict[str, Int64]
    charges: list[Charge]
