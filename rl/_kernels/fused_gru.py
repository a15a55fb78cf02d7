# mypy: ignore-errors
# Types are those of compiled code, which only numba infers.
"""GRU with SnAp-1: forward, traces, gradient and optimiser in one sweep over memory a step.

SnAp-1 keeps a weight's effect on its own unit only, so every unit's traces need no other unit's, and every unit's sums
need h- alone: one block of 16 units after another finishes the step before and takes the next one. What a step leaves
to do waits, as `pending`, for the sweep of the next one.

Symbols (see `rl.cells.gru`): dz = (a - h-) z(1-z), da = z(1-a^2), dr = da u r(1-r), u = U_a h-; a unit's own
D = (1-z) + dz U_z[m,m] + dr U_r[m,m] + da r U_a[m,m]; J' = D J + (dz, dr, da) x, and (dz, dr, da r) h- for U.

Layout, N = units rounded up to 16, B streams, K = N + n_inputs + 1, units innermost; padding lanes stay 0:
gates, their moments float[N/16, K, 3, 16] (rows h-, x, 1; gates z, r, a); trace float[N/16, K, B, 3, 16];
source float[B, K], what the last step read; factors (D, dz, dr, da, da r) float[N/16, B, 5, 16];
h, q float[B, N + 16]; after float[B, N].
"""

from numba import njit

from rl._kernels.lanes import fill, fma, inlined, load, part, sigmoid, splat, store, tanh
from rl._kernels.updating import any_set, begin_update, learned, read_out

_SHARED = 0x13A0AC63  # CRC-32 of lanes.py and updating.py: see there


@inlined
def _recurrence(held, j, own, before, sums):
    """Take the step of 16 units of one stream from their sums; return h.

    `j` is their place among blocks and streams, `own` float[3, 16] their weights of themselves.
    """
    factors = held[2]
    z, r, u = sigmoid(sums[0]), sigmoid(sums[1]), sums[3]
    a = tanh(fma(r, u, sums[2]))
    one = fill(z, 1.0)
    dz, da = (a - before) * z * (one - z), z * (one - a * a)
    dr, du = da * u * r * (one - r), da * r
    d = fma(dz, load(own, 0), fma(dr, load(own, 16), fma(du, load(own, 32), one - z)))
    store(factors, j * 80, d)
    store(factors, j * 80 + 16, dz)
    store(factors, j * 80 + 32, dr)
    store(factors, j * 80 + 48, da)
    store(factors, j * 80 + 64, du)
    return fma(z, a, (one - z) * before)


