"""A lock grants what does not conflict, in order of arrival, and says when it is misused."""

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.locks import Hold, Lock, ReleaseError


def settled(env):
    """Let everything of this instant happen."""
    env.run(env.now + 1)


def test_writes_to_different_banks_go_on_together_and_a_search_alone():
    env = simpy.Environment()
    lock = Lock(env, 3)
    writes = [lock.request(b) for b in (0, 1)]
    settled(env)
    search, late = lock.request(None), lock.request(2)
    settled(env)
    assert [h.state for h in (*writes, search, late)] == ["held", "held", "waiting", "waiting"]
    assert [h.wanted.triggered for h in writes] == [True, True]
    lock.release(writes[0])
    settled(env)
    assert search.state == "waiting"
    lock.release(writes[1])
    settled(env)
    assert (search.state, late.state) == ("held", "waiting")
    lock.release(search)
    settled(env)
    assert late.state == "held"
    assert not late.wanted.triggered


@pytest.mark.parametrize("order", [(None, 0), (0, None)])
def test_of_one_instant_the_search_comes_first_whoever_asked_first(order):
    env = simpy.Environment()
    lock = Lock(env, 2)
    holds = {bank: lock.request(bank) for bank in order}
    settled(env)
    assert (holds[None].state, holds[0].state) == ("held", "waiting")


def test_a_write_that_asked_earlier_comes_before_a_search():
    env = simpy.Environment()
    lock = Lock(env, 2)
    first = lock.request(0)
    settled(env)
    second = lock.request(0)
    settled(env)
    search = lock.request(None)
    settled(env)
    lock.release(first)
    settled(env)
    assert (second.state, search.state, second.wanted.triggered) == ("held", "waiting", True)


def test_a_wrong_release_raises():
    env = simpy.Environment()
    lock, other = Lock(env, 2), Lock(env, 2)
    held = lock.request(0)
    settled(env)
    waiting = lock.request(None)
    settled(env)
    with pytest.raises(ReleaseError, match="must be held to be released, got a request that is waiting"):
        lock.release(waiting)
    with pytest.raises(ReleaseError, match="part 0 must be held"):
        other.release(held)
    lock.release(held)
    with pytest.raises(ReleaseError, match="got a request that is released"):
        lock.release(held)
    with pytest.raises(ReleaseError, match="got a request that is new"):
        lock.release(Hold(lock, 1))


def test_a_context_gives_back_what_it_holds_and_withdraws_what_it_waits_for():
    env = simpy.Environment()
    lock = Lock(env, 2)
    with lock.request(None):
        settled(env)
        with lock.request(0) as write:
            settled(env)
            assert write.state == "waiting"
        assert write.state == "withdrawn"
    with lock.request(1) as write:
        settled(env)
        assert write.state == "held"
    assert write.state == "released"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    jobs=st.lists(
        st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 3)), st.integers(1, 5)), max_size=25
    )
)
def test_no_conflict_is_ever_granted_and_the_first_to_ask_is_the_first_served(jobs):
    env, active, granted = simpy.Environment(), [], []
    lock = Lock(env, 4)

    def job(number, arrives, bank, lasts):
        yield env.timeout(arrives)
        with lock.request(bank) as hold:
            yield hold.granted
            for _, other in active:
                assert bank is not None
                assert other is not None
                assert bank != other
            active.append((number, bank))
            granted.append(number)
            yield env.timeout(lasts)
            active.remove((number, bank))

    jobs = sorted(jobs, key=lambda j: (j[0], j[1] is not None))
    running = [env.process(job(i, *j)) for i, j in enumerate(jobs)]
    if running:
        env.run(until=env.all_of(running))
    assert len(granted) == len(jobs)
    for i, (_, bank, _) in enumerate(jobs):
        for j, (_, later, _) in enumerate(jobs[i + 1 :], i + 1):
            at_once = jobs[i][0] == jobs[j][0]
            if (bank is None or later is None or bank == later) and not (at_once and bank != later):
                assert granted.index(i) < granted.index(j)
