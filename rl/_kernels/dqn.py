"""Everything a DQN computes: the forward pass, the TD gradient by hand, Adam, and the choice of actions.

Generic in the float type: all float arrays of a call share one dtype, float32 to learn, float64 to check
the derivative. A literal such as 0.0 would promote float32 to float64, so constants are made from the arrays'
type.
"""

import numpy as np
from numba import njit


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _add_bias(out, bias, rectify):
    zero = out.dtype.type(0)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            value = out[i, j] + bias[j]
            out[i, j] = zero if rectify and value < zero else value  # a NaN passes, to be found in the loss


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def forward(theta, sizes, x, work):
    """Return float[n, sizes[-1]], the outputs for `x` float[n, sizes[0]]; a view into `work`.

    `work` float[>= n * sum(sizes[1:])] receives each layer's output [n, sizes[l + 1]], block after block.
    Rectified linear units everywhere but in the last layer.
    """
    n = x.shape[0]
    n_layers = sizes.shape[0] - 1
    h = x
    p = 0
    a = 0
    for layer in range(n_layers):
        n_in = sizes[layer]
        n_out = sizes[layer + 1]
        weight = theta[p : p + n_in * n_out].reshape(n_in, n_out)
        p += n_in * n_out
        bias = theta[p : p + n_out]
        p += n_out
        out = work[a : a + n * n_out].reshape(n, n_out)
        a += n * n_out
        np.dot(h, weight, out)
        _add_bias(out, bias, layer < n_layers - 1)
        h = out
    return h


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _backward(theta, sizes, x, work, deltas, grad):
    # `deltas` is laid out as `work`: its last block holds dloss/dq on entry, each earlier one the derivative
    # by that layer's sums on exit.
    n = x.shape[0]
    zero = grad.dtype.type(0)
    n_layers = sizes.shape[0] - 1
    p = theta.shape[0]
    a = 0
    for layer in range(n_layers):
        a += n * sizes[layer + 1]
    for layer in range(n_layers - 1, -1, -1):
        n_in = sizes[layer]
        n_out = sizes[layer + 1]
        p -= (n_in + 1) * n_out
        a -= n * n_out
        delta = deltas[a : a + n * n_out].reshape(n, n_out)
        grad_weight = grad[p : p + n_in * n_out].reshape(n_in, n_out)
        grad_bias = grad[p + n_in * n_out : p + (n_in + 1) * n_out]
        grad_bias[:] = zero
        for i in range(n):
            for j in range(n_out):
                grad_bias[j] += delta[i, j]
        if layer == 0:
            np.dot(x.T, delta, grad_weight)
        else:
            h = work[a - n * n_in : a].reshape(n, n_in)
            below = deltas[a - n * n_in : a].reshape(n, n_in)
            np.dot(h.T, delta, grad_weight)
            np.dot(delta, theta[p : p + n_in * n_out].reshape(n_in, n_out).T, below)
            for i in range(n):
                for j in range(n_in):
                    below[i, j] = below[i, j] if h[i, j] > zero else zero


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def td_gradient(theta, target, sizes, batch, double, huber_delta, work, grad, td_abs):
    """Return the loss and fill `grad` with its derivative by `theta`, `td_abs` with abs(TD error).

    loss = mean_i w_i huber(y_i - Q(s_i, a_i)), y_i = r_i + discount_i * V(s'_i), where V is the target
    network's value of its own best action (Mnih et al. 2015), or with `double` of the action that is best by
    `theta` (van Hasselt et al. 2016). y is held constant in the derivative.

    Parameters
    ----------
    theta, target : float[P]
    sizes : int64[layers + 1]
    batch : tuple of arrays
        obs float[n, d], action int64[n], reward float[n], next_obs float[n, d], discount float[n] (0 where
        the episode terminated), w float[n].
    huber_delta : float
        Where huber turns from x^2 / 2 to delta * (abs(x) - delta / 2).
    work : float[2, >= n * sum(sizes[1:])]
    grad : float[P]
    td_abs : float[n]
    """
    obs, action, reward, next_obs, discount, weight = batch
    n = obs.shape[0]
    n_actions = sizes[-1]
    zero = grad.dtype.type(0)
    half = grad.dtype.type(0.5)
    if double:
        best = forward(theta, sizes, next_obs, work[0])
        value = forward(target, sizes, next_obs, work[1])
    else:
        best = forward(target, sizes, next_obs, work[1])
        value = best
    for i in range(n):
        arg = 0
        for j in range(1, n_actions):
            if best[i, j] > best[i, arg]:
                arg = j
        td_abs[i] = reward[i] + discount[i] * value[i, arg]
    q = forward(theta, sizes, obs, work[0])
    first = 0
    for layer in range(1, sizes.shape[0] - 1):
        first += n * sizes[layer]
    delta = work[1, first : first + n * n_actions].reshape(n, n_actions)
    delta[:, :] = zero
    loss = zero
    for i in range(n):
        td = td_abs[i] - q[i, action[i]]
        size = abs(td)
        td_abs[i] = size
        w = weight[i] / grad.dtype.type(n)
        if size <= huber_delta:
            loss += w * half * td * td
            delta[i, action[i]] = -w * td
        else:
            loss += w * huber_delta * (size - half * huber_delta)
            delta[i, action[i]] = -w * huber_delta if td > zero else w * huber_delta
    _backward(theta, sizes, obs, work[0], work[1], grad)
    return loss


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def _adam(params, scale, hyper):
    # Moments decay by a constant factor where the gradient stays 0 (dead units); left alone they end as
    # denormals, which cost half as much time again. Below `tiny` they cannot move a weight by one ulp: the
    # denominator is at least Adam's eps.
    theta, _, average, m, v, grad = params
    beta1 = hyper[2]
    beta2 = hyper[3]
    eps = hyper[4]
    step_size = hyper[5]
    v_scale = hyper[6]
    rate = hyper[7]
    tiny = hyper[8]
    zero = theta.dtype.type(0)
    rest1 = theta.dtype.type(1) - beta1
    rest2 = theta.dtype.type(1) - beta2
    for k in range(theta.shape[0]):
        g = grad[k] * scale
        mk = beta1 * m[k] + rest1 * g
        vk = beta2 * v[k] + rest2 * g * g
        mk = mk if abs(mk) > tiny else zero
        vk = vk if vk > tiny else zero
        m[k] = mk
        v[k] = vk
        new = theta[k] - step_size * mk / (np.sqrt(vk) * v_scale + eps)
        theta[k] = new
        average[k] += rate * (new - average[k])


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def update(params, sizes, batch, double, hyper, work, td_abs):
    """Take one gradient step and return (loss, gradient norm before clipping).

    Where the loss or the norm is not finite nothing but the scratch has changed; nor where the norm is -1,
    which says that an action is none of the network's.

    Parameters
    ----------
    params : six float[P]: theta, target, average, Adam's m and v, scratch for the gradient
    hyper : float[9]
        huber_delta, clip (largest global norm), beta1, beta2, eps, step_size = lr / (1 - beta1^t),
        v_scale = 1 / sqrt(1 - beta2^t), averaging rate, smallest moment kept.
    """
    theta, target, _, _, _, grad = params
    one = grad.dtype.type(1)
    for a in batch[1]:
        if a < 0 or a >= sizes[-1]:
            return -one, -one
    loss = td_gradient(theta, target, sizes, batch, double, hyper[0], work, grad, td_abs)
    norm = np.sqrt(np.dot(grad, grad))
    if np.isfinite(loss) and np.isfinite(norm):
        _adam(params, hyper[1] / norm if norm > hyper[1] else one, hyper)
    return loss, norm


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def greedy(theta, sizes, obs, work, actions):
    """Fill `actions` int64[n] with the first action of largest value in each row of `obs` float[n, d]."""
    q = forward(theta, sizes, obs, work)
    for i in range(q.shape[0]):
        arg = 0
        for j in range(1, q.shape[1]):
            if q[i, j] > q[i, arg]:
                arg = j
        actions[i] = arg


@njit(cache=True, fastmath={"contract"}, error_model="numpy")
def epsilon_greedy(theta, sizes, obs, work, epsilon, uniforms, actions):
    """Fill `actions` int64[n]: row i explores where uniforms[i, 0] < epsilon, by uniforms[i, 1]."""
    n_actions = sizes[-1]
    n_exploring = 0
    for i in range(uniforms.shape[0]):
        if uniforms[i, 0] < epsilon:
            n_exploring += 1
    if n_exploring < uniforms.shape[0]:
        greedy(theta, sizes, obs, work, actions)
    for i in range(uniforms.shape[0]):
        if uniforms[i, 0] < epsilon:
            actions[i] = int(uniforms[i, 1] * n_actions)
