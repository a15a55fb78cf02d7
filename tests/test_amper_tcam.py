"""The bit-true memory: what each search finds, row by row."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amper.tcam import Tcam, cover

TABLES = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), max_size=120)


def filled(writes, bits=8):
    tcam, words = Tcam(100, bits), {}
    for row, word in writes:
        tcam.write(np.array([row]), np.array([word]))
        words[row] = word
    return tcam, words


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TABLES, st.integers(0, 255), st.integers(0, 255))
@pytest.mark.nojit
def test_a_ternary_search_compares_the_care_bits_of_valid_rows(writes, key, care):
    tcam, words = filled(writes)
    expected = sorted(row for row, word in words.items() if (word ^ key) & care == 0)
    assert list(tcam.rows(tcam.search(key, care))) == expected


@settings(max_examples=150, deadline=None, derandomize=True)
@given(TABLES, st.integers(0, 255), st.integers(0, 255))
def test_a_range_search_finds_the_range(writes, a, b):
    tcam, words = filled(writes)
    lo, hi = min(a, b), max(a, b)
    assert list(tcam.rows(tcam.search_range(lo, hi))) == sorted(r for r, w in words.items() if lo <= w <= hi)


@given(st.integers(0, 2**16 - 1), st.integers(0, 2**16 - 1))
def test_a_cover_tiles_the_range_in_at_most_2w_minus_2_words(a, b):
    lo, hi = min(a, b), max(a, b)
    blocks = list(cover(lo, hi))
    assert len(blocks) <= 2 * 16 - 2 or (lo, hi) == (0, 2**16 - 1)
    assert all(key % 2**k == 0 for key, k in blocks)
    ends = [key + 2**k for key, k in blocks]
    assert [key for key, _ in blocks] == [lo, *ends[:-1]]
    assert ends[-1] == hi + 1


def test_the_last_write_of_a_batch_stays():
    tcam = Tcam(10, 4)
    tcam.write(np.array([1, 2, 1]), np.array([15, 3, 4]))
    assert list(tcam.words()) == [0, 4, 3, 0, 0, 0, 0, 0, 0, 0]


def test_nothing_matches_in_a_memory_never_written():
    tcam = Tcam(130, 8)
    assert not tcam.search(0, 0).any()
    assert list(tcam.nearest(0, 5)) == []


def test_geometry_and_masks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="n_rows must be at least 1, got 0"):
        Tcam(0, 8)
    with pytest.raises(ValueError, match=r"bits must lie in 1..32, got 40"):
        Tcam(8, 40)
    with pytest.raises(ValueError, match="care must fit in 8 bits, got 0x100"):
        Tcam(8, 8).search(0, 256)
