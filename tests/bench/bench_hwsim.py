"""How fast the hardware simulator runs, against the event loop under it: microseconds a batch.

A batch is one sampling of 64 and its update. Every figure is a median over fresh traces, and stands beside its limit
scaled by what bare SimPy does in the same run: the limits were stated for 900,000 timeouts a second.
"""

import statistics
import time

import simpy

import hwsim

REFERENCE_HZ = 900_000
FORMS = {
    "csb, 1 port": {},
    "csb, 8 ports": {"n_csb_ports": 8},
    "burst": {"readout": "burst"},
    "rank_select": {"readout": "rank_select", "technology": "evacam-fefet45"},
}
#: (what, n): microseconds a batch at 900,000 timeouts a second.
LIMITS_US = {("burst", 20_000): 3_000, ("closed", 20_000): 5, ("profile", 20_000): 30, ("closed", 10**6): 20}


def timeouts_hz():
    """Return how many timeouts a second a lone process gets through."""
    env = simpy.Environment()

    def process():
        for _ in range(200_000):
            yield env.timeout(1)

    env.process(process())
    begin = time.perf_counter()
    env.run()
    return 200_000 / (time.perf_counter() - begin)


def seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def measure(form, n_rows, n_ops, seed):
    """Return seconds a batch of profile, closed form and bursts, and of the first insert by closed form."""
    trace = hwsim.synthetic_trace(n_rows, 64, 0.15, n_ops, seed=seed)
    filling = trace.window(0, 1)
    machine = hwsim.machine("amper-fr", n_rows=n_rows, **form)
    profile = seconds(lambda: machine.plan(trace)) - seconds(lambda: machine.plan(trace))
    insert = statistics.median(seconds(lambda: hwsim.simulate(filling, machine, "closed")) for _ in range(3))
    found = {"profile": profile / n_ops, "insert": insert}
    try:
        found["closed"] = (seconds(lambda: hwsim.simulate(trace, machine, "closed")) - insert) / n_ops
    except hwsim.NotApplicableError:  # ranks met in an array
        found["closed"] = None
    if n_rows <= 20_000:
        some = trace.window(0, 2 * 40 + 1)
        events = seconds(lambda: hwsim.simulate(some, machine)) - seconds(lambda: hwsim.simulate(filling, machine))
        found["burst"] = events / 40
    return found


def main():
    loop_hz = statistics.median(timeouts_hz() for _ in range(5))
    scale = REFERENCE_HZ / loop_hz
    print(f"bare SimPy: {loop_hz:,.0f} timeouts/s; limits are scaled by {scale:.2f}")
    print("us a batch of 64 at a candidate set of 15%, without the insert that fills the buffer (its own column, ms)")
    print(f"{'readout':14} {'n':>9} {'profile':>16} {'closed':>14} {'burst':>18} {'insert ms':>9}")
    for n_rows, n_ops in ((20_000, 2_000), (10**6, 150)):
        for name, form in FORMS.items():
            measure(form, n_rows, 41, seed=99)  # compiles
            runs = [measure(form, n_rows, n_ops, seed) for seed in range(5)]
            cells = []
            for what, width in (("profile", 16), ("closed", 14), ("burst", 18)):
                known = [run[what] for run in runs if run.get(what) is not None]
                if not known:
                    cells.append(f"{'n/a':>{width}}")
                    continue
                limit = LIMITS_US.get((what, n_rows))
                text = f"{statistics.median(known) * 1e6:.3g}"
                cells.append(f"{text + (f' (<= {limit * scale:.3g})' if limit else ''):>{width}}")
            insert = statistics.median(run["insert"] for run in runs) * 1e3
            print(f"{name:14} {n_rows:>9,} {' '.join(cells)} {insert:>9.3g}")


if __name__ == "__main__":
    main()
