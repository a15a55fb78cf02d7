"""Hypothesis generators shared by the tests."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def code_tables(draw, max_rows=200, bits=16):
    """Return codes int64[n] of one of several kinds: spread, few distinct, heavy-tailed, all at the top."""
    n = draw(st.integers(1, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = 2**bits - 1
    kind = draw(st.sampled_from(["spread", "few", "tail", "top", "tiny"]))
    if kind == "spread":
        codes = rng.integers(1, top + 1, n)
    elif kind == "few":
        codes = rng.choice(rng.integers(1, top + 1, 3), n)
    elif kind == "tail":
        codes = np.minimum((rng.exponential(0.02, n) * top).astype(np.int64) + 1, top)
    elif kind == "top":
        codes = np.full(n, top)
    else:
        codes = rng.integers(1, 4, n)
    return codes.astype(np.int64)


def amper_options(variants=("fr", "k")):
    """Return (name, options) of an AMPER sampler."""
    grouping = st.one_of(
        st.fixed_dictionaries({"grouping": st.just("linear"), "n_groups": st.integers(1, 24)}),
        st.fixed_dictionaries(
            {"grouping": st.just("octave"), "n_groups": st.tuples(st.integers(1, 8), st.integers(1, 4))}
        ),
        st.fixed_dictionaries(
            {
                "grouping": st.just("tapered"),
                "n_groups": st.tuples(st.integers(1, 8), st.integers(1, 3), st.integers(3, 12)),
            }
        ),
    )
    common = st.fixed_dictionaries(
        {"lam": st.floats(0.01, 2.0), "match": st.sampled_from(["radius", "prefix", "dithered"])}
    )
    names = st.sampled_from([f"amper-{variant}" for variant in variants])
    return st.tuples(names, grouping, common).map(lambda t: (t[0], {**t[1], **t[2]}))
