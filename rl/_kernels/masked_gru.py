"""A masked GRU with a softmax readout, its gradient by RTRL, SnAp-n, UORO or BPTT, and Adam, over stretches of steps.

Symbols (`rl.cells.gru`): z, r gates, a candidate, u = U_a h-; `coefficients` float[4 n] dh/d(sum) of z, r, a, u;
`carry` 1 - z; D[m, l] = carry + sum over gates of coefficient * weight, kept by edge in `link`.

One stream after another goes through a step: sums by kept weight, then D J group by group, by the BLAS where more than
a sixth of D between a group's rows is there, else edge by edge. What all functions share, as tuples of arrays:

wiring: sum_of, source_of int64[P] (see `rl.cells.layout`), biases int64[k]; token_at, token_params: which parameters
a token feeds; links, link_sums, link_edges, link_reads int64[k]: recurrent weights, the sum and the edge each belongs
to, the unit it reads; own_edges int64[n].
groups: rows, row_at, params, own, param_at, edges, places, edge_at, pair_at as in `rl.learners.influence.Groups`.
"""

import math

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _sigmoid(a):
    e = math.exp(-abs(a))
    return (e if a < 0 else 1) / (1 + e)


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _forward(w, wiring, token, h, a, after, coefficients, carry):
    """Take one step of a stream: fill `after`, `coefficients` and `carry`; `a` [4 n] is scratch."""
    sum_of, _, biases, token_at, token_params, links, link_sums, _, link_reads, _ = wiring
    n = h.shape[0]
    a[:] = 0
    for p in biases:
        a[sum_of[p]] += w[p]
    for i in range(token_at[token], token_at[token + 1]):
        a[sum_of[token_params[i]]] += w[token_params[i]]
    for i in range(links.shape[0]):
        a[link_sums[i]] += w[links[i]] * h[link_reads[i]]
    for m in range(n):
        u = a[3 * n + m]
        z, r = _sigmoid(a[m]), _sigmoid(a[n + m])
        candidate = math.tanh(a[2 * n + m] + r * u)
        da = z * (1 - candidate * candidate)
        coefficients[m] = (candidate - h[m]) * z * (1 - z)
        coefficients[n + m] = da * u * r * (1 - r)
        coefficients[2 * n + m] = da
        coefficients[3 * n + m] = da * r
        carry[m] = 1 - z
        after[m] = (1 - z) * h[m] + z * candidate


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _sources(token, h, sources):
    """Fill what parameters multiply: the token, one-hot; h before the step; 1."""
    n_inputs = sources.shape[0] - h.shape[0] - 1
    sources[:n_inputs] = 0
    sources[token] = 1
    sources[n_inputs:-1] = h
    sources[-1] = 1


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _link(w, wiring, coefficients, carry, link):
    """Fill D on its edges."""
    _, _, _, _, _, links, link_sums, link_edges, _, own_edges = wiring
    link[:] = 0
    for i in range(links.shape[0]):
        link[link_edges[i]] += coefficients[link_sums[i]] * w[links[i]]
    for m in range(own_edges.shape[0]):
        link[own_edges[m]] += carry[m]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _influence(wiring, groups, link, coefficients, sources, matrix, before, after):
    """Fill `after` with mask o (I + D `before`), group by group [rows, parameters]; `matrix` is scratch."""
    sum_of, source_of = wiring[:2]
    _, row_at, params, own, param_at, edges, places, edge_at, pair_at = groups
    for g in range(pair_at.shape[0] - 1):
        r, n = row_at[g + 1] - row_at[g], param_at[g + 1] - param_at[g]
        old, new = before[pair_at[g] : pair_at[g + 1]], after[pair_at[g] : pair_at[g + 1]]
        if r > 1 and 6 * (edge_at[g + 1] - edge_at[g]) > r * r:
            d = matrix[: r * r]
            d[:] = 0
            for e in range(edge_at[g], edge_at[g + 1]):
                d[places[e]] = link[edges[e]]
            np.dot(d.reshape(r, r), old.reshape(r, n), new.reshape(r, n))
        else:
            new[:] = 0
            for e in range(edge_at[g], edge_at[g + 1]):
                value, to, of = link[edges[e]], places[e] // r * n, places[e] % r * n
                for k in range(n):
                    new[to + k] += value * old[of + k]
        for k in range(param_at[g], param_at[g + 1]):
            p = params[k]
            new[own[k] * n + k - param_at[g]] += coefficients[sum_of[p]] * sources[source_of[p]]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _pull(groups, q, j, gradient):
    """Add q^T J to `gradient`."""
    rows, row_at, params, _, param_at, _, _, _, pair_at = groups
    total = np.zeros(params.shape[0], j.dtype)
    for g in range(pair_at.shape[0] - 1):
        n = param_at[g + 1] - param_at[g]
        to = total[param_at[g] : param_at[g + 1]]
        for m in range(row_at[g + 1] - row_at[g]):
            at, of_row = pair_at[g] + m * n, q[rows[row_at[g] + m]]
            part = j[at : at + n]
            for k in range(n):
                to[k] += of_row * part[k]
    for k in range(params.shape[0]):
        gradient[params[k]] += total[k]


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _balance(over, under):
    """Return sqrt(|over| / |under|), 1 where either is 0."""
    one, other = math.sqrt((over * over).sum()), math.sqrt((under * under).sum())
    return math.sqrt(one / other) if one > 0 and other > 0 else 1.0


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _outer_product(w, wiring, coefficients, carry, sources, signs, a, b):
    """Advance UORO's J ~ a b^T of one stream; signs is nu (`rl.learners.uoro`)."""
    sum_of, source_of, _, _, _, links, link_sums, _, link_reads, _ = wiring
    n = a.shape[0]
    forward, inward = carry * a, np.empty_like(b)
    for i in range(links.shape[0]):
        forward[link_sums[i] % n] += coefficients[link_sums[i]] * w[links[i]] * a[link_reads[i]]
    for p in range(b.shape[0]):
        inward[p] = signs[sum_of[p] % n] * coefficients[sum_of[p]] * sources[source_of[p]]
    p0, p1 = b.dtype.type(_balance(b, forward)), b.dtype.type(_balance(inward, signs))
    for m in range(n):
        a[m] = p0 * forward[m] + p1 * signs[m]
    for p in range(b.shape[0]):
        b[p] = b[p] / p0 + inward[p] / p1


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _read_out(w, at, h, label, share, learn, logits, q, gradient):
    """Return a stream's loss in nats and whether the label is the likeliest; add what the readout learns, fill q."""
    n, n_classes = h.shape[0], logits.shape[0]
    bias = at + n_classes * n
    for c in range(n_classes):
        total = w[bias + c]
        for m in range(n):
            total += w[at + c * n + m] * h[m]
        logits[c] = total
    best = np.argmax(logits)
    top = logits[best]
    total = logits[0] * 0
    for c in range(n_classes):
        total += math.exp(logits[c] - top)
    loss = math.log(total) - (logits[label] - top)
    if learn:
        q[:] = 0
        for c in range(n_classes):
            error = share * (math.exp(logits[c] - top) / total - (1 if c == label else 0))
            gradient[bias + c] += error
            for m in range(n):
                q[m] += error * w[at + c * n + m]
                gradient[at + c * n + m] += error * h[m]
    return loss, best == label


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _backward(w, wiring, history, first, last, b, resets, qs, gradient):
    """Add the gradient of the losses of steps first to last through those steps of stream b."""
    sum_of, source_of, _, _, _, links, link_sums, _, link_reads, _ = wiring
    tokens, states, coefficients, carries = history
    n = states.shape[2]
    q, delta = np.zeros(n, w.dtype), np.empty(4 * n, w.dtype)
    sources = np.empty(wiring[3].shape[0] + n, w.dtype)
    for t in range(last, first - 1, -1):
        if tokens[t, b] < 0:
            continue
        q += qs[t, b]
        for m in range(n):
            for g in range(4):
                delta[g * n + m] = q[m] * coefficients[t, b, g * n + m]
        _sources(tokens[t, b], states[t, b], sources)
        for p in range(sum_of.shape[0]):
            gradient[p] += delta[sum_of[p]] * sources[source_of[p]]
        q *= carries[t, b]
        for i in range(links.shape[0]):
            q[link_reads[i]] += delta[link_sums[i]] * w[links[i]]
        if resets[t, b]:
            q[:] = 0


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _adam(w, gradient, m, v, counts, rates):
    """Step every weight, algorithm 1 of Kingma and Ba (2015), and clear the gradient."""
    step_size, beta1, beta2, eps = rates
    counts[0] += 1
    real = w.dtype.type
    m_scale = real(step_size / (1.0 - beta1 ** counts[0]))
    v_scale = real((1.0 - beta2 ** counts[0]) ** -0.5)
    b1, c1, b2, c2, small = real(beta1), real(1.0 - beta1), real(beta2), real(1.0 - beta2), real(eps)
    for p in range(w.shape[0]):
        m[p] = b1 * m[p] + c1 * gradient[p]
        v[p] = b2 * v[p] + c2 * gradient[p] * gradient[p]
        w[p] -= m_scale * m[p] / (math.sqrt(v[p]) * v_scale + small)
        gradient[p] = 0


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _step(w, gradient, wiring, groups, held, data, history, scratch, settings, at):
    """Take a step of stream b; return its loss, whether its label was the likeliest, and fill q if it is counted."""
    h, js, outer_a, outer_b = held
    tokens, labels, counted, resets, signs = data
    states, coefficients, carries, qs = history
    a, after, sources, link, matrix, logits = scratch
    method, n_params = settings
    t, b, k, now = at
    if resets[t, b]:
        h[b], js[:, b], outer_a[b], outer_b[b] = 0, 0, 0, 0
    if tokens[t, b] < 0:
        js[1 - now, b] = js[now, b]
        return 0 * w[0], False
    states[k, b] = h[b]
    slopes, carry, q = coefficients[k, b], carries[k, b], qs[k, b]
    _forward(w, wiring, tokens[t, b], h[b], a, after, slopes, carry)
    _sources(tokens[t, b], h[b], sources)
    if method == 1:
        _link(w, wiring, slopes, carry, link)
        _influence(wiring, groups, link, slopes, sources, matrix, js[now, b], js[1 - now, b])
    elif method == 2:
        _outer_product(w, wiring, slopes, carry, sources, signs[t, b], outer_a[b], outer_b[b])
    h[b] = after
    if not counted[t, b]:
        return 0 * w[0], False
    share = 1 / w.dtype.type(h.shape[0])
    loss, is_right = _read_out(w, n_params, after, labels[t, b], share, method > 0, logits, q, gradient)
    if method == 1:
        _pull(groups, q, js[1 - now, b], gradient)
    elif method == 2:
        along = (q * outer_a[b]).sum()
        for p in range(n_params):
            gradient[p] += along * outer_b[b, p]
    return loss, is_right


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def run(w, moments, counts, rates, wiring, groups, held, data, sizes, results):
    """Take every step of `data`; learn from counted characters, an update every `every` steps and at the end.

    Parameters
    ----------
    w : float[P + classes * n + classes]
        The cell's parameters, the readout's weights and biases.
    moments : tuple
        m, v and the gradient summed so far, all of the size of w.
    counts, rates
        int64[1] updates so far; step size, beta1, beta2, eps.
    held : tuple
        h float[B, n]; J float[2, B, pairs], the halves swapped every step; UORO's a float[B, n], b float[B, P].
    data : tuple
        tokens int64[T, B], -1 where a stream pauses; labels int64[T, B]; counted, resets bool[T, B], a reset taking
        effect before the step; signs float[T, B, n], of UORO.
    sizes : four int64
        Method (0 none, 1 influence, 2 UORO, 3 BPTT), `every`, parameters P of the cell, edges.
    results : tuple
        losses float[T, B], in nats, and right bool[T, B], where counted.
    """
    tokens, _, counted, resets, _ = data
    method, every, n_params, n_edges = sizes
    n_steps, n_streams, n, dtype = tokens.shape[0], tokens.shape[1], held[0].shape[1], w.dtype
    n_kept, n_classes = n_steps if method == 3 else 1, (w.shape[0] - n_params) // (n + 1)
    states, carries = np.zeros((n_kept, n_streams, n), dtype), np.zeros((n_kept, n_streams, n), dtype)
    coefficients, qs = np.zeros((n_kept, n_streams, 4 * n), dtype), np.zeros((n_kept, n_streams, n), dtype)
    history, n_sources = (states, coefficients, carries, qs), wiring[3].shape[0] + n
    scratch = (
        np.empty(4 * n, dtype), np.empty(n, dtype), np.empty(n_sources, dtype), np.empty(n_edges, dtype),
        np.empty(n * n, dtype), np.empty(n_classes, dtype),
    )  # fmt: skip
    first, is_due, now = 0, False, 0
    for t in range(n_steps):
        for b in range(n_streams):
            at = (t, b, t if method == 3 else 0, now)
            results[0][t, b], results[1][t, b] = _step(
                w, moments[2], wiring, groups, held, data, history, scratch, (method, n_params), at
            )
            is_due |= counted[t, b]
        now = 1 - now
        if method > 0 and ((t + 1) % every == 0 or t == n_steps - 1):
            if is_due:
                for b in range(n_streams if method == 3 else 0):
                    _backward(w, wiring, (tokens, states, coefficients, carries), first, t, b, resets, qs, moments[2])
                _adam(w, moments[2], moments[0], moments[1], counts, rates)
            first, is_due = t + 1, False
    if now == 1:
        held[1][0] = held[1][1]
