"""A stretch of steps of a dense LSTM that predicts by TD(lambda): T-BPTT, SnAp-1 or UORO give the gradient.

Layout. Units are rounded up to a multiple of 4, those beyond have zeros for weights and stay 0. A row of G = 4 units
numbers, a multiple of 16, is gate by gate: i, f, o, g. `theta` is such a row a source: the normalised inputs, h- of
every unit, 1. Floats share one dtype. The order of a step is that of `tests/naive/ccn.py`; a file may only call
kernels of its own, so that the series of exp, the averages and the readout stand here again.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _activate(a, n_sigmoid, n, scratch):
    """Replace the first `n_sigmoid` of `a` by their sigmoid, those up to `n` by their tanh; n is a multiple of 4.

    exp(y) - 1 by a series of y / 256, doubled eight times by (q + 2) q.
    """
    r = a.dtype.type
    zero, one, two, far, small = r(0), r(1), r(2), r(40), r(0.00390625)
    c11, c10, c9, c8, c7 = r(1 / 39916800), r(1 / 3628800), r(1 / 362880), r(1 / 40320), r(1 / 5040)
    c6, c5, c4, c3, c2 = r(1 / 720), r(1 / 120), r(1 / 24), r(1 / 6), r(0.5)
    for b in range(n // 4):
        base = np.uint64(4 * b)
        for j in range(4):
            v = a[base + np.uint64(j)]
            y = -v if v > zero else v
            y = two * y if 4 * b >= n_sigmoid else y
            y = (-far if y < -far else y) * small
            q = c11 * y + c10
            q = q * y + c9
            q = q * y + c8
            q = q * y + c7
            q = q * y + c6
            q = q * y + c5
            q = q * y + c4
            q = q * y + c3
            q = q * y + c2
            q = q * y * y + y
            for _ in range(8):
                q = q * q + two * q
            scratch[j] = q
        for j in range(4):
            v = a[base + np.uint64(j)]
            q = scratch[j]
            if 4 * b >= n_sigmoid:
                a[base + np.uint64(j)] = (-q if v > zero else q) / (two + q)
            else:
                a[base + np.uint64(j)] = (one if v > zero else one + q) / (two + q)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add(out, start, row, at, factor, n):
    """out[start:] += factor * row[at:], n numbers, n a multiple of 16."""
    for b in range(n // 16):
        for j in range(16):
            out[np.uint64(start + 16 * b) + np.uint64(j)] += factor * row[np.uint64(at + 16 * b) + np.uint64(j)]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _normalise(values, mu, v, out, statistics):
    rest, cap, tiny = statistics
    zero = rest - rest
    for i in range(len(values)):
        m = mu[i] + rest * (values[i] - mu[i])
        m = zero if abs(m) < tiny else m
        d = values[i] - m
        s = v[i] + rest * (d * d - v[i])
        s = cap if s < cap else s
        mu[i] = m
        v[i] = s
        out[i] = d / np.sqrt(s)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _forward(theta, phi, hc, a, at, scratch):
    """Advance h and c; fill `at` float[7, units]: kI, kF, kO, kG, f, B, and tanh c on the way."""
    n = hc.shape[1]
    G = 4 * n
    one = a.dtype.type(1)
    a[:] = a.dtype.type(0)
    for i in range(len(phi)):
        _add(a, 0, theta, i * G, phi[i], G)
    _activate(a, 3 * n, G, scratch)
    for j in range(n):
        at[6, j] = a[n + j] * hc[1, j] + a[j] * a[3 * n + j]
    for j in range(n):
        at[4, j] = at[6, j]
    _activate(at[6], 0, n, scratch)
    for j in range(n):
        i, f, o, g = a[j], a[n + j], a[2 * n + j], a[3 * n + j]
        before, tanh_c = hc[1, j], at[6, j]
        hc[1, j] = at[4, j]
        hc[0, j] = o * tanh_c
        at[0, j] = g * i * (one - i)
        at[1, j] = before * f * (one - f)
        at[2, j] = tanh_c * o * (one - o)
        at[3, j] = i * (one - g * g)
        at[4, j] = f
        at[5, j] = o * (one - tanh_c * tanh_c)


# -- T-BPTT: a window of steps with the weights each was taken with ---------------------------------------------
@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _remember(theta, phi, at, n_inputs, window, carried):
    sources, factors, weights = carried
    n = at.shape[1]
    k = window[2]
    slot = (window[0] + 1) % k
    window[0] = slot
    window[1] = min(window[1] + 1, k)
    R, G = len(phi), 4 * n
    for i in range(R):
        sources[slot * R + i] = phi[i]
    for f in range(6):
        for j in range(n):
            factors[(slot * 6 + f) * n + j] = at[f, j]
    for column in range(G):  # transposed: the product back runs along the units
        for j in range(n):
            weights[(slot * G + column) * n + j] = theta[(n_inputs + j) * G + column]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _backpropagate(e, decay, q, n_sources, window, carried, deltas):
    """Set e to decay e + the gradient of q . h through the window; `deltas` float[k * G] is scratch."""
    sources, factors, weights = carried
    n = len(q)
    G = 4 * n
    k, count = window[2], window[1]
    dh, dc = q.copy(), np.zeros_like(q)
    for back in range(count):
        slot = (window[0] - back) % k
        first = slot * 6 * n
        d = back * G
        for j in range(n):
            through = dc[j] + factors[first + 5 * n + j] * dh[j]
            deltas[d + j] = factors[first + j] * through
            deltas[d + n + j] = factors[first + n + j] * through
            deltas[d + 2 * n + j] = factors[first + 2 * n + j] * dh[j]
            deltas[d + 3 * n + j] = factors[first + 3 * n + j] * through
            dc[j] = factors[first + 4 * n + j] * through
        dh[:] = q[0] - q[0]
        for column in range(G):
            value = deltas[d + column]
            row = np.uint64((slot * G + column) * n)
            for b in range(n // 4):
                for j in range(4):
                    dh[np.uint64(4 * b + j)] += value * weights[row + np.uint64(4 * b + j)]
    for i in range(n_sources):
        for b in range(G // 16):
            here = np.uint64(i * G + 16 * b)
            for j in range(16):
                e[here + np.uint64(j)] *= decay
            for back in range(count):
                value = sources[((window[0] - back) % k) * n_sources + i]
                row = np.uint64(back * G + 16 * b)
                for j in range(16):
                    e[here + np.uint64(j)] += value * deltas[row + np.uint64(j)]


# -- SnAp-1: a parameter's sensitivity of its own unit ------------------------------------------------------------
@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _advance_own(theta, phi, at, n_inputs, carried, rows):
    """Set TC' = f TC + A TH + k phi, TH' = B TC' + E TH + kO phi, a unit's own recurrent weights in A and E."""
    th, tc, _ = carried
    n = at.shape[1]
    G = 4 * n
    zero = at[0, 0] - at[0, 0]
    for j in range(n):
        own = (n_inputs + j) * G + j
        big_a = at[0, j] * theta[own] + at[1, j] * theta[own + n] + at[3, j] * theta[own + 3 * n]
        big_e = at[2, j] * theta[own + 2 * n]
        for g in range(4):
            column = g * n + j
            rows[column] = at[4, j]
            rows[G + column] = big_a
            rows[2 * G + column] = at[5, j]
            rows[3 * G + column] = big_e
            rows[4 * G + column] = zero if g == 2 else at[g, j]
            rows[5 * G + column] = at[2, j] if g == 2 else zero
    for i in range(len(phi)):
        x = phi[i]
        for b in range(G // 16):
            row = np.uint64(16 * b)
            here = np.uint64(i * G + 16 * b)
            for j0 in range(16):
                j = row + np.uint64(j0)
                p = here + np.uint64(j0)
                h = th[p]
                c = rows[j] * tc[p] + rows[np.uint64(G) + j] * h + rows[np.uint64(4 * G) + j] * x
                tc[p] = c
                th[p] = rows[np.uint64(2 * G) + j] * c + rows[np.uint64(3 * G) + j] * h + rows[np.uint64(5 * G) + j] * x


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _own_gradient(e, decay, q, n_sources, carried, rows):
    th = carried[0]
    n = len(q)
    G = 4 * n
    for g in range(4):
        for j in range(n):
            rows[g * n + j] = q[j]
    for i in range(n_sources):
        for b in range(G // 16):
            here = np.uint64(i * G + 16 * b)
            for j in range(16):
                p = here + np.uint64(j)
                e[p] = decay * e[p] + rows[np.uint64(16 * b + j)] * th[p]


# -- UORO: sensitivities as one outer product ----------------------------------------------------------------------
@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _norm(values):
    """Return the root of the sum of squares, in 16 sums; the length is a multiple of 4."""
    sums = np.zeros(16, values.dtype)
    whole = len(values) // 16
    for b in range(whole):
        for j in range(16):
            value = values[np.uint64(16 * b) + np.uint64(j)]
            sums[j] += value * value
    for i in range(16 * whole, len(values)):
        sums[i % 16] += values[i] * values[i]
    total = sums[0]
    for j in range(1, 16):
        total += sums[j]
    return np.sqrt(total)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _balance(over, under):
    one = over.dtype.type(1)
    a, b = _norm(over), _norm(under)
    return np.sqrt(a / b) if a > 0 and b > 0 else one


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _advance_outer(theta, phi, at, n_inputs, nu, carried, rows, inward):
    """Set A' = p0 D A + p1 nu and B' = B / p0 + (nu^T I) / p1."""
    a, b, _ = carried
    n = at.shape[1]
    G = 4 * n
    sums = rows[:G]
    sums[:] = a[0] - a[0]
    for j in range(n):
        _add(sums, 0, theta, (n_inputs + j) * G, a[n + j], G)
    along = rows[G : G + 2 * n]
    factor = rows[2 * G : 3 * G]
    for j in range(n):
        along[j] = at[4, j] * a[j] + at[0, j] * sums[j] + at[1, j] * sums[n + j] + at[3, j] * sums[3 * n + j]
        along[n + j] = at[5, j] * along[j] + at[2, j] * sums[2 * n + j]
        through = nu[j] + at[5, j] * nu[n + j]
        factor[j] = at[0, j] * through
        factor[n + j] = at[1, j] * through
        factor[2 * n + j] = at[2, j] * nu[n + j]
        factor[3 * n + j] = at[3, j] * through
    inward[:] = a[0] - a[0]
    for i in range(len(phi)):
        _add(inward, i * G, factor, 0, phi[i], G)
    p0, p1 = _balance(b, along), _balance(inward, nu)
    for j in range(2 * n):
        a[j] = p0 * along[j] + p1 * nu[j]
    for block in range(len(b) // 16):
        for j in range(16):
            p = np.uint64(16 * block) + np.uint64(j)
            b[p] = inward[p] / p1 + b[p] / p0


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _outer_gradient(e, decay, q, carried):
    a, b, _ = carried
    n = len(q)
    along = q[0] - q[0]
    for j in range(n):
        along += q[j] * a[n + j]
    for block in range(len(e) // 16):
        for j in range(16):
            p = np.uint64(16 * block) + np.uint64(j)
            e[p] = decay * e[p] + along * b[p]


# -- learning --------------------------------------------------------------------------------------------------------
@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _learn(w, m, e, delta, step_size, numbers):
    """RMSProp's step."""
    m_rest, eps, tiny = numbers[3], numbers[4], numbers[7]
    zero = delta - delta
    size = step_size * delta
    for p in range(len(w)):
        step = delta * e[p]
        mp = m[p] + m_rest * (step * step - m[p])
        mp = zero if mp < tiny else mp
        m[p] = mp
        w[p] += size * e[p] / (np.sqrt(mp) + eps)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def run(state, carried, window, method, n_inputs, numbers, nus, xs, cumulants, discounts, predictions):
    """Take len(xs) steps; fill `predictions`.

    Parameters
    ----------
    state : tuple of arrays, all changed
        theta, m, e : float[n_sources * G]
        inputs : float[2, n_inputs], mu and v
        features : float[6, units]: readout weight, its m and e, hh, mu and v
        hc : float[2, units]
        scalars : float[6]: bias, its m and e; the last prediction, the last discount, whether there was a step
    carried : three float arrays, changed
        T-BPTT: of each of k steps its sources, factors and recurrent weights. SnAp-1: TH, TC, none. UORO: A, B, none.
    window : int64[3], changed
        Where the newest step is, how many there are, and k.
    method, n_inputs : int
        0 is T-BPTT, 1 SnAp-1, 2 UORO.
    numbers : float[8]
        As for `columns.run`.
    nus : float[n, 2 * units]
        UORO's signs, 0 for the units beyond; no rows for the others.
    xs, cumulants, discounts, predictions : float[n, n_inputs], float[n], float[n], float[n]
    """
    theta, m, e, inputs, features, hc, scalars = state
    n = hc.shape[1]
    G = 4 * n
    n_sources = len(theta) // G
    real = theta.dtype.type
    zero, one = real(0), real(1)
    statistics = (numbers[5], numbers[6], numbers[7])
    phi, a, at, q = np.ones(n_sources, e.dtype), np.empty(G, e.dtype), np.empty((7, n), e.dtype), np.empty(n, e.dtype)
    rows, scratch = np.empty(max(6, window[2]) * G, e.dtype), np.empty(4, e.dtype)
    inward = np.empty(len(theta) if method == 2 else 0, e.dtype)
    for t in range(len(xs)):
        learns = scalars[5]
        decay = scalars[4] * numbers[0] * learns
        if learns != zero:
            for j in range(n):
                q[j] = features[0, j] / np.sqrt(features[5, j])
                features[2, j] = decay * features[2, j] + features[3, j]
            scalars[2] = decay * scalars[2] + one
            if method == 0:
                _backpropagate(e, decay, q, n_sources, window, carried, rows)
            elif method == 1:
                _own_gradient(e, decay, q, n_sources, carried, rows)
            else:
                _outer_gradient(e, decay, q, carried)
        if discounts[t] == zero:
            hc[:] = zero
            window[1] = 0
            if method != 0:
                carried[0][:] = zero
                carried[1][:] = zero
        _normalise(xs[t], inputs[0], inputs[1], phi, statistics)
        for j in range(n):
            phi[n_inputs + j] = hc[0, j]
        _forward(theta, phi, hc, a, at, scratch)
        if method == 0:
            _remember(theta, phi, at, n_inputs, window, carried)
        elif method == 1:
            _advance_own(theta, phi, at, n_inputs, carried, rows)
        else:
            _advance_outer(theta, phi, at, n_inputs, nus[t], carried, rows, inward)
        _normalise(hc[0], features[4], features[5], features[3], statistics)
        p = scalars[0]
        for j in range(n):
            p += features[0, j] * features[3, j]
        if learns != zero:
            delta = cumulants[t] + discounts[t] * p - scalars[3]
            _learn(theta, m, e, delta, numbers[1], numbers)
            _learn(features[0], features[1], features[2], delta, numbers[2], numbers)
            _learn(scalars[0:1], scalars[1:2], scalars[2:3], delta, numbers[2], numbers)
        scalars[3], scalars[4], scalars[5] = p, discounts[t], one
        predictions[t] = p
