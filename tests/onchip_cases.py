"""Random machines without a TCAM, traces for them, and several ops at once."""

import numpy as np
import simpy

import hwsim
from amper.protocols import Draw
from amper.trace import Trace, TraceHeader
from hwsim.component import Component
from hwsim.ledger import Ledger, check_balance

CLOCKS = [1.0, 1.0, 0.7, 2.0]


def writes_trace(*counts, n_rows, samplings=0, batch_size=64):
    """Return updates of `counts` rows behind an insert of all, then samplings without searches."""
    trace = Trace()
    trace.begin(TraceHeader(n_rows=n_rows, row_bytes=64, bits=16, sampler="per", options={}, seed=0))
    trace.record_insert(np.arange(n_rows), np.ones(n_rows))
    for count in counts:
        trace.record_update(np.arange(count), np.ones(count))
    for _ in range(samplings):
        trace.record_sample(Draw(np.zeros(batch_size, np.int64), np.ones(batch_size), n_valid=n_rows, n_csp=n_rows))
    return trace


def random_tree(rng, n_rows):
    return hwsim.machine(
        "sumtree-onchip",
        n_rows=n_rows,
        fan_out=int(rng.choice([2, 4, 8, 16])),
        bits=int(rng.choice([1, 8, 16, 32])),
        pipelined=bool(rng.random() < 0.7),
        forwarding=bool(rng.random() < 0.7),
        clock_ghz=float(rng.choice(CLOCKS)),
    )


def random_rejection(rng, n_rows):
    return hwsim.machine(
        "rejection-onchip",
        n_rows=n_rows,
        n_lanes=int(rng.integers(1, min(n_rows, 5) + 1)),
        n_ranges=64,
        max_tries=int(rng.choice([3, 50, 500])),
        seed=int(rng.integers(100)),
        clock_ghz=float(rng.choice(CLOCKS)),
    )


def tree_timing(machine):
    c = machine.costs
    return {
        "draw": c.draw,
        "reads": [level.read for level in c.levels],
        "route": c.route,
        "pipelined": machine.pipelined,
        "row_interval": machine.row_interval,
    }


def perform_all(machine, trace, arrivals):
    """Return when each op of the trace ended, its phases, and the components; `arrivals` in cycles."""
    env, ledger = simpy.Environment(), Ledger()
    components = {s.name: Component(s, i, ledger) for i, s in enumerate(machine.components)}
    processes = machine.processes(env, trace, components)
    ended, phases = [None] * len(trace), [None] * len(trace)

    def one(op):
        yield env.timeout(int(arrivals[op]) * machine.costs.period_fs)
        phases[op] = yield from processes.perform(op)
        ended[op] = int(env.now)

    env.run(until=env.all_of([env.process(one(op)) for op in range(len(trace))]))
    totals = ledger.totals(len(components), int(env.now))
    accounts = list(components.values())
    check_balance(
        totals, [c.energy_aj for c in accounts], [c.unit_busy_fs for c in accounts], ledger.energy_by_op(len(trace))
    )
    for part, total in zip(accounts, totals, strict=True):
        assert total.busy_fs <= total.unit_busy_fs <= part.spec.n_units * total.busy_fs
    return ended, phases, dict(zip(components, totals, strict=True)), ledger
