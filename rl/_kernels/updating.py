# mypy: ignore-errors
# Types are those of compiled code, which only numba infers.
"""What every fused cell does with a gradient: the optimiser's step, and a linear readout with its loss."""

import math

from rl._kernels.lanes import fill, fma, inlined, load, part, root, splat, store, total


@part
def any_set(flags, at, n):
    """Return whether one of flags[at : at + n] is set; none is where there are no flags."""
    if flags.shape[0]:
        for b in range(n):
            if flags[at + b]:
                return True
    return False


@inlined
def learned(weights, i, w, u, s, kept, m, v, hyper):
    """Write and return 16 weights after a step: `w` before it, u s their gradient times hyper[0].

    Plain gradient descent where `m` is empty, hyper[0] = -step_size; else Adam with its moments `m`, `v`, hyper[0] = 1
    and hyper[1:] as `begin_update` leaves it. `kept` is 1 and 0, or empty where every weight is there.
    """
    if m.shape[0] == 0:
        after = fma(u, s, w)
    else:
        g = u * s
        mk = fma(splat(hyper, 1), load(m, i), splat(hyper, 2) * g)
        vk = fma(splat(hyper, 3), load(v, i), splat(hyper, 4) * g * g)
        store(m, i, mk)
        store(v, i, vk)
        after = w - splat(hyper, 5) * mk / fma(root(vk), splat(hyper, 6), splat(hyper, 7))
    if kept.shape[0]:
        after = after * load(kept, i)
    store(weights, i, after)
    return after


@part
def begin_update(hyper, rates, n_updates):
    """Set Adam's coefficients of the next update: hyper[5] = step_size / (1 - beta1^t), hyper[6] = (1 - beta2^t)^-.5.

    rates float64[3]: step_size, beta1, beta2; n_updates int64[1] counts.
    """
    n_updates[0] += 1
    if rates[1] >= 0.0:  # of plain gradient descent -1
        hyper[5] = rates[0] / (1.0 - rates[1] ** n_updates[0])
        hyper[6] = (1.0 - rates[2] ** n_updates[0]) ** -0.5


@part
def read_out(readout, work, width, n_streams, loss, wanted, results, t):
    """Fill outputs, losses, `errors` = dloss/doutputs and `q` = dloss/dh of step `t`; learn the readout if it is due.

    Parameters
    ----------
    readout : tuple
        Weights float[n_outputs * width], Adam's two moments, kept, hyper, rates, n_updates (see `learned`), and
        whether to learn.
    work : tuple
        h, q float[n_streams * width], errors. h: outputs of the cell, then zeros, in the last 16 lanes a 1.
    loss : int
        1: half the squared error to the targets; 2: cross entropy, in nats, of the label, nothing where that is
        negative.
    wanted, results : tuple
        Targets, labels; outputs, losses: of every step, flat.
    """
    weights, kept, m, v, hyper, rates, n_updates, learn = readout
    h, q, errors = work
    outputs, losses = results
    n_outputs = weights.shape[0] // width
    for b in range(n_streams):
        at = (t * n_streams + b) * n_outputs
        for j in range(n_outputs):
            y = fill(load(h, 0), 0.0)
            for k in range(0, width, 16):
                y = fma(load(weights, j * width + k), load(h, b * width + k), y)
            outputs[at + j] = total(y)
        losses[t * n_streams + b] = _errors(
            outputs, at, errors, b * n_outputs, n_outputs, loss, wanted, t * n_streams + b
        )
        for k in range(0, width, 16):
            back = fill(load(h, 0), 0.0)
            for j in range(n_outputs):
                back = fma(splat(errors, b * n_outputs + j), load(weights, j * width + k), back)
            store(q, b * width + k, back)
    if learn:
        begin_update(hyper, rates, n_updates)
        one = fill(load(h, 0), 1.0)
        for j in range(n_outputs):
            for k in range(0, width, 16):
                g = fill(one, 0.0)
                for b in range(n_streams):
                    g = fma(splat(errors, b * n_outputs + j), load(h, b * width + k), g)
                i = j * width + k
                learned(weights, i, load(weights, i), g * splat(hyper, 0), one, kept, m, v, hyper)


@part
def _errors(outputs, at, errors, start, n_outputs, loss, wanted, row):
    targets, labels = wanted
    if loss == 1:
        half = 0.0
        for j in range(n_outputs):
            errors[start + j] = outputs[at + j] - targets[row * n_outputs + j]
            half += 0.5 * errors[start + j] * errors[start + j]
        return half
    label = labels[row]
    if label < 0:
        errors[start : start + n_outputs] = 0
        return 0.0
    top = outputs[at]
    for j in range(1, n_outputs):
        top = max(top, outputs[at + j])
    norm = 0.0
    for j in range(n_outputs):
        norm += math.exp(outputs[at + j] - top)
    for j in range(n_outputs):
        errors[start + j] = math.exp(outputs[at + j] - top) / norm
    errors[start + label] -= 1
    return math.log(norm) - (outputs[at + label] - top)
