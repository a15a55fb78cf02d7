"""The copy tasks against the naive ones, exactly; and what their texts say."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rl.environments import copy_task
from rl.environments.copy_task import CopyStreams, CurriculumCopy
from rl.streams import stream
from tests.naive import copy_task as naive

seeds = st.integers(0, 2**20)


def columns(steps_of_streams):
    """Return tokens, targets, copying, begins as [T, B]."""
    return [np.array([[step[i] for step in steps] for steps in steps_of_streams]).T for i in range(4)]


@given(seed=seeds, batch=st.integers(1, 6), longest=st.integers(1, 12))
def test_a_minibatch_is_the_naive_one(seed, batch, longest):
    task = CurriculumCopy(batch=batch, seed=seed)
    for _ in range(longest - 1):
        assert task.grow(0.0)
    rng = stream(seed, "copy task")
    for _ in range(3):
        for fast, slow in zip(task.take(), columns(naive.minibatch(rng, batch, longest)), strict=True):
            np.testing.assert_array_equal(fast, slow)


@given(seed=seeds, batch=st.integers(1, 5), longest=st.integers(1, 9), cut=st.integers(1, 39))
def test_streams_are_the_naive_ones_however_they_are_taken(seed, batch, longest, cut):
    task = CopyStreams(batch=batch, longest=longest, seed=seed)
    parts = [task.take(cut), task.take(40 - cut)]
    slow = columns(naive.streams(stream(seed, "copy task"), batch, longest, 40))
    for i in range(4):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), slow[i])


@given(seed=seeds, batch=st.integers(1, 4), longest=st.integers(1, 4), share=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_a_sequence_counts_as_right_where_every_bit_of_it_is(seed, batch, longest, share):
    right = np.random.default_rng(seed).random((30, batch)) < share
    stretch = CopyStreams(batch=batch, longest=longest, seed=seed).take(30)
    slow = naive.streams(stream(seed, "copy task"), batch, longest, 30)
    each = [naive.whole_and_right(slow[b], right[:, b]) for b in range(batch)]
    assert copy_task.sequences_right(stretch, right) == tuple(map(sum, zip(*each, strict=True)))


def test_sequences_of_a_minibatch_that_pause_count_as_whole():
    stretch = copy_task.sequences(np.array([1, 3]), np.full((2, 3), 0.7))
    right = np.ones((6, 2), bool)
    assert copy_task.sequences_right(stretch, right) == (2, 2)
    right[4, 0] = False  # a pause
    right[5, 1] = False
    assert copy_task.sequences_right(stretch, right) == (1, 2)
    assert stretch.n_characters == 8


def test_the_copy_is_what_was_read():
    stretch = CopyStreams(batch=3, longest=7, seed=3).take(500)
    for b in range(3):
        begins = np.flatnonzero(stretch.resets[:, b])
        for start, end in itertools.pairwise(begins):
            n = (end - start) // 2
            np.testing.assert_array_equal(stretch.tokens[start : start + n, b], stretch.targets[start + n : end, b])
            assert (stretch.tokens[start + n : end, b] == copy_task.BLANK).all()


@pytest.mark.parametrize(("longest", "expected"), [(1, {1}), (6, set(range(1, 7))), (9, set(range(4, 10)))])
def test_lengths_of_a_minibatch_lie_within_five_of_the_longest(longest, expected):
    task = CurriculumCopy(batch=200, seed=1)
    task.longest = longest
    assert set(task.take().copying.sum(axis=0).tolist()) == expected


def test_the_sequence_grows_by_one_below_the_threshold_only():
    task = CurriculumCopy(batch=1, threshold=0.15)
    assert [task.grow(bits) for bits in (0.15, 0.1499, 1.0, float("nan"), 0.0)] == [False, True, False, False, True]
    assert task.longest == 3
    with pytest.raises(TypeError, match="bits_per_character must be a number, got 'few'"):
        task.grow("few")


def test_bits_are_nats_over_the_counted_characters():
    losses = np.array([[np.log(2.0), 9.0], [3 * np.log(2.0), 9.0]])
    counted = np.array([[True, False], [True, False]])
    assert copy_task.bits_per_character(losses, counted) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: CurriculumCopy(batch=0), "batch must be at least 1"),
        (lambda: CurriculumCopy(batch=1, threshold=0.0), "threshold must lie between 0"),
        (lambda: CopyStreams(batch=1, longest=0), "longest must be at least 1"),
        (lambda: CopyStreams(batch=1, longest=1).take(0), "n_steps must be at least 1"),
        (lambda: copy_task.sequences(np.array([0, 1]), np.zeros((2, 3))), r"lengths must lie in 1 .. 3.*got \[0, 1\]"),
        (lambda: copy_task.sequences(np.array([4]), np.zeros((1, 3))), r"lengths must lie in 1 .. 3.*got \[4\]"),
        (
            lambda: copy_task.sequences_right(CopyStreams(batch=1, longest=1).take(2), np.ones((3, 1), bool)),
            r"right must be bool\[2, 1\], got bool\[3, 1\]",
        ),
        (
            lambda: copy_task.bits_per_character(np.zeros((2, 1)), np.zeros((2, 1), bool)),
            "counted must be True somewhere",
        ),
    ],
)
def test_what_makes_no_task_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
