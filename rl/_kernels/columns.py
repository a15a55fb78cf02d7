"""A stretch of steps of a network of LSTM columns: forward, exact sensitivities, TD(lambda), RMSProp, normalisation.

(Javed et al. 2023.) One call is as many steps as the caller has, all in one stage. Floats share one dtype.

Layout. Units come in blocks of `lanes`, and a vector of W = 4 lanes numbers is gate by gate, i f o g, the units of a
block within each. `learning` holds, block by block and source by source - the inputs of a column, its own h-, 1 -,
five such vectors: w, m (running mean of squared steps), e (eligibility), TH = dh/dw, TC = dc/dw. W is known when the
kernel is compiled, and everything lies at a constant distance, so that a source is a few vector instructions without
a check for overlap, and a sweep reads memory once, in order.

The order of a step is that of `tests/naive/ccn.py`: e' = gamma lambda e + grad p, p', delta, RMSProp. All of it that
touches a weight, and the sums that the next step begins with, are one sweep. The file is long because numba's cache
watches a kernel's own file only.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _expm1(y, k):
    """Return exp(y) - 1 for -40 <= y <= 0: a series of y / 256, doubled eight times by (q + 2) q; 4 ulp."""
    y = y * k[0]
    q = k[1]
    q = q * y + k[2]
    q = q * y + k[3]
    q = q * y + k[4]
    q = q * y + k[5]
    q = q * y + k[6]
    q = q * y + k[7]
    q = q * y + k[8]
    q = q * y + k[9]
    q = q * y + k[10]
    q = q * y * y + y
    two = k[11]
    q = q * q + two * q
    q = q * q + two * q
    q = q * q + two * q
    q = q * q + two * q
    q = q * q + two * q
    q = q * q + two * q
    q = q * q + two * q
    return q * q + two * q


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _series(like):
    # 2^-8, then 1/11! .. 1/2!, then 2: as numbers of the arrays' type, which literals would promote.
    r = like.dtype.type
    return (
        r(0.00390625), r(1 / 39916800), r(1 / 3628800), r(1 / 362880), r(1 / 40320), r(1 / 5040), r(1 / 720),
        r(1 / 120), r(1 / 24), r(1 / 6), r(0.5), r(2.0),
    )  # fmt: skip


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _activate(a, start, n_sigmoid, n_tanh, k):
    """Replace `n_sigmoid` sums from `start` on by their sigmoid, the `n_tanh` after them by their tanh."""
    two = k[11]
    zero = two - two
    one = two - k[10] - k[10]
    far = a.dtype.type(40.0)
    for j in range(n_sigmoid):
        v = a[start + np.uint64(j)]
        y = -v if v > zero else v
        q = _expm1(-far if y < -far else y, k)
        a[start + np.uint64(j)] = (one if v > zero else one + q) / (two + q)
    start += np.uint64(n_sigmoid)
    for j in range(n_tanh):
        v = a[start + np.uint64(j)]
        y = two * (-v if v > zero else v)
        q = _expm1(-far if y < -far else y, k)
        t = q / (two + q)
        a[start + np.uint64(j)] = -t if v > zero else t


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _normalise(value, averages, i, statistics):
    # In float32 beta v + (1 - beta) d^2 has another fixed point: beta is rounded, 1 - beta is not.
    rest, cap, tiny = statistics
    m = averages[0, i] + rest * (value - averages[0, i])
    m = value - value if abs(m) < tiny else m
    d = value - m
    s = averages[1, i] + rest * (d * d - averages[1, i])
    s = cap if s < cap else s
    averages[0, i] = m
    averages[1, i] = s
    return d / np.sqrt(s)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _frozen_forward(stage, weights, averages, at, xs, t, raw, hc, inputs, a, k, lanes):
    """Advance a stage that has ended: its features go to `raw`, its state to `hc`."""
    n_inputs, n_sources, n_units, n_padded, first_weight, first_input = at
    L = len(lanes)
    W = 4 * L
    for i in range(n_inputs):
        inputs[i] = (xs[t, i] - averages[0, first_input + i]) * averages[1, first_input + i]
    i = n_inputs
    for earlier in range(stage):
        for unit in range(n_units):
            inputs[i] = (raw[earlier * n_padded + unit] - averages[0, first_input + i]) * averages[1, first_input + i]
            i += 1
    for b in range(n_padded // L):
        base = np.uint64(first_weight + b * n_sources * W)
        out = np.uint64(b * W)
        here = np.uint64(stage * n_padded + b * L)
        own = base + np.uint64((n_sources - 2) * W)
        for j in range(W):
            uj = np.uint64(j)
            a[out + uj] = weights[own + uj] * hc[0, here + np.uint64(j % L)] + weights[own + np.uint64(W + j)]
        for four in range((n_sources - 2) // 4):  # the sums wait for their own last store: once in four sources
            x0, x1, x2, x3 = inputs[4 * four], inputs[4 * four + 1], inputs[4 * four + 2], inputs[4 * four + 3]
            row = base + np.uint64(4 * four * W)
            for j in range(W):
                p = row + np.uint64(j)
                a[out + np.uint64(j)] += (weights[p] * x0 + weights[p + np.uint64(W)] * x1) + (
                    weights[p + np.uint64(2 * W)] * x2 + weights[p + np.uint64(3 * W)] * x3
                )
        for rest in range((n_sources - 2) // 4 * 4, n_sources - 2):
            value = inputs[rest]
            row = base + np.uint64(rest * W)
            for j in range(W):
                a[out + np.uint64(j)] += weights[row + np.uint64(j)] * value
        _activate(a, out, 3 * L, L, k)
        for j in range(L):
            uj = np.uint64(j)
            c = a[out + np.uint64(L + j)] * hc[1, here + uj] + a[out + uj] * a[out + np.uint64(3 * L + j)]
            hc[1, here + uj] = c
            a[out + uj] = c
        _activate(a, out, 0, L, k)
        for j in range(L):
            uj = np.uint64(j)
            h = a[out + np.uint64(2 * L + j)] * a[out + uj]
            hc[0, here + uj] = h
            raw[here + uj] = h


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _first_sums(learning, n_sources, n_blocks, phi, own, a, lanes):
    """Fill `a` with the sums of the learning stage for the inputs `phi` and h- `own`."""
    W = 4 * len(lanes)
    zero = a.dtype.type(0)
    for b in range(n_blocks):
        out = np.uint64(b * W)
        base = np.uint64(b * n_sources * 5 * W)
        for j in range(W):
            a[out + np.uint64(j)] = zero
        for i in range(n_sources):
            row = base + np.uint64(i * 5 * W)
            if i == n_sources - 2:
                for j in range(W):
                    a[out + np.uint64(j)] += learning[row + np.uint64(j)] * own[out + np.uint64(j)]
            else:
                value = phi[i]
                for j in range(W):
                    a[out + np.uint64(j)] += learning[row + np.uint64(j)] * value


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _gates(learning, n_sources, b, a, h, c, first, factors, features, carries, k, lanes):
    """Advance block `b`: its h and c, and the factors of the sweep f, A, B, E, s, k of c, k of h, gate by gate."""
    L = len(lanes)
    W = 4 * L
    one = a.dtype.type(1)
    zero = a.dtype.type(0)
    out = np.uint64(b * W)
    base = np.uint64(b * 9 * W)
    u = np.uint64((b * n_sources + n_sources - 2) * 5 * W)
    here = np.uint64(b * L)
    feature = np.uint64((first + b * L) * 6)
    _activate(a, out, 3 * L, L, k)
    for j in range(L):
        uj = np.uint64(j)
        cj = a[out + np.uint64(L + j)] * c[here + uj] + a[out + uj] * a[out + np.uint64(3 * L + j)]
        factors[base + uj] = cj
    _activate(factors, base, 0, L, k)
    for j in range(L):
        uj = np.uint64(j)
        i = a[out + uj]
        f = a[out + np.uint64(L + j)]
        o = a[out + np.uint64(2 * L + j)]
        g = a[out + np.uint64(3 * L + j)]
        before = c[here + uj]
        tanh_c = factors[base + uj]
        c[here + uj] = f * before + i * g
        h[here + uj] = o * tanh_c
        k_i = g * i * (one - i)
        k_f = before * f * (one - f)
        k_g = i * (one - g * g)
        k_o = tanh_c * o * (one - o)
        big_a = k_i * learning[u + uj] + k_f * learning[u + np.uint64(L + j)] + k_g * learning[u + np.uint64(3 * L + j)]
        slope = o * (one - tanh_c * tanh_c)
        # On an episode's first step TH and TC begin at 0 again: nothing of them is carried.
        carried_f = f * carries
        carried_a = big_a * carries
        carried_e = k_o * learning[u + np.uint64(2 * L + j)] * carries
        s = features[feature + uj] / np.sqrt(features[feature + np.uint64(5 * L + j)])
        for g4 in range(4):
            lane = np.uint64(g4 * L + j)
            factors[base + lane] = carried_f
            factors[base + np.uint64(W) + lane] = carried_a
            factors[base + np.uint64(2 * W) + lane] = slope
            factors[base + np.uint64(3 * W) + lane] = carried_e
            factors[base + np.uint64(4 * W) + lane] = s
            factors[base + np.uint64(6 * W) + lane] = zero
        factors[base + np.uint64(5 * W) + uj] = k_i
        factors[base + np.uint64(5 * W + L) + uj] = k_f
        factors[base + np.uint64(5 * W + 2 * L) + uj] = zero
        factors[base + np.uint64(5 * W + 3 * L) + uj] = k_g
        factors[base + np.uint64(6 * W + 2 * L) + uj] = k_o


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _sweep(learning, n_sources, b, factors, phi, coming, own, own_coming, a, numbers, lanes):
    """Learn block `b`'s weights, advance their traces and sensitivities, and add up the next step's sums."""
    decay, delta, step_size, m_rest, eps, tiny = numbers
    W = 4 * len(lanes)
    zero = a.dtype.type(0)
    out = np.uint64(b * W)
    F = np.uint64(b * 9 * W)
    A, B, E, S = F + np.uint64(W), F + np.uint64(2 * W), F + np.uint64(3 * W), F + np.uint64(4 * W)
    size = step_size * delta
    for j0 in range(W):
        j = np.uint64(j0)
        a[out + j] = zero
        factors[F + np.uint64(7 * W) + j] = factors[F + np.uint64(5 * W) + j] * own[out + j]
        factors[F + np.uint64(8 * W) + j] = factors[F + np.uint64(6 * W) + j] * own[out + j]
    for i in range(n_sources):
        w_at = np.uint64((b * n_sources + i) * 5 * W)
        m_at, e_at = w_at + np.uint64(W), w_at + np.uint64(2 * W)
        h_at, c_at = w_at + np.uint64(3 * W), w_at + np.uint64(4 * W)
        is_own = i == n_sources - 2  # h- differs from unit to unit: it is in the factors, and in sums of its own
        x, x_coming = phi[i], coming[i]
        K = F + np.uint64((7 if is_own else 5) * W)
        O = K + np.uint64(W)  # noqa: E741 - the output gate
        for j0 in range(W):
            j = np.uint64(j0)
            th = learning[h_at + j]
            e = decay * learning[e_at + j] + factors[S + j] * th
            step = delta * e
            m = learning[m_at + j]
            m = m + m_rest * (step * step - m)
            m = zero if m < tiny else m
            w = learning[w_at + j] + size * e / (np.sqrt(m) + eps)
            tc = factors[F + j] * learning[c_at + j] + factors[A + j] * th + factors[K + j] * x
            learning[w_at + j] = w
            learning[m_at + j] = m
            learning[e_at + j] = e
            learning[h_at + j] = factors[B + j] * tc + factors[E + j] * th + factors[O + j] * x
            learning[c_at + j] = tc
            a[out + j] += w * x_coming
        if is_own:
            for j0 in range(W):
                a[out + np.uint64(j0)] += learning[w_at + np.uint64(j0)] * own_coming[out + np.uint64(j0)]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _predict(features, raw, n_open, scalars, decay, gain, statistics, sums, lanes):
    """Take hh into the readout's traces, normalise the new features, and return the prediction.

    `features` holds, block by block of `lanes`: readout weight, its m and e, hh, mu and v. `sums` is scratch.
    """
    rest, cap, tiny = statistics
    L = len(lanes)
    zero = raw.dtype.type(0)
    for jj in range(L):  # independent sums: no addition waits for the last
        sums[jj] = zero
    for b in range(n_open // L):
        base = np.uint64(b * 6 * L)
        here = np.uint64(b * L)
        for jj in range(L):
            j = np.uint64(jj)
            e_at = base + np.uint64(2 * L) + j
            hh_at = base + np.uint64(3 * L) + j
            mu_at = base + np.uint64(4 * L) + j
            v_at = base + np.uint64(5 * L) + j
            features[e_at] = decay * features[e_at] + gain * features[hh_at]
            value = raw[here + j]
            mu = features[mu_at] + rest * (value - features[mu_at])
            mu = zero if abs(mu) < tiny else mu
            d = value - mu
            v = features[v_at] + rest * (d * d - features[v_at])
            v = cap if v < cap else v
            hh = d / np.sqrt(v)
            features[mu_at] = mu
            features[v_at] = v
            features[hh_at] = hh
            sums[j] += features[base + j] * hh
    scalars[2] = decay * scalars[2] + gain
    p = scalars[0]
    for jj in range(L):
        p += sums[jj]
    return p


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _learn_readout(features, n_open, scalars, numbers, lanes):
    """Take RMSProp's step of the readout and the bias."""
    delta, step_size, m_rest, eps, tiny = numbers
    L = len(lanes)
    zero = delta - delta
    size = step_size * delta
    for b in range(n_open // L):
        base = np.uint64(b * 6 * L)
        for jj in range(L):
            j = base + np.uint64(jj)
            e = features[j + np.uint64(2 * L)]
            step = delta * e
            m = features[j + np.uint64(L)]
            m = m + m_rest * (step * step - m)
            m = zero if m < tiny else m
            features[j + np.uint64(L)] = m
            features[j] += size * e / (np.sqrt(m) + eps)
    step = delta * scalars[2]
    scalars[1] += m_rest * (step * step - scalars[1])
    scalars[0] += size * scalars[2] / (np.sqrt(scalars[1]) + eps)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _see(averages, frozen, frozen_averages, raw, hc, sizes, xs, t, statistics, coming, own_coming, a, k, lanes):
    """Run the ended stages on `xs[t]`, and fill the learning stage's normalised inputs and its h-, gate by gate."""
    n_inputs, stage, n_units, n_padded = sizes[0], sizes[1], sizes[2], sizes[3]
    L = len(lanes)
    W = 4 * L
    n_blocks = n_padded // L
    at_weight, at_input = 0, 0
    for s in range(stage):
        n_there = n_inputs + s * n_units + 2
        at = (n_inputs, n_there, n_units, n_padded, at_weight, at_input)
        # What the learning stage reads is written after the last ended one has used the place.
        _frozen_forward(s, frozen, frozen_averages, at, xs, t, raw, hc, coming, a, k, lanes)
        at_weight += n_blocks * n_there * W
        at_input += n_there - 2
    for i in range(n_inputs):
        coming[i] = _normalise(xs[t, i], averages, i, statistics)
    i = n_inputs
    for s in range(stage):
        for unit in range(n_units):
            coming[i] = _normalise(raw[s * n_padded + unit], averages, i, statistics)
            i += 1
    for b in range(n_blocks):
        for j in range(W):
            own_coming[b * W + j] = hc[0, stage * n_padded + b * L + j % L]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def run(state, sizes, numbers, lanes, xs, cumulants, discounts, predictions):
    """Take len(xs) steps within one stage; fill `predictions`.

    Parameters
    ----------
    state : tuple of arrays, all changed
        learning : float[blocks * n_sources * 5 * W]
        averages : float[2, n_sources - 2], mu and v of the learning stage's inputs
        frozen : float[...], w of the ended stages, stage by stage [block, source, W]
        frozen_averages : float[2, ...], their mu and 1 / sqrt v
        features : float[n_padded * 6], see `_predict`
        raw, hc : float[n_padded], float[2, n_padded]: h of every feature, and h and c of its cell
        scalars : float[6]: bias, its m and e; the last prediction, the last discount, whether there was a step
    sizes : int64[4]
        Inputs, the learning stage's number, units a stage, and the same rounded up to whole blocks.
    numbers : float[8]
        trace decay, step size of the columns and of the readout, 1 - the decay of m, eps; 1 - beta, cap; the size
        below which m and mu become 0, before they are denormal.
    lanes : tuple
        As long as a block has units.
    xs, cumulants, discounts : float[n, n_inputs], float[n], float[n]
    predictions : float[n]
    """
    learning, averages, frozen, frozen_averages, features, raw, hc, scalars = state
    stage, n_padded = sizes[1], sizes[3]
    W = 4 * len(lanes)
    n_blocks = n_padded // len(lanes)
    n_sources = sizes[0] + stage * sizes[2] + 2
    first = stage * n_padded
    real = raw.dtype.type
    one, zero = real(1), real(0)
    statistics = (numbers[5], numbers[6], numbers[7])
    k = _series(raw)
    h, c = hc[0, first : first + n_padded], hc[1, first : first + n_padded]
    a, scratch = np.empty(n_blocks * W, raw.dtype), np.empty(W * n_blocks, raw.dtype)
    own, own_coming = np.empty(n_blocks * W, raw.dtype), np.empty(n_blocks * W, raw.dtype)
    factors = np.empty(n_blocks * 9 * W, raw.dtype)
    phi, coming = np.ones(n_sources, raw.dtype), np.ones(n_sources, raw.dtype)
    for t in range(-1, len(xs)):
        if t >= 0:
            phi, coming = coming, phi
            phi[n_sources - 2], coming[n_sources - 2] = one, zero
            own, own_coming = own_coming, own
            learns = scalars[5]
            carries = zero if discounts[t] == zero else one
            decay = scalars[4] * numbers[0]
            for b in range(n_blocks):
                _gates(learning, n_sources, b, a, h, c, first, factors, features, carries, k, lanes)
            for j in range(n_padded):
                raw[first + j] = h[j]
            p = _predict(features, raw, first + n_padded, scalars, decay, learns, statistics, scratch, lanes)
            delta = (cumulants[t] + discounts[t] * p - scalars[3]) * learns
            m_rest = numbers[3] * learns
            of_readout = (delta, numbers[2], m_rest, numbers[4], numbers[7])
            of_columns = (decay, delta, numbers[1], m_rest, numbers[4], numbers[7])
            _learn_readout(features, first + n_padded, scalars, of_readout, lanes)
            scalars[3], scalars[4], scalars[5] = p, discounts[t], one
            predictions[t] = p
        if t + 1 < len(xs):
            if discounts[t + 1] == zero:
                hc[:] = zero
            _see(
                averages, frozen, frozen_averages, raw, hc, sizes, xs, t + 1, statistics, coming, own_coming, scratch,
                k, lanes,
            )  # fmt: skip
        if t >= 0:
            for b in range(n_blocks):
                _sweep(learning, n_sources, b, factors, phi, coming, own, own_coming, a, of_columns, lanes)
        else:
            _first_sums(learning, n_sources, n_blocks, coming, own_coming, a, lanes)
