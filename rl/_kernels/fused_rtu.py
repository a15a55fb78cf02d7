# mypy: ignore-errors
# Types are those of compiled code, which only numba infers.
"""Recurrent trace units, linear and not: a step, its sensitivities and the update before it in one sweep over memory.

No unit reads another: one block of 16 units after another finishes the step before and takes the next one. What a step
leaves to do waits, as `pending`, for the sweep of the next one.

Symbols (Elelimy et al. 2024): s1 = g s1- - p s2- + N W1 x, s2 = g s2- + p s1- + N W2 x; r = exp(-e^nu),
angle = e^vartheta, g = r cos, p = r sin, N = sqrt(1 - r^2) + 1e-8. Linear: h = tanh(s), and the sensitivities (a, b) of
(s1, s2) to an entry of W1 give those to the same entry of W2, (-b, a), so that one pair is carried. Else h = tanh of
the right-hand sides is the state, every derivative times tanh' of its row, and both pairs are carried.

Layout, N_ = units rounded up to 16, B streams, units innermost; padding lanes stay 0:
maps, their moments float[N_/16, n_inputs, 2, 16] (W1, W2); trace float[N_/16, n_inputs, B, C, 16], C = 2 (a, b) or 4
(a, b of W1, then of W2); units float[2, N_] (nu, vartheta); state, to_maps float[N_/16, B, 2, 16]; unit_trace,
to_units (of s1, s2 to nu, then to vartheta), turn (D, row by row) float[N_/16, B, 4, 16]; source float[B, n_inputs];
h, q float[B, 2 N_ + 16].
"""

from numba import njit

from rl._kernels.lanes import clamp, exp, exp_parts, fill, fma, inlined, load, part, root, sin_cos, splat, store, tanh
from rl._kernels.updating import any_set, begin_update, learned, read_out

_SHARED = 0x13A0AC63  # CRC-32 of lanes.py and updating.py: see there


@inlined
def _rates(nu, vartheta):
    """Return e^nu, e^vartheta, g, p, N and dN/dnu."""
    rate, angle = exp(clamp(nu, fill(nu, -708.0), fill(nu, 7.0))), exp(vartheta)
    zero = fill(nu, 0.0)
    r = exp(zero - rate)
    sin, cos = sin_cos(angle)
    e, s = exp_parts(zero - rate - rate)
    norm = root(zero - fma(s, e, s - fill(nu, 1.0)))  # 1 - r^2 does not cancel for slow units
    return rate, angle, r * cos, r * sin, norm + fill(nu, 1e-8), rate * fma(s, e, s) / norm


@inlined
def _recurrence(held, j, rates, w1, w2, linear, h_at, n_lanes):
    """Take the step of 16 units of one stream, `j` their place among blocks and streams, from W1 x and W2 x."""
    _, _, _, state, turn, to_maps, to_units, h = held[:8]
    rate, angle, g, p, n, n_nu = rates
    s1, s2 = load(state, j * 32), load(state, j * 32 + 16)
    zero, one = fill(s1, 0.0), fill(s1, 1.0)
    t1, t2 = fma(g, s1, zero - p * s2), fma(g, s2, p * s1)
    s1, s2 = fma(n, w1, t1), fma(n, w2, t2)
    h1, h2 = tanh(s1), tanh(s2)
    k1, k2 = one, one
    if not linear:
        k1, k2 = one - h1 * h1, one - h2 * h2
        s1, s2 = h1, h2
    store(state, j * 32, s1)
    store(state, j * 32 + 16, s2)
    store(h, h_at, h1)
    store(h, h_at + n_lanes, h2)
    store(turn, j * 64, g * k1)
    store(turn, j * 64 + 16, zero - p * k1)
    store(turn, j * 64 + 32, p * k2)
    store(turn, j * 64 + 48, g * k2)
    store(to_maps, j * 32, n * k1)
    store(to_maps, j * 32 + 16, n * k2)
    store(to_units, j * 64, k1 * fma(n_nu, w1, zero - rate * t1))
    store(to_units, j * 64 + 16, k2 * fma(n_nu, w2, zero - rate * t2))
    store(to_units, j * 64 + 32, zero - k1 * angle * t2)
    store(to_units, j * 64 + 48, k2 * angle * t1)


