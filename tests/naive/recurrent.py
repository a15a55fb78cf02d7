"""Recurrent cells as their papers write them, differentiated by a small tape; nothing of it is fast.

`Var` records numpy operations and `backward` plays them back: reverse-mode differentiation, from scratch. A cell
is a function (parameters, x, state) -> (h, state) over dicts of Vars; `loss_gradient` unrolls it.
"""

import numpy as np


class Var:
    """A value of the tape: numpy array, the Vars it came from, and how their gradients follow from its own."""

    def __init__(self, value, parents=()):
        self.value = np.asarray(value, float)
        self.parents = parents
        self.grad = np.zeros_like(self.value)

    def __add__(self, other):
        other = other if isinstance(other, Var) else Var(np.broadcast_to(other, self.value.shape))
        return Var(self.value + other.value, ((self, lambda d: d), (other, lambda d: d)))

    def __mul__(self, other):
        other = other if isinstance(other, Var) else Var(np.broadcast_to(other, self.value.shape))
        return Var(self.value * other.value, ((self, lambda d: d * other.value), (other, lambda d: d * self.value)))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + (-other)

    def __rsub__(self, other):
        return -self + other

    def __matmul__(self, v):
        """Matrix times vector."""
        return Var(
            self.value @ v.value,
            ((self, lambda d: np.outer(d, v.value)), (v, lambda d: self.value.T @ d)),
        )


def _function(f, slope):
    return lambda v: Var(f(v.value), ((v, lambda d: d * slope(v.value)),))


tanh = _function(np.tanh, lambda a: 1 - np.tanh(a) ** 2)
sigmoid = _function(lambda a: 1 / (1 + np.exp(-a)), lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2)
exp = _function(np.exp, np.exp)
cos = _function(np.cos, lambda a: -np.sin(a))
sin = _function(np.sin, np.cos)
sqrt = _function(np.sqrt, lambda a: 0.5 / np.sqrt(a))


def detach(v):
    return Var(v.value)


def concatenate(a, b):
    n = len(a.value)
    return Var(np.concatenate([a.value, b.value]), ((a, lambda d: d[:n]), (b, lambda d: d[n:])))


def backward(out, seed):
    """Add d(sum(seed * out)) / dv to `grad` of every Var v that `out` came from."""
    order, seen, stack = [], set(), [(out, False)]
    while stack:
        v, done = stack.pop()
        if done:
            order.append(v)
        elif id(v) not in seen:
            seen.add(id(v))
            stack.append((v, True))
            stack.extend((p, False) for p, _ in v.parents)
    for v in order:
        v.grad = np.zeros_like(v.value)
    out.grad = np.asarray(seed, float)
    for v in reversed(order):
        for parent, pull in v.parents:
            parent.grad = parent.grad + pull(v.grad)


# -- cells ---------------------------------------------------------------------------------------------------
def vanilla(p, x, s, tau=1.0, cut=False):
    """Leaky vanilla; `cut` detaches h- where the recurrent weights read it (RFLO)."""
    read = detach(s["h"]) if cut else s["h"]
    h = (1 - 1 / tau) * s["h"] + (1 / tau) * tanh(p["U"] @ read + p["W"] @ x + p["b"])
    return h, {"h": h}


def lstm(p, x, s):
    a = {g: p[f"W_{g}"] @ x + p[f"U_{g}"] @ s["h"] + p[f"b_{g}"] for g in "ifog"}
    c = sigmoid(a["f"]) * s["c"] + sigmoid(a["i"]) * tanh(a["g"])
    h = sigmoid(a["o"]) * tanh(c)
    return h, {"c": c, "h": h}


def columnar_lstm(p, x, s):
    a = {g: p[f"W_{g}"] @ x + p[f"u_{g}"] * s["h"] + p[f"b_{g}"] for g in "ifog"}
    c = sigmoid(a["f"]) * s["c"] + sigmoid(a["i"]) * tanh(a["g"])
    h = sigmoid(a["o"]) * tanh(c)
    return h, {"c": c, "h": h}


def gru(p, x, s):
    z = sigmoid(p["W_z"] @ x + p["U_z"] @ s["h"] + p["b_z"])
    r = sigmoid(p["W_r"] @ x + p["U_r"] @ s["h"] + p["b_r"])
    a = tanh(p["W_a"] @ x + p["b_a"] + r * (p["U_a"] @ s["h"]))
    h = (1 - z) * s["h"] + z * a
    return h, {"h": h}


def elstm(p, x, s):
    z = tanh(p["F"] @ x + p["w_z"] * s["c"] + p["b_z"])
    f = sigmoid(p["W"] @ x + p["w_f"] * s["c"] + p["b_f"])
    c = f * s["c"] + (1 - f) * z
    o = sigmoid(p["W_ox"] @ x + p["W_oc"] @ c + p["b_o"])
    return c * o, {"c": c}


def rtu(p, x, s, linear=True):
    r = exp(-exp(p["nu"]))
    angle = exp(p["vartheta"])
    g, q = r * cos(angle), r * sin(angle)
    n = sqrt(1 - r * r) + 1e-8
    s1 = g * s["1"] - q * s["2"] + n * (p["W1"] @ x)
    s2 = g * s["2"] + q * s["1"] + n * (p["W2"] @ x)
    t1, t2 = tanh(s1), tanh(s2)
    return concatenate(t1, t2), {"1": s1, "2": s2} if linear else {"1": t1, "2": t2}


