# mypy: ignore-errors
# Types are those of compiled code, which only numba infers.
"""eLSTM: forward, sensitivities, gradient and optimiser of whole stretches of steps in one sweep over memory a step.

A unit of an eLSTM reads no other unit's state, so one block of 16 units after another can finish the step before -
dL/dc, sensitivities, weights - and take the next one while what belongs to it lies in the cache; the output gate's
sums, which need every unit's c, are gathered on the way. What a step leaves to do waits, as `pending`, for the sweep
of the next one. The file is long because numba's cache watches a kernel's own file only.

Symbols (Irie et al. 2024): c- `before`, c `source[:N]`; zh = (1-f)(1-z^2), fh = (c- - z) f(1-f),
d = f + zh w_z + fh w_f; S' = d S + zh x (S' = d S + fh x for f); dL/dc = q o + W_oc^T delta, delta = q c o(1-o).

Layout, N = units rounded up to 16, X = inputs rounded up to 4, B streams, units innermost; padding stays 0:
gates, their moments float[N/16, X + 2, 2, 16] (rows x, own c-, 1; gates z, f); trace, of each block of 16 units, first
float[X/4, B, 4, 2, 16], so that four rows are one stream of memory, then float[B, 2, 2, 16] of the rows c- and 1;
out float[N + X + 1, N] (rows c, x, 1); source float[B, N + X + 1];
before, d, zh, fh, o float[N/16, B, 16]; h, q float[B, N + 16]; delta, sums float[B, N].
"""

import numpy as np
from numba import njit

from rl._kernels.lanes import fill, fma, inlined, load, part, sigmoid, splat, store, tanh, totals
from rl._kernels.updating import any_set, begin_update, learned, read_out

_SHARED = 0x13A0AC63  # CRC-32 of lanes.py and updating.py: see there


@inlined
def _recurrence(gates, held, at, own, az, af):
    """Take the step of 16 units of one stream from their sums without the own weights; return c."""
    _, _, before, d, zh, fh = held[:6]
    c = load(before, at)
    wz, wf = load(gates, own), load(gates, own + 16)
    z, f = tanh(fma(wz, c, az)), sigmoid(fma(wf, c, af))
    one = fill(z, 1.0)
    rest = one - f
    to_z, to_f = rest * (one - z * z), (c - z) * f * rest
    store(zh, at, to_z)
    store(fh, at, to_f)
    store(d, at, fma(to_z, wz, fma(to_f, wf, f)))
    return fma(f, c, rest * z)


