"""A stretch of steps of a dense LSTM that predicts by TD(lambda): T-BPTT, SnAp-1 or UORO give the gradient.

Layout. Units are rounded up to a multiple of 4, those beyond have zeros for weights and stay 0. A row of G = 4 units
numbers, a multiple of 16, is gate by gate: i, f, o, g. `theta` is such a row a source: the normalised inputs, h- of
every unit, 1, and zeros up to a multiple of 4. Floats share one dtype. The order of a step is that of
`tests/naive/ccn.py`. A file may only call kernels of its own, so that the series of exp and the averages stand here
again.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _activate(a, n_sigmoid, n):
    """Replace the first `n_sigmoid` of `a` by their sigmoid, those up to `n` by their tanh.

    exp(y) - 1 by a series of y / 256, doubled eight times by (q + 2) q.
    """
    r = a.dtype.type
    zero, one, two, far, small = r(0), r(1), r(2), r(40), r(0.00390625)
    c11, c10, c9, c8, c7 = r(1 / 39916800), r(1 / 3628800), r(1 / 362880), r(1 / 40320), r(1 / 5040)
    c6, c5, c4, c3, c2 = r(1 / 720), r(1 / 120), r(1 / 24), r(1 / 6), r(0.5)
    for j in range(n):
        v = a[j]
        y = -v if v > zero else v
        y = two * y if j >= n_sigmoid else y
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
        q = q * q + two * q
        q = q * q + two * q
        q = q * q + two * q
        q = q * q + two * q
        q = q * q + two * q
        q = q * q + two * q
        q = q * q + two * q
        q = q * q + two * q
        top = one if v > zero else one + q
        t = -q if v > zero else q
        a[j] = (t if j >= n_sigmoid else top) / (two + q)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add(out, start, row, at, factor, n):
    """Add to out[start:] factor * row[at:], n numbers, n a multiple of 16."""
    o, r = out[start : start + n], row[at : at + n]
    for j in range(n):
        o[j] += factor * r[j]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add_four(out, start, rows, at, stride, x0, x1, x2, x3, n):
    """Add to out[start:] x0 * rows[at:] + x1 * rows[at + stride:] + ..., n numbers, n a multiple of 16."""
    o = out[start : start + n]
    r0, r1 = rows[at : at + n], rows[at + stride : at + stride + n]
    r2, r3 = rows[at + 2 * stride : at + 2 * stride + n], rows[at + 3 * stride : at + 3 * stride + n]
    for j in range(n):
        o[j] += (r0[j] * x0 + r1[j] * x1) + (r2[j] * x2 + r3[j] * x3)


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
def _forward(theta, phi, hc, a, at):
    """Advance h and c; fill `at` float[7, units]: kI, kF, kO, kG, f, B, and tanh c on the way."""
    n = hc.shape[1]
    G = 4 * n
    one = a.dtype.type(1)
    a[:] = a.dtype.type(0)
    for four in range(len(phi) // 4):
        x0, x1, x2, x3 = phi[4 * four], phi[4 * four + 1], phi[4 * four + 2], phi[4 * four + 3]
        _add_four(a, 0, theta, 4 * four * G, G, x0, x1, x2, x3, G)
    _activate(a, 3 * n, G)
    for j in range(n):
        at[6, j] = a[n + j] * hc[1, j] + a[j] * a[3 * n + j]
    for j in range(n):
        at[4, j] = at[6, j]
    _activate(at[6], 0, n)
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
    zero = q[0] - q[0]
    k, count = window[2], window[1]
    dh, dc = q.copy(), np.zeros_like(q)
    slot = window[0]
    for back in range(count):
        first, d = slot * 6 * n, back * G
        for j in range(n):
            through = dc[j] + factors[first + 5 * n + j] * dh[j]
            deltas[d + j] = factors[first + j] * through
            deltas[d + n + j] = factors[first + n + j] * through
            deltas[d + 2 * n + j] = factors[first + 2 * n + j] * dh[j]
            deltas[d + 3 * n + j] = factors[first + 3 * n + j] * through
            dc[j] = factors[first + 4 * n + j] * through
        dh[:] = zero
        for c in range(n if back + 1 < count else 0):
            d0, d1, d2, d3 = deltas[d + c], deltas[d + n + c], deltas[d + 2 * n + c], deltas[d + 3 * n + c]
            row = (slot * G + c) * n
            for j in range(n):
                dh[j] += (d0 * weights[row + j] + d1 * weights[row + n * n + j]) + (
                    d2 * weights[row + 2 * n * n + j] + d3 * weights[row + 3 * n * n + j]
                )
        slot = slot - 1 if slot > 0 else k - 1
    deltas[count * G :] = zero  # what fills up the last four steps
    for p in range(len(e)):
        e[p] *= decay
    for four in range((count + 3) // 4):
        s0 = (window[0] - 4 * four) % k
        s1 = s0 - 1 if s0 > 0 else k - 1
        s2 = s1 - 1 if s1 > 0 else k - 1
        s3 = s2 - 1 if s2 > 0 else k - 1
        for i in range(n_sources):
            x0, x1 = sources[s0 * n_sources + i], sources[s1 * n_sources + i]
            x2, x3 = sources[s2 * n_sources + i], sources[s3 * n_sources + i]
            _add_four(e, i * G, deltas, 4 * four * G, G, x0, x1, x2, x3, G)


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
    f, big_a, b, big_e, k, k_o = (
        rows[:G], rows[G : 2 * G], rows[2 * G : 3 * G], rows[3 * G : 4 * G], rows[4 * G : 5 * G], rows[5 * G : 6 * G],
    )  # fmt: skip
    for i in range(len(phi)):
        x = phi[i]
        h, c = th[i * G : (i + 1) * G], tc[i * G : (i + 1) * G]
        for j in range(G):
            c[j] = f[j] * c[j] + big_a[j] * h[j] + k[j] * x
        for j in range(G):
            h[j] = b[j] * c[j] + big_e[j] * h[j] + k_o[j] * x


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _own_gradient(e, decay, q, n_sources, carried, rows):
    th = carried[0]
    n = len(q)
    G = 4 * n
    for g in range(4):
        for j in range(n):
            rows[g * n + j] = q[j]
    along = rows[:G]
    for i in range(n_sources):
        ei, h = e[i * G : (i + 1) * G], th[i * G : (i + 1) * G]
        for j in range(G):
            ei[j] = decay * ei[j] + along[j] * h[j]


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
    for p in range(len(b)):
        b[p] = inward[p] / p1 + b[p] / p0


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _outer_gradient(e, decay, q, carried):
    a, b, _ = carried
    n = len(q)
    along = q[0] - q[0]
    for j in range(n):
        along += q[j] * a[n + j]
    for p in range(len(e)):
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
    phi, a, at, q = np.zeros(n_sources, e.dtype), np.empty(G, e.dtype), np.empty((7, n), e.dtype), np.empty(n, e.dtype)
    rows = np.empty(max(6, window[2] + 3) * G, e.dtype)
    phi[n_inputs + n] = one
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
        _forward(theta, phi, hc, a, at)
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