@inlined
def _back(held, h_at, n_lanes, linear, hyper):
    """Return dL/ds1, dL/ds2 of 16 units of one stream, times hyper[0]."""
    h, q = held[7], held[8]
    q1, q2 = load(q, h_at) * splat(hyper, 0), load(q, h_at + n_lanes) * splat(hyper, 0)
    if linear:
        h1, h2, one = load(h, h_at), load(h, h_at + n_lanes), fill(q1, 1.0)
        q1, q2 = q1 * (one - h1 * h1), q2 * (one - h2 * h2)
    return q1, q2


@inlined
def _turned(trace, i, d11, d12, d21, d22, to1, to2):
    """Write and return a pair of sensitivities after a step."""
    a, b = load(trace, i), load(trace, i + 16)
    after1, after2 = fma(d11, a, fma(d12, b, to1)), fma(d21, a, fma(d22, b, to2))
    store(trace, i, after1)
    store(trace, i + 16, after2)
    return after1, after2


@inlined
def _unit_gradients(held, j, q1, q2):
    """Advance the sensitivities to nu and vartheta of 16 units of one stream; return their gradients."""
    unit_trace, turn, to_units = held[1], held[4], held[6]
    i = j * 64
    d11, d12, d21, d22 = load(turn, i), load(turn, i + 16), load(turn, i + 32), load(turn, i + 48)
    a, b = _turned(unit_trace, i, d11, d12, d21, d22, load(to_units, i), load(to_units, i + 16))
    i += 32
    c, d = _turned(unit_trace, i, d11, d12, d21, d22, load(to_units, i), load(to_units, i + 16))
    return fma(q1, a, q2 * b), fma(q1, c, q2 * d)