@part
def _deltas(held, hyper, n_lanes, n_streams):
    """Fill delta = q c o (1 - o) times hyper[0], so that adding delta * source is a step of gradient descent."""
    _, source, _, _, _, _, o, _, q, delta = held[:10]
    n_rows = source.shape[0] // n_streams
    for b in range(n_streams):
        for m in range(0, n_lanes, 16):
            gate = load(o, (m // 16 * n_streams + b) * 16)
            rest = fill(gate, 1.0) - gate
            back = load(q, b * (n_lanes + 16) + m) * load(source, b * n_rows + m) * gate * rest
            store(delta, b * n_lanes + m, back * splat(hyper, 0))


@inlined
def _back(out, delta, row, n_lanes):
    """Return W_oc^T delta of the 16 units from `row` on."""
    zero = fill(load(delta, 0), 0.0)
    t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = t8 = t9 = t10 = t11 = t12 = t13 = t14 = t15 = zero
    n = n_lanes
    for m in range(0, n, 16):
        e = load(delta, m)
        i = row * n + m
        t0, t1 = fma(load(out, i), e, t0), fma(load(out, i + n), e, t1)
        t2, t3 = fma(load(out, i + 2 * n), e, t2), fma(load(out, i + 3 * n), e, t3)
        t4, t5 = fma(load(out, i + 4 * n), e, t4), fma(load(out, i + 5 * n), e, t5)
        t6, t7 = fma(load(out, i + 6 * n), e, t6), fma(load(out, i + 7 * n), e, t7)
        t8, t9 = fma(load(out, i + 8 * n), e, t8), fma(load(out, i + 9 * n), e, t9)
        t10, t11 = fma(load(out, i + 10 * n), e, t10), fma(load(out, i + 11 * n), e, t11)
        t12, t13 = fma(load(out, i + 12 * n), e, t12), fma(load(out, i + 13 * n), e, t13)
        t14, t15 = fma(load(out, i + 14 * n), e, t14), fma(load(out, i + 15 * n), e, t15)
    return totals((t0, t1, t2, t3, t4, t5, t6, t7, t8, t9, t10, t11, t12, t13, t14, t15))


@inlined
def _out_rows(out, kept, moments, held, hyper, row, n_rows, nexts, next_at, n_lanes, work):
    """Step rows of the output gate's weights by source * delta, and add those times what is next to the sums."""
    learn, forward = work
    m1, m2 = moments
    source, delta, sums = held[1], held[9], held[10]
    for r in range(row, row + n_rows - n_rows % 4, 4):
        s0, s1, s2, s3 = splat(source, r), splat(source, r + 1), splat(source, r + 2), splat(source, r + 3)
        at = next_at + r - row
        x0, x1, x2, x3 = splat(nexts, at), splat(nexts, at + 1), splat(nexts, at + 2), splat(nexts, at + 3)
        for m in range(0, n_lanes, 16):
            i0 = r * n_lanes + m
            i1, i2, i3 = i0 + n_lanes, i0 + 2 * n_lanes, i0 + 3 * n_lanes
            w0, w1, w2, w3 = load(out, i0), load(out, i1), load(out, i2), load(out, i3)
            if learn:
                e = load(delta, m)
                w0 = learned(out, i0, w0, e, s0, kept, m1, m2, hyper)
                w1 = learned(out, i1, w1, e, s1, kept, m1, m2, hyper)
                w2 = learned(out, i2, w2, e, s2, kept, m1, m2, hyper)
                w3 = learned(out, i3, w3, e, s3, kept, m1, m2, hyper)
            if forward:
                store(sums, m, fma(w3, x3, fma(w2, x2, fma(w1, x1, fma(w0, x0, load(sums, m))))))
    for r in range(row + n_rows - n_rows % 4, row + n_rows):
        s, x = splat(source, r), splat(nexts, next_at + r - row)
        for m in range(0, n_lanes, 16):
            i = r * n_lanes + m
            w = load(out, i)
            if learn:
                w = learned(out, i, w, load(delta, m), s, kept, m1, m2, hyper)
            if forward:
                store(sums, m, fma(w, x, load(sums, m)))


@part
def _sweep_one(weights, moments, hyper, held, x, x_at, n_inputs, n_lanes, work):
    """Finish the last step of a single stream (work[0]: sensitivities, [1]: weights), and take the next ([2]).

    Units go through in groups whose rows of the output gate's weights fit the level-1 cache: those are read twice.
    """
    out, out_kept, om, ov = weights[1], weights[3], moments[2], moments[3]
    source, o, h, q, delta, sums, ones = held[1], held[6], held[7], held[8], held[9], held[10], held[11]
    _, learn, forward = work
    n_padded = (n_inputs + 3) // 4 * 4
    group = max(512 // n_lanes, 1) * 16
    if learn:
        _deltas(held, hyper, n_lanes, 1)
    if forward:
        for m in range(0, n_lanes, 16):
            store(sums, m, fill(load(h, 0), 0.0))
    for g in range(0, n_lanes, group):
        end = min(g + group, n_lanes)
        if learn:
            for m in range(g, end, 16):
                store(q, m, fma(load(q, m) * load(o, m), splat(hyper, 0), _back(out, delta, m, n_lanes)))
        for m in range(g, end, 16):
            _units_one(weights, moments, hyper, held, m, x, x_at, n_inputs, n_lanes, work)
        if learn or forward:
            _out_rows(out, out_kept, (om, ov), held, hyper, g, end - g, h, g, n_lanes, (learn, forward))
        if forward:
            for m in range(g, end, 16):
                store(source, m, load(h, m))
    if learn or forward:
        row = n_lanes
        _out_rows(out, out_kept, (om, ov), held, hyper, row, n_inputs, x, x_at, n_lanes, (learn, forward))
        row += n_padded
        _out_rows(out, out_kept, (om, ov), held, hyper, row, 1, ones, 0, n_lanes, (learn, forward))
    if forward:
        for k in range(n_inputs):
            source[n_lanes + k] = x[x_at + k]
        _outputs(held, n_lanes, 1)


@inlined
def _units_one(weights, moments, hyper, held, m, x, x_at, n_inputs, n_lanes, work):
    """Do the gates of 16 units: sensitivities, weights by u = dL/dc in q, the next c, which goes to h for the while."""
    gates, kept, gm, gv = weights[0], weights[2], moments[0], moments[1]
    trace, source, before, d, zh, fh, _, h, q = held[:9]
    advance, learn, forward = work
    n_padded = (n_inputs + 3) // 4 * 4
    first = m * (n_padded + 2) * 2
    dm, zm, fm, u = load(d, m), load(zh, m), load(fh, m), load(q, m)
    az = af = fill(u, 0.0)
    for k in range(n_inputs):
        i = first + 32 * k
        w0, w1 = load(gates, i), load(gates, i + 16)
        if advance:
            xk = splat(source, n_lanes + k)
            t0, t1 = fma(dm, load(trace, i), zm * xk), fma(dm, load(trace, i + 16), fm * xk)
            store(trace, i, t0)
            store(trace, i + 16, t1)
            if learn:
                w0 = learned(gates, i, w0, u, t0, kept, gm, gv, hyper)
                w1 = learned(gates, i + 16, w1, u, t1, kept, gm, gv, hyper)
        if forward:
            xn = splat(x, x_at + k)
            az, af = fma(w0, xn, az), fma(w1, xn, af)
    own = first + 32 * n_padded
    if advance:
        for i, reads in ((own, load(before, m)), (own + 32, fill(u, 1.0))):
            t0, t1 = fma(dm, load(trace, i), zm * reads), fma(dm, load(trace, i + 16), fm * reads)
            store(trace, i, t0)
            store(trace, i + 16, t1)
            if learn:
                learned(gates, i, load(gates, i), u, t0, kept, gm, gv, hyper)
                learned(gates, i + 16, load(gates, i + 16), u, t1, kept, gm, gv, hyper)
    if forward:
        store(before, m, load(source, m))
        az, af = az + load(gates, own + 32), af + load(gates, own + 48)
        store(h, m, _recurrence(gates, held, m, own, az, af))


@part
def _outputs(held, n_lanes, n_streams):
    """Fill o and h = c o from the output gate's sums."""
    source, o, h, sums = held[1], held[6], held[7], held[10]
    n_rows = source.shape[0] // n_streams
    for b in range(n_streams):
        for m in range(0, n_lanes, 16):
            gate = sigmoid(load(sums, b * n_lanes + m))
            store(o, (m // 16 * n_streams + b) * 16, gate)
            store(h, b * (n_lanes + 16) + m, load(source, b * n_rows + m) * gate)


@part
def _reset(held, chosen, at, n_inputs, n_lanes, n_streams):
    """Start the streams anew whose entry in chosen[at:] is set."""
    trace, source = held[:2]
    n_fours = (n_inputs + 3) // 4
    of_block = (4 * n_fours + 2) * n_streams * 32
    zero = fill(load(source, 0), 0.0)
    for b in range(n_streams):
        if chosen[at + b]:
            for m in range(0, n_lanes, 16):
                store(source, b * (source.shape[0] // n_streams) + m, zero)
                first = m // 16 * of_block
                for four in range(n_fours):
                    for i in range(0, 128, 16):
                        store(trace, first + (four * n_streams + b) * 128 + i, zero)
                for i in range(0, 64, 16):
                    store(trace, first + n_fours * n_streams * 128 + b * 64 + i, zero)


@njit(cache=True, _nrt=False)
def run_one(weights, moments, hyper, rates, counts, held, sizes, data, readout, results):
    """Take `sizes[3]` steps of a single stream, finishing on the way what the one before left to do.

    Parameters
    ----------
    weights, moments : tuple
        gates, out, and which of each are kept; Adam's two moments of each; empty where there are none.
    hyper, rates, counts
        See `updating.learned`; counts int64[2]: updates, and what is pending: 0, 1 sensitivities, 2 weights as well.
    held : tuple
        trace, source, before, d, zh, fh, o, h, q, delta, sums, one float[1], and scratch: of the size of out, and
        float[B, 16]; see the module.
    sizes : seven int64
        n_inputs, N, B, steps, loss (0: none; see `updating.read_out`), whether to learn, whether to leave nothing
        pending at the end.
    data : tuple
        x float[steps * B * n_inputs], targets float[steps * B * outputs], labels int64[steps * B], resets
        bool[steps * B], taking effect before the step; what is not there has no entry.
    results : tuple
        errors float[B * outputs], outputs float[steps * B * outputs], losses float64[steps * B].
    """
    n_inputs, n_lanes, n_streams, n_steps, loss, learn, finish = sizes
    t = 0
    while t < n_steps or (finish and counts[1]):
        resetting = t < n_steps and any_set(data[3], t * n_streams, n_streams)
        forward = t < n_steps and not (resetting and counts[1])
        if resetting and forward:
            _reset(held, data[3], t * n_streams, n_inputs, n_lanes, n_streams)
        if counts[1] == 2:
            begin_update(hyper, rates, counts)
        work = (counts[1] > 0, counts[1] == 2, forward)
        x, x_at = (data[0], t * n_inputs) if forward else (held[1], n_lanes)
        _sweep_one(weights, moments, hyper, held, x, x_at, n_inputs, n_lanes, work)
        counts[1] = 0
        if forward:
            counts[1] = 1
            if loss:
                passed = (held[7], held[8], results[0])
                read_out(readout, passed, n_lanes + 16, 1, loss, data[1:3], results[1:], t)
                counts[1] = 2 if learn else 1
            t += 1


@njit(no_cpython_wrapper=True, no_cfunc_wrapper=True)
def _sweep_batch(weights, moments, hyper, held, x, x_at, n_inputs, n_lanes, n_streams, work):
    """Finish and take a step of several streams; the output gate's products go through the BLAS."""
    out, out_kept, om, ov = weights[1], weights[3], moments[2], moments[3]
    source, delta, sums, scratch = held[1], held[9], held[10], held[12]
    n_rows = n_lanes + (n_inputs + 3) // 4 * 4 + 1
    out2, source2 = out.reshape(n_rows, n_lanes), source.reshape(n_streams, n_rows)
    delta2, sums2 = delta.reshape(n_streams, n_lanes), sums.reshape(n_streams, n_lanes)
    if work[1]:
        _deltas(held, hyper, n_lanes, n_streams)
        np.dot(delta2, out2[:n_lanes].T, sums2)
    if work[0]:
        _traces_batch(weights, moments, hyper, held, n_inputs, n_lanes, n_streams, work[1])
    if work[1]:
        np.dot(source2.T, delta2, scratch.reshape(n_rows, n_lanes))
        one = fill(load(delta, 0), 1.0)
        for i in range(0, n_rows * n_lanes, 16):
            learned(out, i, load(out, i), load(scratch, i), one, out_kept, om, ov, hyper)
    if work[2]:
        _forward_batch(weights[0], held, x, x_at, n_inputs, n_lanes, n_streams)
        np.dot(source2, out2, sums2)
        _outputs(held, n_lanes, n_streams)


@part
def _traces_batch(weights, moments, hyper, held, n_inputs, n_lanes, n_streams, learn):
    """Advance the sensitivities of every stream and step the gates by their sum over the streams."""
    gates, kept, gm, gv = weights[0], weights[2], moments[0], moments[1]
    d, o, q, sums = held[3], held[6], held[8], held[10]
    n_padded = (n_inputs + 3) // 4 * 4
    u = held[13]
    one = fill(load(d, 0), 1.0)
    for m in range(0, n_lanes, 16):
        if learn:
            for b in range(n_streams):
                i = (m // 16 * n_streams + b) * 16
                back = load(sums, b * n_lanes + m)
                store(u, b * 16, fma(load(q, b * (n_lanes + 16) + m) * load(o, i), splat(hyper, 0), back))
        first = m // 16 * (n_padded + 2)
        for k in range(0, n_padded, 4):
            gradients = _four_rows(held, (first + k) * n_streams * 32, m // 16, n_lanes + k, n_streams)
            if learn:
                i = (first + k) * 32
                for g in gradients:
                    learned(gates, i, load(gates, i), g, one, kept, gm, gv, hyper)
                    i += 16
        own_gradients = _own_rows(held, (first + n_padded) * n_streams * 32, m // 16, n_streams)
        if learn:
            i = (first + n_padded) * 32
            for g in own_gradients:
                learned(gates, i, load(gates, i), g, one, kept, gm, gv, hyper)
                i += 16


@inlined
def _four_rows(held, i, block, reads, n_streams):
    """Advance four rows of sensitivities of 16 units in every stream; return their gradients, z's and f's in turn.

    What the rows share - d, zh, fh, u of 128 streams fill a level-1 cache - is read once for the four.
    """
    trace, source, _, d, zh, fh = held[:6]
    u = held[13]
    n_sources = source.shape[0] // n_streams
    g0 = g1 = g2 = g3 = g4 = g5 = g6 = g7 = fill(load(d, 0), 0.0)
    j, at = block * n_streams * 16, reads
    for b in range(n_streams):
        x0, x1, x2, x3 = splat(source, at), splat(source, at + 1), splat(source, at + 2), splat(source, at + 3)
        decay, to_z, to_f, s = load(d, j), load(zh, j), load(fh, j), load(u, b * 16)
        t0, t1 = fma(decay, load(trace, i), to_z * x0), fma(decay, load(trace, i + 16), to_f * x0)
        t2, t3 = fma(decay, load(trace, i + 32), to_z * x1), fma(decay, load(trace, i + 48), to_f * x1)
        t4, t5 = fma(decay, load(trace, i + 64), to_z * x2), fma(decay, load(trace, i + 80), to_f * x2)
        t6, t7 = fma(decay, load(trace, i + 96), to_z * x3), fma(decay, load(trace, i + 112), to_f * x3)
        store(trace, i, t0)
        store(trace, i + 16, t1)
        store(trace, i + 32, t2)
        store(trace, i + 48, t3)
        store(trace, i + 64, t4)
        store(trace, i + 80, t5)
        store(trace, i + 96, t6)
        store(trace, i + 112, t7)
        g0, g1, g2, g3 = fma(s, t0, g0), fma(s, t1, g1), fma(s, t2, g2), fma(s, t3, g3)
        g4, g5, g6, g7 = fma(s, t4, g4), fma(s, t5, g5), fma(s, t6, g6), fma(s, t7, g7)
        i, j, at = i + 128, j + 16, at + n_sources
    return g0, g1, g2, g3, g4, g5, g6, g7


@inlined
def _own_rows(held, i, block, n_streams):
    """Do the same for the own weights, which read c-, and the biases."""
    trace, _, before, d, zh, fh = held[:6]
    u = held[13]
    g0 = g1 = g2 = g3 = fill(load(d, 0), 0.0)
    j = block * n_streams * 16
    for b in range(n_streams):
        decay, to_z, to_f, x, s = load(d, j), load(zh, j), load(fh, j), load(before, j), load(u, b * 16)
        t0, t1 = fma(decay, load(trace, i), to_z * x), fma(decay, load(trace, i + 16), to_f * x)
        t2, t3 = fma(decay, load(trace, i + 32), to_z), fma(decay, load(trace, i + 48), to_f)
        store(trace, i, t0)
        store(trace, i + 16, t1)
        store(trace, i + 32, t2)
        store(trace, i + 48, t3)
        g0, g1, g2, g3 = fma(s, t0, g0), fma(s, t1, g1), fma(s, t2, g2), fma(s, t3, g3)
        i, j = i + 64, j + 16
    return g0, g1, g2, g3


@part
def _forward_batch(gates, held, x, x_at, n_inputs, n_lanes, n_streams):
    """Take a step of every stream up to c; four streams share a pass over a block's weights."""
    source, before = held[1], held[2]
    n_padded = (n_inputs + 3) // 4 * 4
    n_sources = source.shape[0] // n_streams
    for m in range(0, n_lanes, 16):
        first = m * (n_padded + 2) * 2
        own = first + 32 * n_padded
        for b in range(0, n_streams, 4):
            a0, a1 = load(gates, own + 32), load(gates, own + 48)
            z0, z1, z2, z3, f0, f1, f2, f3 = a0, a0, a0, a0, a1, a1, a1, a1
            # The last ones are taken twice where 4 does not divide the streams.
            last = n_streams - 1
            b1, b2, b3 = min(b + 1, last), min(b + 2, last), min(b + 3, last)
            for k in range(n_inputs):
                w0, w1 = load(gates, first + 32 * k), load(gates, first + 32 * k + 16)
                at = x_at + k
                r0, r1 = splat(x, at + b * n_inputs), splat(x, at + b1 * n_inputs)
                r2, r3 = splat(x, at + b2 * n_inputs), splat(x, at + b3 * n_inputs)
                z0, z1, z2, z3 = fma(w0, r0, z0), fma(w0, r1, z1), fma(w0, r2, z2), fma(w0, r3, z3)
                f0, f1, f2, f3 = fma(w1, r0, f0), fma(w1, r1, f1), fma(w1, r2, f2), fma(w1, r3, f3)
            for j, az, af in ((b, z0, f0), (b + 1, z1, f1), (b + 2, z2, f2), (b + 3, z3, f3)):
                if j < n_streams:
                    i = (m // 16 * n_streams + j) * 16
                    store(before, i, load(source, j * n_sources + m))
                    store(source, j * n_sources + m, _recurrence(gates, held, i, own, az, af))
    for b in range(n_streams):
        for k in range(n_inputs):
            source[b * n_sources + n_lanes + k] = x[x_at + b * n_inputs + k]


@njit(cache=True)
def run_batch(weights, moments, hyper, rates, counts, held, sizes, data, readout, results):
    """Take `sizes[3]` steps of several streams, finishing on the way what the one before left to do.

    Parameters as of `run_one`.
    """
    n_inputs, n_lanes, n_streams, n_steps, loss, learn, finish = sizes
    t = 0
    while t < n_steps or (finish and counts[1]):
        resetting = t < n_steps and any_set(data[3], t * n_streams, n_streams)
        forward = t < n_steps and not (resetting and counts[1])
        if resetting and forward:
            _reset(held, data[3], t * n_streams, n_inputs, n_lanes, n_streams)
        if counts[1] == 2:
            begin_update(hyper, rates, counts)
        work = (counts[1] > 0, counts[1] == 2, forward)
        _sweep_batch(
            weights, moments, hyper, held, data[0], t * n_streams * n_inputs, n_inputs, n_lanes, n_streams, work
        )
        counts[1] = 0
        if forward:
            counts[1] = 1
            if loss:
                passed = (held[7], held[8], results[0])
                read_out(readout, passed, n_lanes + 16, n_streams, loss, data[1:3], results[1:], t)
                counts[1] = 2 if learn else 1
            t += 1