@inlined
def _own_weights(gates, own, m, n_rows):
    """Fill `own` float[3, 16] with the weights that 16 units have of themselves."""
    for lane in range(16):
        i = (m // 16 * n_rows + m + lane) * 48 + lane
        own[lane], own[lane + 16], own[lane + 32] = gates[i], gates[i + 16], gates[i + 32]


@inlined
def _rows_one(gates, kept, moments, trace, source, reads, reads_at, first, rows, of, u, hyper, sums, work):
    """Do rows first <= k < first + rows of 16 units: traces, weights, sums; return the three sums."""
    advance, learn, forward = work
    gm, gv = moments
    d, dz, dr, da = of
    s0, s1, s2 = sums
    for k in range(rows):
        i = first + 48 * k
        w0, w1, w2 = load(gates, i), load(gates, i + 16), load(gates, i + 32)
        if advance:
            x = splat(source, k + reads_at[0])
            t0 = fma(d, load(trace, i), dz * x)
            t1 = fma(d, load(trace, i + 16), dr * x)
            t2 = fma(d, load(trace, i + 32), da * x)
            store(trace, i, t0)
            store(trace, i + 16, t1)
            store(trace, i + 32, t2)
            if learn:
                w0 = learned(gates, i, w0, u, t0, kept, gm, gv, hyper)
                w1 = learned(gates, i + 16, w1, u, t1, kept, gm, gv, hyper)
                w2 = learned(gates, i + 32, w2, u, t2, kept, gm, gv, hyper)
        if forward:
            x = splat(reads, k + reads_at[1])
            s0, s1, s2 = fma(w0, x, s0), fma(w1, x, s1), fma(w2, x, s2)
    return s0, s1, s2


@part
def _sweep_one(weights, moments, hyper, held, x, x_at, n_inputs, n_lanes, work):
    """Finish the last step of a single stream (work[0]: traces, [1]: weights), and take the next ([2])."""
    gates, kept = weights
    trace, source, factors, state, q, after, ones, own = held[:8]
    n_rows = n_lanes + n_inputs + 1
    zero = fill(load(state, 0), 0.0)
    for m in range(0, n_lanes, 16):
        j = m // 16
        first = j * n_rows * 48
        d, dz, dr = load(factors, j * 80), load(factors, j * 80 + 16), load(factors, j * 80 + 32)
        da, du = load(factors, j * 80 + 48), load(factors, j * 80 + 64)
        u = load(q, m) * splat(hyper, 0)
        sums, of = (zero, zero, zero), (d, dz, dr, du)
        az, ar, au = _rows_one(
            gates, kept, moments, trace, source, state, (0, 0), first, n_lanes, of, u, hyper, sums, work
        )
        sums, of, first = (az, ar, zero), (d, dz, dr, da), first + n_lanes * 48
        sums = _rows_one(
            gates, kept, moments, trace, source, x, (n_lanes, x_at), first, n_inputs, of, u, hyper, sums, work
        )
        at, first = (n_rows - 1, 0), first + n_inputs * 48
        az, ar, aa = _rows_one(gates, kept, moments, trace, source, ones, at, first, 1, of, u, hyper, sums, work)
        if work[2]:
            _own_weights(gates, own, m, n_rows)
            h = _recurrence(held, j, own, load(state, m), (az, ar, aa, au))
            store(after, m, h)
    if work[2]:
        for m in range(0, n_lanes, 16):
            store(source, m, load(state, m))
            store(state, m, load(after, m))
        for k in range(n_inputs):
            source[n_lanes + k] = x[x_at + k]


@part
def _sweep_batch(weights, moments, hyper, held, x, x_at, n_inputs, n_lanes, n_streams, work):
    """Finish and take a step of several streams."""
    source, state, after = held[1], held[3], held[5]
    n_rows, width = n_lanes + n_inputs + 1, n_lanes + 16
    for m in range(0, n_lanes, 16):
        if work[0]:
            _traces_batch(weights, moments, hyper, held, m, n_inputs, n_lanes, n_streams, work[1])
        if work[2]:
            _forward_batch(weights[0], held, x, x_at, m, n_inputs, n_lanes, n_streams)
    if work[2]:
        for b in range(n_streams):
            for m in range(0, n_lanes, 16):
                store(source, b * n_rows + m, load(state, b * width + m))
                store(state, b * width + m, load(after, b * n_lanes + m))
            for k in range(n_inputs):
                source[b * n_rows + n_lanes + k] = x[x_at + b * n_inputs + k]


@part
def _traces_batch(weights, moments, hyper, held, m, n_inputs, n_lanes, n_streams, learn):
    """Advance the traces of 16 units in every stream, and step their weights by the sum over the streams."""
    gates, kept = weights
    gm, gv = moments
    trace, source, factors, _, q = held[:5]
    n_rows = n_lanes + n_inputs + 1
    zero, one, scale = fill(load(q, 0), 0.0), fill(load(q, 0), 1.0), splat(hyper, 0)
    for k in range(n_rows):
        g0, g1, g2 = zero, zero, zero
        of_a = 64 if k < n_lanes else 48
        i = (m // 16 * n_rows + k) * n_streams * 48
        for b in range(n_streams):
            j = (m // 16 * n_streams + b) * 80
            x, d = splat(source, b * n_rows + k), load(factors, j)
            t0 = fma(d, load(trace, i), load(factors, j + 16) * x)
            t1 = fma(d, load(trace, i + 16), load(factors, j + 32) * x)
            t2 = fma(d, load(trace, i + 32), load(factors, j + of_a) * x)
            store(trace, i, t0)
            store(trace, i + 16, t1)
            store(trace, i + 32, t2)
            u = load(q, b * (n_lanes + 16) + m)
            g0, g1, g2 = fma(u, t0, g0), fma(u, t1, g1), fma(u, t2, g2)
            i += 48
        if learn:
            i = (m // 16 * n_rows + k) * 48
            learned(gates, i, load(gates, i), g0 * scale, one, kept, gm, gv, hyper)
            learned(gates, i + 16, load(gates, i + 16), g1 * scale, one, kept, gm, gv, hyper)
            learned(gates, i + 32, load(gates, i + 32), g2 * scale, one, kept, gm, gv, hyper)


@inlined
def _rows_batch(gates, first, rows, reads, at, sums):
    """Return the sums of four streams after `rows` rows of 16 units; `at` is where each stream's sources are."""
    a0, a1, a2, b0, b1, b2, c0, c1, c2, d0, d1, d2 = sums
    for k in range(rows):
        i = first + 48 * k
        w0, w1, w2 = load(gates, i), load(gates, i + 16), load(gates, i + 32)
        x0, x1, x2, x3 = (
            splat(reads, at[0] + k),
            splat(reads, at[1] + k),
            splat(reads, at[2] + k),
            splat(reads, at[3] + k),
        )
        a0, a1, a2 = fma(w0, x0, a0), fma(w1, x0, a1), fma(w2, x0, a2)
        b0, b1, b2 = fma(w0, x1, b0), fma(w1, x1, b1), fma(w2, x1, b2)
        c0, c1, c2 = fma(w0, x2, c0), fma(w1, x2, c1), fma(w2, x2, c2)
        d0, d1, d2 = fma(w0, x3, d0), fma(w1, x3, d1), fma(w2, x3, d2)
    return a0, a1, a2, b0, b1, b2, c0, c1, c2, d0, d1, d2


@part
def _forward_batch(gates, held, x, x_at, m, n_inputs, n_lanes, n_streams):
    """Take a step of 16 units of every stream; four streams share a pass over the weights."""
    state, after, own = held[3], held[5], held[7]
    n_rows, width = n_lanes + n_inputs + 1, n_lanes + 16
    first = m // 16 * n_rows * 48
    zero = fill(load(state, 0), 0.0)
    bias = first + (n_rows - 1) * 48
    z, r, a = load(gates, bias), load(gates, bias + 16), load(gates, bias + 32)
    _own_weights(gates, own, m, n_rows)
    for b in range(0, n_streams, 4):
        last = n_streams - 1  # taken more than once where 4 does not divide the streams
        b1, b2, b3 = min(b + 1, last), min(b + 2, last), min(b + 3, last)
        sums = (z, r, zero, z, r, zero, z, r, zero, z, r, zero)
        at = (b * width, b1 * width, b2 * width, b3 * width)
        z0, r0, u0, z1, r1, u1, z2, r2, u2, z3, r3, u3 = _rows_batch(gates, first, n_lanes, state, at, sums)
        sums = (z0, r0, a, z1, r1, a, z2, r2, a, z3, r3, a)
        at = (x_at + b * n_inputs, x_at + b1 * n_inputs, x_at + b2 * n_inputs, x_at + b3 * n_inputs)
        z0, r0, a0, z1, r1, a1, z2, r2, a2, z3, r3, a3 = _rows_batch(gates, first + n_lanes * 48, n_inputs, x, at, sums)
        for i, four in (
            (b, (z0, r0, a0, u0)),
            (b + 1, (z1, r1, a1, u1)),
            (b + 2, (z2, r2, a2, u2)),
            (b + 3, (z3, r3, a3, u3)),
        ):
            if i < n_streams:
                before = load(state, i * width + m)
                h = _recurrence(held, m // 16 * n_streams + i, own, before, four)
                store(after, i * n_lanes + m, h)


@part
def _reset(held, chosen, at, n_rows, n_lanes, n_streams):
    """Start the streams anew whose entry in chosen[at:] is set."""
    trace, state = held[0], held[3]
    zero = fill(load(state, 0), 0.0)
    for b in range(n_streams):
        if chosen[at + b]:
            for row in range(n_lanes // 16 * n_rows):
                for i in range(0, 48, 16):
                    store(trace, (row * n_streams + b) * 48 + i, zero)
            for m in range(0, n_lanes, 16):
                store(state, b * (n_lanes + 16) + m, zero)


@njit(cache=True, _nrt=False)
def run(weights, moments, hyper, rates, counts, held, sizes, data, readout, results):
    """Take `sizes[3]` steps, finishing on the way what the one before left to do.

    Parameters
    ----------
    weights, moments : tuple
        gates, which are kept; Adam's two moments; empty where there are none.
    hyper, rates, counts
        See `updating.learned`; counts int64[2]: updates, and what is pending: 0, 1 traces, 2 weights as well.
    held : tuple
        trace, source, factors, h (the state), q, after, one float[1], scratch float[3, 16]; see the module.
    sizes, data, results : tuple
        As of `fused_elstm.run_one`.
    """
    n_inputs, n_lanes, n_streams, n_steps, loss, learn, finish = sizes
    t = 0
    while t < n_steps or (finish and counts[1]):
        resetting = t < n_steps and any_set(data[3], t * n_streams, n_streams)
        forward = t < n_steps and not (resetting and counts[1])
        if resetting and forward:
            _reset(held, data[3], t * n_streams, n_lanes + n_inputs + 1, n_lanes, n_streams)
        if counts[1] == 2:
            begin_update(hyper, rates, counts)
        work = (counts[1] > 0, counts[1] == 2, forward)
        at = t * n_streams * n_inputs
        if n_streams == 1:
            _sweep_one(weights, moments, hyper, held, data[0], at, n_inputs, n_lanes, work)
        else:
            _sweep_batch(weights, moments, hyper, held, data[0], at, n_inputs, n_lanes, n_streams, work)
        counts[1] = 0
        if forward:
            counts[1] = 1
            if loss:
                passed = (held[3], held[4], results[0])
                read_out(readout, passed, n_lanes + 16, n_streams, loss, data[1:3], results[1:], t)
                counts[1] = 2 if learn else 1
            t += 1