def rtu_nonlinear(p, x, s):
    return rtu(p, x, s, linear=False)


CELLS = {
    "vanilla": (vanilla, ("h",)),
    "lstm": (lstm, ("c", "h")),
    "columnar-lstm": (columnar_lstm, ("c", "h")),
    "gru": (gru, ("h",)),
    "elstm": (elstm, ("c",)),
    "rtu": (rtu, ("1", "2")),
    "rtu-nonlinear": (rtu_nonlinear, ("1", "2")),
}


# -- gradients -----------------------------------------------------------------------------------------------
def unroll(name, parameters, xs, n_units, start=0, **options):
    """Return the parameters, inputs and outputs as Vars; state before step `start` is held constant."""
    cell, components = CELLS[name]
    p = {k: Var(v) for k, v in parameters.items()}
    inputs = [Var(x) for x in xs]
    s = {k: Var(np.zeros(n_units)) for k in components}
    hs = []
    for t, x in enumerate(inputs):
        if t == start:
            s = {k: detach(v) for k, v in s.items()}
        h, s = cell(p, x, s, **options)
        hs.append(h)
    return p, inputs, hs


def loss_gradient(name, parameters, xs, dl_dh, n_units, window=None, **options):
    """Return dL/dtheta by name, L = sum over t of dl_dh[t] . h[t]; each step's loss through `window` steps."""
    if window is None:
        p, _, hs = unroll(name, parameters, xs, n_units, **options)
        backward(
            sum((h * q for h, q in zip(hs, dl_dh, strict=True)), Var(np.zeros(len(dl_dh[0])))), np.ones(len(dl_dh[0]))
        )
        return {k: v.grad for k, v in p.items()}
    total = {k: np.zeros_like(np.asarray(v, float)) for k, v in parameters.items()}
    for t in range(len(xs)):
        start = max(0, t + 1 - window)
        p, _, hs = unroll(name, parameters, xs[: t + 1], n_units, start, **options)
        backward(hs[t], dl_dh[t])
        total = {k: v + p[k].grad for k, v in total.items()}
    return total


def input_gradient(name, parameters, xs, dl_dh, n_units, **options):
    """Return dL/dx of the last step, L = dl_dh . h of the last step."""
    _, inputs, hs = unroll(name, parameters, xs, n_units, **options)
    backward(hs[-1], dl_dh)
    return inputs[-1].grad


def step_jacobians(name, parameters, x, state, n_units, **options):
    """Return (state, D, I) of one step: ds'/ds [S n, S n] and ds'/dtheta by name [S n, *shape]."""
    cell, components = CELLS[name]
    p = {k: Var(v) for k, v in parameters.items()}
    s = {k: Var(state[i]) for i, k in enumerate(components)}
    _, after = cell(p, Var(x), s, **options)
    d, i = [], {k: [] for k in p}
    for component in components:
        for m in range(n_units):
            for v in (*p.values(), *s.values()):
                v.grad = np.zeros_like(v.value)
            backward(after[component], np.eye(n_units)[m])
            d.append(np.concatenate([s[k].grad for k in components]))
            for k, v in p.items():
                i[k].append(v.grad)
    return np.array([after[k].value for k in components]), np.array(d), {k: np.array(v) for k, v in i.items()}


def snap_gradient(name, parameters, masks, xs, dl_dh, n_units, n, **options):
    """Return the SnAp-n gradient by name, from its definition: J' = mask o (I + D J), everything dense.

    `masks` holds bool arrays by name for the matrices (1 where absent). mask[m, p] is set iff unit m is reached
    from the unit of p in fewer than n steps of "reads in any gate" (itself where the cell carries its state).
    """
    components = CELLS[name][1]
    reads = np.eye(n_units) if name != "vanilla" or options.get("tau", 1.0) != 1.0 else np.zeros((n_units, n_units))
    for k, v in parameters.items():
        if k.startswith("U"):
            reads = reads + masks.get(k, np.ones_like(v))
    reached = [[_reaches(reads, k, m, n) for k in range(n_units)] for m in range(n_units)]
    keep = np.tile(np.array(reached, float), (len(components), 1))  # [S n, unit of p]
    j = {k: np.zeros((len(components) * n_units, *np.shape(v))) for k, v in parameters.items()}
    total = {k: np.zeros(np.shape(v)) for k, v in parameters.items()}
    state = np.zeros((len(components), n_units))
    for x, q in zip(xs, dl_dh, strict=True):
        state, d, i = step_jacobians(name, parameters, x, state, n_units, **options)
        for k, before in j.items():
            full = i[k] + np.tensordot(d, before, 1)
            j[k] = full * keep.reshape(keep.shape + (1,) * (full.ndim - 2))
            total[k] = total[k] + np.tensordot(q, j[k][-n_units:], 1)  # h is the last component
    return total


def _reaches(reads, start, end, n):
    """Whether `end` is `start`, or reads it over a path of fewer than n steps; paths are walked one by one."""
    if start == end:
        return True
    if n <= 1:
        return False
    return any(reads[m, start] and _reaches(reads, m, end, n - 1) for m in range(len(reads)))
