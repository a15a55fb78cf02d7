"""Codes: rounding, saturation, widths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amper._kernels import update
from amper.fixedpoint import PriorityFormat, convert, halve
from tests.naive.replay import code_of


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(1e-6, 1e6), st.integers(4, 32))
def test_codes_are_rounded_half_up_and_stay_in_range(masses, scale, bits):
    codes, saturated = PriorityFormat(bits=bits).encode(np.array(masses), 1.0, scale)
    assert list(codes) == [code_of(mass, scale, bits) for mass in masses]
    assert saturated == sum(np.floor(m / scale * (2**bits - 1) + 0.5) > 2**bits - 1 for m in masses)


@pytest.mark.nojit
def test_masses_are_right_to_fourteen_digits_from_the_smallest_priority_to_the_largest():
    rng = np.random.default_rng(0)
    priorities = np.concatenate([rng.exponential(size=2000), 10.0 ** rng.uniform(-300, 300, 2000), [5e-324, 1e308]])
    for alpha in (0.1, 0.5, 0.6, 0.9, 1.0):
        masses = priorities.copy()
        with np.errstate(under="ignore"):
            update._powers(masses, alpha)
        assert masses == pytest.approx([p**alpha for p in priorities.tolist()], rel=1e-13, abs=0)
    for alpha, of_zero in ((0.0, 1.0), (0.6, 0.0), (1.0, 0.0)):
        masses = np.array([0.0, 1.0, 4.0])
        update._powers(masses, alpha)
        assert masses.tolist() == [of_zero, 1.0, 4.0**alpha]
    masses = np.array([1e300, 1e-300])
    with np.errstate(over="ignore", under="ignore"):  # the compiled loop warns of neither
        update._powers(masses, 2.0)
    assert masses.tolist() == [np.inf, 0.0]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 2**32 - 1), min_size=1), st.integers(4, 32), st.integers(4, 32))
def test_widths_convert_by_exact_rounding(codes, old, new):
    codes = [max(code % 2**old, 1) for code in codes]
    expected = [max((2 * code * (2**new - 1) + (2**old - 1)) // (2 * (2**old - 1)), 1) for code in codes]
    assert list(convert(np.array(codes), old, new)) == expected


@given(st.lists(st.integers(1, 2**32 - 1), min_size=1), st.integers(0, 10))
def test_halving_rounds_once_and_keeps_every_code_valid(codes, times):
    assert list(halve(np.array(codes), times)) == [max(int(c / 2**times + 0.5), 1) for c in codes]


def test_an_automatic_scale_doubles_until_the_mass_fits():
    automatic = PriorityFormat()
    assert [automatic.doublings(1.0, mass) for mass in (0.5, 1.0, 1.01, 8.0, 9.0)] == [0, 0, 1, 3, 4]
    assert PriorityFormat(full_scale=2.0).doublings(2.0, 100.0) == 0
