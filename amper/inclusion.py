"""How often a stored entry stands in AMPER-fr's candidate set, in expectation: what unbiased weights divide by.

A sampling has two phases: searches form the candidate set (CSP), a multiset of entries; draws take b of them, all
alike. Given the codes stored, the CSP holds entry i mult_i times, and E[mult_i] depends on its code alone: for each
group, the sum over its integer keys V, and over the dither, of the chance that the search around V finds the code. So

    sum over draws of f(i) |CSP| / (b n E[mult_i])

has the expectation 1/n sum_i f(i), the mean of f over all n entries, whatever f: draws average mult_i / |CSP| over the
CSP, and E[sum_i mult_i f(i) / E[mult_i]] = sum_i f(i). An empty CSP must then count as 0. The sampler draws an empty
one anew instead, which multiplies the estimate of every f by the same 1 / (1 - P(empty)): what is divided by the sum of
the weights, or by their maximum, does not notice. A fallback draws uniformly and is unbiased by itself. Redrawing
because of `min_csp` above 1 favours large candidate sets, and is not corrected.

The chance of an entry in a single draw, E[mult_i / |CSP|], is another number and has no closed form: |CSP| depends on
every group's search and on every code stored. `Sampler.law` estimates it.
"""

from __future__ import annotations

import numpy as np

from amper._kernels import inclusion
from amper.candidates import MATCHES
from amper.protocols import Float64

LARGEST_TOP = 2**16 - 1


def expected_multiplicity(
    edges: Float64,
    full: int,
    lam: float,
    *,
    match: str,
    thinned: bool,
    top: int,
    open_top: bool = False,
    unique: bool = False,
) -> Float64:
    """Return E[multiplicity] in AMPER-fr's candidate set of an entry, by its code: float64[top + 1].

    Parameters
    ----------
    edges : float64[m + 1]
        Where the groups begin and the last one ends, in codes.
    full : int
        F, the groups' full scale, in codes.
    lam : float
        lambda'.
    match : {"radius", "prefix", "dithered"}
        How an interval is searched.
    thinned : bool
        Whether a search of less than one code is made with probability 2 Delta instead.
    top : int
        Largest code, at most 65,535: the table holds every code.
    open_top : bool
        Whether a search that reaches F - 1 takes every code above it.
    unique : bool
        Whether an entry that several groups found counts once.

    Raises
    ------
    ValueError
        If `match` is unknown or `top` too large.

    Notes
    -----
    Exact but for rounding where representatives are floors of real uniforms; every key of every group is visited.

    Examples
    --------
    One group over the codes 0 .. 3, and Delta = V: the key 3 finds all codes, the key 0 none that is stored.

    >>> edges = np.array([0.0, 4.0])
    >>> expected_multiplicity(edges, 4, 1.0, match="radius", thinned=False, top=3)
    array([0.  , 0.75, 0.75, 0.5 ])
    """
    if match not in MATCHES:
        raise ValueError(f"match must be one of {', '.join(map(repr, MATCHES))}, got {match!r}")
    if not 1 <= top <= LARGEST_TOP:
        raise ValueError(f"top must be a code of 1..{LARGEST_TOP}, got {top!r}")
    expected = np.zeros(top + 1)
    inclusion.expected_multiplicity(
        edges, full, lam, MATCHES.index(match), thinned, top, open_top, unique, expected
    )  # fmt: skip
    return expected
