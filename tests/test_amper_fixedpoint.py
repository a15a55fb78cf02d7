"""Codes: rounding, saturation, widths."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from amper.fixedpoint import PriorityFormat, convert, halve
from tests.naive.replay import code_of


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(1e-6, 1e6), st.integers(4, 32))
def test_codes_are_rounded_half_up_and_stay_in_range(masses, scale, bits):
    codes, saturated = PriorityFormat(bits=bits).encode(np.array(masses), scale)
    assert list(codes) == [code_of(mass, scale, bits) for mass in masses]
    assert saturated == sum(np.floor(m / scale * (2**bits - 1) + 0.5) > 2**bits - 1 for m in masses)


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
