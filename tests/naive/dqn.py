"""Double DQN's loss, gradient, clipping and Adam, one transition at a time.

`mistake` plants a known error, so that tests can show they would have caught it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

MISTAKES = (
    "importance weights dropped",
    "the target network's own best action under double",
    "termination ignored",
    "the value of the online network",
    "the squared loss for the Huber loss",
    "the sum for the mean",
    "the last hidden layer not rectified in the backward pass",
    "biases not learned",
)


def layers(theta, sizes):
    """Return [(weight [n_in, n_out], bias [n_out]), ...], copies."""
    out = []
    rest = list(theta)
    for n_in, n_out in pairwise(sizes):
        weight = np.array(rest[: n_in * n_out]).reshape(n_in, n_out)
        bias = np.array(rest[n_in * n_out : (n_in + 1) * n_out])
        rest = rest[(n_in + 1) * n_out :]
        out.append((weight, bias))
    assert rest == []
    return out


def outputs(theta, sizes, x):
    """Return [x, every layer's output] for one input x [d]."""
    hs = [np.asarray(x, np.float64)]
    stack = layers(np.asarray(theta, np.float64), sizes)
    for k, (weight, bias) in enumerate(stack):
        z = [sum(hs[-1][i] * weight[i, j] for i in range(len(hs[-1]))) + bias[j] for j in range(len(bias))]
        hs.append(np.array([v if k == len(stack) - 1 else max(v, 0.0) for v in z]))
    return hs


def q_values(theta, sizes, x):
    """Return Q(x, .) float64[actions]."""
    return outputs(theta, sizes, x)[-1]


def targets(theta, target, sizes, batch, double, mistake=""):
    """Return y float64[n]."""
    _, _, reward, next_obs, discount, _ = batch
    ys = []
    for r, s, d in zip(reward, next_obs, discount, strict=True):
        by_theta, by_target = q_values(theta, sizes, s), q_values(target, sizes, s)
        best = int(np.argmax(by_theta if double else by_target))
        if mistake == "the target network's own best action under double":
            best = int(np.argmax(by_target))
        value = by_theta[best] if mistake == "the value of the online network" else by_target[best]
        kept = max(discount) if mistake == "termination ignored" else d
        ys.append(float(r) + float(kept) * value)
    return np.array(ys)


def huber(x, delta):
    """Return (value, derivative) at x."""
    if abs(x) <= delta:
        return 0.5 * x * x, x
    return delta * (abs(x) - 0.5 * delta), delta * np.sign(x)


def td_gradient(theta, target, sizes, batch, double, huber_delta, mistake=""):
    """Return (loss, gradient [P], abs TD errors [n])."""
    obs, action, _, _, _, weight = batch
    n = len(action)
    ys = targets(theta, target, sizes, batch, double, mistake)
    stack = layers(np.asarray(theta, np.float64), sizes)
    total, grads, tds = 0.0, [[np.zeros_like(w), np.zeros_like(b)] for w, b in stack], []
    for i in range(n):
        hs = outputs(theta, sizes, obs[i])
        td = ys[i] - hs[-1][action[i]]
        tds.append(abs(td))
        value, slope = huber(td, huber_delta)
        if mistake == "the squared loss for the Huber loss":
            value, slope = 0.5 * td * td, td
        share = 1.0 if mistake == "importance weights dropped" else float(weight[i])
        share /= 1 if mistake == "the sum for the mean" else n
        total += share * value
        delta = np.zeros(sizes[-1])
        delta[action[i]] = -share * slope
        for k in range(len(stack) - 1, -1, -1):
            grads[k][0] += np.outer(hs[k], delta)
            grads[k][1] += 0.0 if mistake == "biases not learned" else delta
            rectified = hs[k] > 0
            if mistake == "the last hidden layer not rectified in the backward pass" and k == len(stack) - 1:
                rectified = np.ones_like(rectified)
            delta = (stack[k][0] @ delta) * rectified
    return total, np.concatenate([part.ravel() for pair in grads for part in pair]), np.array(tds)


def margin(theta, target, sizes, batch, double, huber_delta):
    """Return the distance to the nearest kink: of a unit, of the Huber loss, between the two best actions."""
    obs, action, _, next_obs, _, _ = batch
    ys = targets(theta, target, sizes, batch, double)
    found = []
    for i in range(len(action)):
        h = np.asarray(obs[i], np.float64)
        for weight, bias in layers(np.asarray(theta, np.float64), sizes)[:-1]:
            z = h @ weight + bias
            found.append(np.abs(z).min())
            h = np.maximum(z, 0.0)
        found.append(abs(abs(ys[i] - q_values(theta, sizes, obs[i])[action[i]]) - huber_delta))
        best = np.sort(q_values(theta if double else target, sizes, next_obs[i]))
        found.append(best[-1] - best[-2] if len(best) > 1 else 1.0)
    return min(found)


def clipped(grad, clip):
    """Return `grad` scaled to the global norm `clip` where it is longer."""
    norm = np.sqrt(sum(float(g) ** 2 for g in grad))
    return grad * (clip / norm) if norm > clip else grad


def adam(theta, m, v, t, grad, lr, beta1, beta2, eps):
    """Return (theta, m, v) after step t = 1, 2, ... of Kingma and Ba 2015, algorithm 1."""
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return theta - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
