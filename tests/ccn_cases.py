"""A network and its naive twin, and streams that reach every branch; shared by the tests of networks and predictors."""

import numpy as np

from rl.ccn import ColumnNetwork
from rl.optimisers import RmsProp
from rl.prediction import TDLambda
from tests.naive import ccn as naive

#: Second moments that forget soon and weights that are not small: in a thousand steps everything moves.
LIVELY = RmsProp(decay=0.99, eps=1e-8, initial=0.1)

#: Options of the network: one stage, one feature a stage, several, a block and a half, wide fan-in.
NETWORKS = {
    "columnar": {"n_features": 6},
    "constructive": {"n_features": 5, "features_per_stage": 1, "steps_per_stage": 190},
    "ccn": {"n_features": 9, "features_per_stage": 3, "steps_per_stage": 310},
    "ccn-17": {"n_features": 34, "features_per_stage": 17, "steps_per_stage": 500},
}


def stream(n, n_inputs, seed=0, ends=0.02):
    """Return xs, cumulants, discounts: silent inputs, bursts, and episodes that end."""
    rng = np.random.default_rng(seed)
    xs = rng.normal(size=(n, n_inputs)) * (rng.random((n, n_inputs)) < 0.4)
    cumulants = np.roll(xs[:, 0], 2) + 0.3 * xs[:, -1]
    return xs, cumulants, np.where(rng.random(n) < ends, 0.0, rng.uniform(0.7, 1.0, n))


def predictor(network, dtype="float64", n_inputs=4, step_size=0.01, trace_decay=0.9, optimiser=LIVELY, **settings):
    options = {"seed": 5, "beta": 0.99, "cap": 0.05, "init_range": 0.6, **NETWORKS.get(network, {})}
    made = ColumnNetwork(n_inputs=n_inputs, dtype=dtype, **options)
    return TDLambda(made, step_size=step_size, trace_decay=trace_decay, optimiser=optimiser, **settings)


def naive_twin(td, kind=naive.Network):
    """Return the naive network with the same initial weights."""
    network, settings, rms = td.network, td.settings, td.settings.optimiser
    u = network.n_units

    def initial(feature, n):
        weights = network.init(feature // u)[:, :, feature % u]
        assert weights.shape == (4, n + 2)
        return {g: [float(w) for w in weights[i]] for i, g in enumerate(naive.GATES)}

    steps = network.steps_per_stage or 10**9
    return kind(
        network.n_inputs, network.n_features, u, steps, initial, settings.step_size, settings.trace_decay,
        network.beta, network.cap, settings.fan_in, rms.decay, rms.eps, rms.initial,
    )  # fmt: skip


def naive_predictions(twin, xs, cumulants, discounts):
    rows = zip(xs.tolist(), cumulants.tolist(), discounts.tolist(), strict=True)
    return np.array([twin.step(*row) for row in rows])


def everything(td):
    """Return the numbers of a predictor's network by name, without the padding."""
    network, arrays = td.network, td.arrays
    stages = range(1 + network.stage_after(td.n_steps))
    learning = {f"learning {k}": v for k, v in network.learning(arrays).items()}
    readout = {f"readout {k}": v for k, v in network.readout(arrays).items()}
    weights = {f"weights {s}": network.weights(arrays, s) for s in stages}
    return {**learning, **readout, **weights, "bias": arrays["scalars"][:3], "inputs": arrays["inputs"]}


def naive_everything(twin, n_stages):
    """Return the same from the naive twin."""
    last = twin.columns[-twin.u :]
    by_field = {
        "w": [[[w.value for w in c.w[g]] for c in last] for g in naive.GATES],
        "m": [[[w.m for w in c.w[g]] for c in last] for g in naive.GATES],
        "e": [[[w.e for w in c.w[g]] for c in last] for g in naive.GATES],
        "TH": [[c.th[g] for c in last] for g in naive.GATES],
        "TC": [[c.tc[g] for c in last] for g in naive.GATES],
    }
    out = {f"learning {k}": np.array(v).transpose(0, 2, 1) for k, v in by_field.items()}
    for k, name in (("w", "value"), ("m", "m"), ("e", "e")):
        out[f"readout {k}"] = np.array([getattr(w, name) for w in twin.readout])
    out["readout mu"] = np.array([s.mu for s in twin.outputs])
    out["readout v"] = np.array([s.v for s in twin.outputs])
    out["readout hh"] = np.array(twin.hh)
    out["readout h"] = np.array([c.h for c in twin.columns])
    for s in range(n_stages):
        columns = twin.columns[s * twin.u : (s + 1) * twin.u]
        out[f"weights {s}"] = np.array([[[w.value for w in c.w[g]] for c in columns] for g in naive.GATES]).transpose(
            0, 2, 1
        )
    out["bias"] = np.array([twin.bias.value, twin.bias.m, twin.bias.e])
    out["inputs"] = np.array([[s.mu for s in last[0].inputs], [s.v for s in last[0].inputs]])
    return out