@part
def _sweep_one(weights, moments, hyper, held, x, x_at, n_inputs, n_lanes, linear, work):
    """Finish the last step of a single stream (work[0]: sensitivities, [1]: weights), and take the next ([2])."""
    maps, units, kept = weights
    mm, mv, um, uv = moments
    trace, _, source, _, turn, to_maps = held[:6]
    advance, learn, forward = work
    zero, one = fill(load(units, 0), 0.0), fill(load(units, 0), 1.0)
    for m in range(0, n_lanes, 16):
        q1, q2 = _back(held, m, n_lanes, linear, hyper)
        d11, d12, d21, d22 = load(turn, m * 4), load(turn, m * 4 + 16), load(turn, m * 4 + 32), load(turn, m * 4 + 48)
        to1, to2 = load(to_maps, m * 2), load(to_maps, m * 2 + 16)
        w1x, w2x = zero, zero
        for k in range(n_inputs):
            i = m * n_inputs * 2 + 32 * k
            w1, w2 = load(maps, i), load(maps, i + 16)
            if advance:
                xk = splat(source, k)
                if linear:
                    a, b = _turned(trace, i, d11, d12, d21, d22, to1 * xk, zero)
                    g1, g2 = fma(q1, a, q2 * b), fma(q2, a, zero - q1 * b)
                else:
                    a, b = _turned(trace, 2 * i, d11, d12, d21, d22, to1 * xk, zero)
                    c, d = _turned(trace, 2 * i + 32, d11, d12, d21, d22, zero, to2 * xk)
                    g1, g2 = fma(q1, a, q2 * b), fma(q1, c, q2 * d)
                if learn:
                    w1 = learned(maps, i, w1, g1, one, kept, mm, mv, hyper)
                    w2 = learned(maps, i + 16, w2, g2, one, kept, mm, mv, hyper)
            if forward:
                xn = splat(x, x_at + k)
                w1x, w2x = fma(w1, xn, w1x), fma(w2, xn, w2x)
        if advance:
            g1, g2 = _unit_gradients(held, m // 16, q1, q2)
            if learn:
                learned(units, m, load(units, m), g1, one, kept[:0], um, uv, hyper)
                learned(units, n_lanes + m, load(units, n_lanes + m), g2, one, kept[:0], um, uv, hyper)
        if forward:
            rates = _rates(load(units, m), load(units, n_lanes + m))
            _recurrence(held, m // 16, rates, w1x, w2x, linear, m, n_lanes)
    if forward:
        for k in range(n_inputs):
            source[k] = x[x_at + k]


@part
def _sweep_batch(weights, moments, hyper, held, x, x_at, n_inputs, n_lanes, n_streams, linear, work):
    """Finish and take a step of several streams."""
    units, kept = weights[1:3]
    um, uv = moments[2:4]
    one = fill(load(units, 0), 1.0)
    width = 2 * n_lanes + 16
    for m in range(0, n_lanes, 16):
        if work[0]:
            _traces_batch(weights, moments, hyper, held, m, n_inputs, n_lanes, n_streams, linear, work[1])
            g1, g2 = fill(one, 0.0), fill(one, 0.0)
            for b in range(n_streams):
                q1, q2 = _back(held, b * width + m, n_lanes, linear, hyper)
                of_nu, of_vartheta = _unit_gradients(held, m // 16 * n_streams + b, q1, q2)
                g1, g2 = g1 + of_nu, g2 + of_vartheta
            if work[1]:
                learned(units, m, load(units, m), g1, one, kept[:0], um, uv, hyper)
                learned(units, n_lanes + m, load(units, n_lanes + m), g2, one, kept[:0], um, uv, hyper)
        if work[2]:
            _forward_batch(weights, held, x, x_at, m, n_inputs, n_lanes, n_streams, linear)
    if work[2]:
        for i in range(n_streams * n_inputs):
            held[2][i] = x[x_at + i]


@part
def _traces_batch(weights, moments, hyper, held, m, n_inputs, n_lanes, n_streams, linear, learn):
    """Advance the sensitivities of the maps of 16 units, and step the maps by their sum over the streams."""
    maps, kept = weights[0], weights[2]
    mm, mv = moments[:2]
    trace, _, source, _, turn, to_maps = held[:6]
    back = held[9]
    zero, one = fill(load(source, 0), 0.0), fill(load(source, 0), 1.0)
    for b in range(n_streams):
        q1, q2 = _back(held, b * (2 * n_lanes + 16) + m, n_lanes, linear, hyper)
        store(back, b * 32, q1)
        store(back, b * 32 + 16, q2)
    for k in range(n_inputs):
        g1, g2 = zero, zero
        for b in range(n_streams):
            j = m // 16 * n_streams + b
            d11, d12 = load(turn, j * 64), load(turn, j * 64 + 16)
            d21, d22 = load(turn, j * 64 + 32), load(turn, j * 64 + 48)
            xk = splat(source, b * n_inputs + k)
            q1, q2 = load(back, b * 32), load(back, b * 32 + 16)
            i = ((m // 16 * n_inputs + k) * n_streams + b) * 32
            if linear:
                a1, a2 = _turned(trace, i, d11, d12, d21, d22, load(to_maps, j * 32) * xk, zero)
                g1, g2 = fma(q1, a1, fma(q2, a2, g1)), fma(q2, a1, fma(zero - q1, a2, g2))
            else:
                a1, a2 = _turned(trace, 2 * i, d11, d12, d21, d22, load(to_maps, j * 32) * xk, zero)
                g1 = fma(q1, a1, fma(q2, a2, g1))
                a1, a2 = _turned(trace, 2 * i + 32, d11, d12, d21, d22, zero, load(to_maps, j * 32 + 16) * xk)
                g2 = fma(q1, a1, fma(q2, a2, g2))
        if learn:
            i = m * n_inputs * 2 + 32 * k
            learned(maps, i, load(maps, i), g1, one, kept, mm, mv, hyper)
            learned(maps, i + 16, load(maps, i + 16), g2, one, kept, mm, mv, hyper)


@part
def _forward_batch(weights, held, x, x_at, m, n_inputs, n_lanes, n_streams, linear):
    """Take a step of 16 units of every stream; four streams share a pass over the weights."""
    maps, units = weights[:2]
    zero = fill(load(units, 0), 0.0)
    rates = _rates(load(units, m), load(units, n_lanes + m))
    for b in range(0, n_streams, 4):
        p0, p1, p2, p3, q0, q1, q2, q3 = zero, zero, zero, zero, zero, zero, zero, zero
        last = n_streams - 1  # taken more than once where 4 does not divide the streams
        b1, b2, b3 = min(b + 1, last), min(b + 2, last), min(b + 3, last)
        for k in range(n_inputs):
            i, at = m * n_inputs * 2 + 32 * k, x_at + k
            w1, w2 = load(maps, i), load(maps, i + 16)
            r0, r1 = splat(x, at + b * n_inputs), splat(x, at + b1 * n_inputs)
            r2, r3 = splat(x, at + b2 * n_inputs), splat(x, at + b3 * n_inputs)
            p0, p1, p2, p3 = fma(w1, r0, p0), fma(w1, r1, p1), fma(w1, r2, p2), fma(w1, r3, p3)
            q0, q1, q2, q3 = fma(w2, r0, q0), fma(w2, r1, q1), fma(w2, r2, q2), fma(w2, r3, q3)
        for j, w1x, w2x in ((b, p0, q0), (b + 1, p1, q1), (b + 2, p2, q2), (b + 3, p3, q3)):
            if j < n_streams:
                place, h_at = m // 16 * n_streams + j, j * (2 * n_lanes + 16) + m
                _recurrence(held, place, rates, w1x, w2x, linear, h_at, n_lanes)


@part
def _reset(held, chosen, at, n_inputs, n_lanes, n_streams, linear):
    """Start the streams anew whose entry in chosen[at:] is set."""
    trace, unit_trace, _, state = held[:4]
    zero = fill(load(state, 0), 0.0)
    pair = 32 if linear else 64
    for b in range(n_streams):
        if chosen[at + b]:
            for row in range(n_lanes // 16 * n_inputs):
                for i in range(0, pair, 16):
                    store(trace, (row * n_streams + b) * pair + i, zero)
            for block in range(n_lanes // 16):
                j = block * n_streams + b
                for i in range(0, 64, 16):
                    store(unit_trace, j * 64 + i, zero)
                store(state, j * 32, zero)
                store(state, j * 32 + 16, zero)


@njit(cache=True, _nrt=False)
def run(weights, moments, hyper, rates, counts, held, sizes, data, readout, results):
    """Take `sizes[3]` steps, finishing on the way what the one before left to do.

    Parameters
    ----------
    weights, moments : tuple
        maps, units, which of the maps are kept; Adam's two moments of each; empty where there are none.
    hyper, rates, counts
        See `updating.learned`; counts int64[2]: updates, and what is pending: 0, 1 sensitivities, 2 weights as well.
    held : tuple
        trace, unit_trace, source, state, turn, to_maps, to_units, h, q, and scratch float[B, 2, 16]; see the module.
    sizes : eight int64
        n_inputs, N_, B, steps, loss (0: none; see `updating.read_out`), whether to learn, whether to leave nothing
        pending at the end, whether the units are linear.
    data, results : tuple
        As of `fused_elstm.run_one`.
    """
    n_inputs, n_lanes, n_streams, n_steps, loss, learn, finish, linear = sizes
    t = 0
    while t < n_steps or (finish and counts[1]):
        resetting = t < n_steps and any_set(data[3], t * n_streams, n_streams)
        forward = t < n_steps and not (resetting and counts[1])
        if resetting and forward:
            _reset(held, data[3], t * n_streams, n_inputs, n_lanes, n_streams, linear)
        if counts[1] == 2:
            begin_update(hyper, rates, counts)
        work = (counts[1] > 0, counts[1] == 2, forward)
        at = t * n_streams * n_inputs
        if n_streams == 1:
            _sweep_one(weights, moments, hyper, held, data[0], at, n_inputs, n_lanes, linear, work)
        else:
            _sweep_batch(weights, moments, hyper, held, data[0], at, n_inputs, n_lanes, n_streams, linear, work)
        counts[1] = 0
        if forward:
            counts[1] = 1
            if loss:
                passed = (held[7], held[8], results[0])
                read_out(readout, passed, 2 * n_lanes + 16, n_streams, loss, data[1:3], results[1:], t)
                counts[1] = 2 if learn else 1
            t += 1
