"""The arrays' lock grants what does not conflict, in order of arrival, and says when it is misused."""

import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.banks import BankLock, Hold, ReleaseError


def test_writes_to_different_banks_go_on_together_and_a_search_alone():
    lock = BankLock(simpy.Environment(), 3)
    writes = [lock.request(b) for b in (0, 1)]
    search, late = lock.request(None), lock.request(2)
    assert [h.state for h in (*writes, search, late)] == ["held", "held", "waiting", "waiting"]
    lock.release(writes[0])
    assert search.state == "waiting"
    lock.release(writes[1])
    assert (search.state, late.state) == ("held", "waiting")
    lock.release(search)
    assert late.state == "held"


def test_a_wrong_release_raises():
    env = simpy.Environment()
    lock, other = BankLock(env, 2), BankLock(env, 2)
    held = lock.request(0)
    waiting = lock.request(None)
    with pytest.raises(ReleaseError, match="must be held to be released, got a request that is waiting"):
        lock.release(waiting)
    with pytest.raises(ReleaseError, match="bank 0 must be held"):
        other.release(held)
    lock.release(held)
    with pytest.raises(ReleaseError, match="got a request that is released"):
        lock.release(held)
    with pytest.raises(ReleaseError, match="got a request that is new"):
        lock.release(Hold(lock, 1))


def test_a_context_gives_back_what_it_holds_and_withdraws_what_it_waits_for():
    lock = BankLock(simpy.Environment(), 2)
    with lock.request(None):
        with lock.request(0) as write:
            assert write.state == "waiting"
        assert write.state == "withdrawn"
    with lock.request(1) as write:
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
    lock = BankLock(env, 4)

    def job(number, arrives, bank, lasts):
        yield env.timeout(arrives)
        with lock.request(bank) as hold:
            if hold.event is not None:
                yield hold.event
            for _, other in active:
                assert bank is not None
                assert other is not None
                assert bank != other
            active.append((number, bank))
            granted.append(number)
            yield env.timeout(lasts)
            active.remove((number, bank))

    jobs = sorted(jobs, key=lambda j: j[0])
    running = [env.process(job(i, *j)) for i, j in enumerate(jobs)]
    if running:
        env.run(until=env.all_of(running))
    assert len(granted) == len(jobs)
    for i, (_, bank, _) in enumerate(jobs):
        for j, (_, later, _) in enumerate(jobs[i + 1 :], i + 1):
            if bank is None or later is None or bank == later:
                assert granted.index(i) < granted.index(j)
