"""Uniform sources: the register's algebra, its correlation, and streams that do not disturb each other."""

import numpy as np
import pytest

from amper import urng


def step(state):
    return (state >> 1) ^ (0x80200003 if state & 1 else 0)


def matrix_of(function):
    return [function(1 << j) for j in range(32)]


def apply(matrix, vector):
    result = 0
    for j in range(32):
        if vector >> j & 1:
            result ^= matrix[j]
    return result


def power(matrix, exponent):
    result = [1 << j for j in range(32)]
    while exponent:
        if exponent & 1:
            result = [apply(matrix, column) for column in result]
        matrix = [apply(matrix, column) for column in matrix]
        exponent >>= 1
    return result


def test_the_register_has_the_full_period():
    identity, one = [1 << j for j in range(32)], matrix_of(step)
    assert power(one, 2**32 - 1) == identity
    for prime in (3, 5, 17, 257, 65537):
        assert power(one, (2**32 - 1) // prime) != identity


@pytest.mark.nojit
def test_a_number_is_the_register_after_thirty_two_steps():
    source = urng.make("lfsr", urng.stream(7, "test"))
    state = source.state_dict()["lfsr"]
    for number in source.random(20):
        for _ in range(32):
            state = step(state)
        assert number == state / 2**32


def test_neighbouring_numbers_are_not_correlated_unless_the_register_steps_once():
    source = urng.make("lfsr", urng.stream(7, "test"))
    leaping = source.random(100_000)
    state, single = 12345, []
    for _ in range(20_000):
        state = step(state)
        single.append(state / 2**32)
    assert abs(np.corrcoef(leaping[1:], leaping[:-1])[0, 1]) < 0.013
    assert np.corrcoef(single[1:], single[:-1])[0, 1] > 0.45


@pytest.mark.parametrize("name", urng.NAMES)
@pytest.mark.parametrize("taken", [0, 10, 1023, 1024, 1025, 3000])
def test_a_source_continues_from_its_state(name, taken):
    source = urng.make(name, urng.stream(1, "a"))
    source.random(taken)
    state = source.state_dict()
    first = source.random(2000)
    other = urng.make(name, urng.stream(2, "b"))
    other.load_state_dict(state)
    assert np.array_equal(first, other.random(2000))
    with pytest.raises(ValueError, match="taken must lie in"):
        other.load_state_dict({**state, "taken": 10**12})


@pytest.mark.parametrize("name", urng.NAMES)
def test_numbers_come_in_the_generators_order_however_many_are_asked_for(name):
    source, at_once = (urng.make(name, urng.stream(3, "a")) for _ in range(2))
    pieces = [source.random(n).copy() for n in (1, 700, 0, 500, 2500, 64, 1024, 1)]
    assert np.array_equal(np.concatenate(pieces), at_once.random(sum(map(len, pieces))))


def test_the_numpy_source_gives_the_generators_numbers():
    generator = np.random.Generator(np.random.PCG64(urng.stream(5, "a")))
    assert np.array_equal(urng.make("numpy", urng.stream(5, "a")).random(1500), generator.random(1500))


def test_streams_of_one_seed_differ_by_name():
    numbers = {name: urng.make("numpy", urng.stream(0, name)).random(1)[0] for name in ("a", "b", "c")}
    assert len(set(numbers.values())) == 3
