"""Steps a second of the fused cells against their floors: `python tests/bench/bench_fused.py` prints them.

One process, one thread, float32, process CPU time, medians of 7 stretches, each on fresh random inputs. "peak" is what
a loop of independent fused multiply-adds reaches in the same run; "wanted" is what was measured before these kernels
where the peak was 112 GFLOP/s, scaled by this run's peak. Operations and bytes are those of `rl/_kernels`: a
multiply-add counts 2; bytes are each weight and each sensitivity read once and written once, whatever cache holds them.
With torch installed, eLSTMs of 128 streams are compared with the same step written in place in torch; losses of both
must agree.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).parents[2]))

from rl import cells, fused
from rl._kernels import fused_gru
from rl._kernels.lanes import fill, fma, load, store
from rl.blas import single_threaded

SIZES = ((32, 8), (32, 64), (128, 8), (128, 64), (512, 8), (512, 64))
#: Steps a second at `SIZES` with forward pass, sensitivities and gradient descent, measured before these kernels.
WANTED = {
    "elstm": (1.1e6, 200e3, 300e3, 130e3, 22e3, 16e3),
    "rtu": (480e3, 155e3, 160e3, 110e3, 40e3, 27e3),
}
#: Times a torch implementation in place that an eLSTM of 128 streams should reach, by units.
WANTED_TORCH = {32: 2.5, 128: 6.0, 512: 3.5}
PEAK_MEASURED_BEFORE = 112.0
N_STRETCHES = 7


@njit(_nrt=False)
def multiply_adds(a, n):
    """Do 12 * 16 * n independent multiply-adds."""
    x, y = load(a, 0), load(a, 16)
    r0 = r1 = r2 = r3 = r4 = r5 = r6 = r7 = r8 = r9 = r10 = r11 = fill(x, 0.0)
    for _ in range(n):
        r0, r1, r2, r3 = fma(x, r0, y), fma(x, r1, y), fma(x, r2, y), fma(x, r3, y)
        r4, r5, r6, r7 = fma(x, r4, y), fma(x, r5, y), fma(x, r6, y), fma(x, r7, y)
        r8, r9, r10, r11 = fma(x, r8, y), fma(x, r9, y), fma(x, r10, y), fma(x, r11, y)
    store(a, 32, ((r0 + r1) + (r2 + r3)) + ((r4 + r5) + (r6 + r7)) + ((r8 + r9) + (r10 + r11)))


@njit(_nrt=False)
def forward_only(weights, moments, hyper, held, xs, n_steps, n_inputs, n_lanes):
    """Take steps of a fused GRU without traces."""
    for t in range(n_steps):
        fused_gru._sweep_one(weights, moments, hyper, held, xs, t * n_inputs, n_inputs, n_lanes, (False, False, True))


@njit
def products(matrix, x, y, n):
    """Multiply `n` times by SciPy's sgemv, which numba calls."""
    for _ in range(n):
        np.dot(matrix, x, y)


def rate(work, n_steps, prepare=lambda: ()):
    """Return the median steps a CPU second of `work(*prepare())`, which takes `n_steps`."""
    work(*prepare())
    rates = []
    for _ in range(N_STRETCHES):
        arguments = prepare()
        start = time.process_time()
        work(*arguments)
        rates.append(n_steps / (time.process_time() - start))
    return float(np.median(rates))


def peak():
    """Return this run's float32 GFLOP/s of independent multiply-adds."""
    a = np.full(48, 0.5, np.float32)
    return rate(lambda: multiply_adds(a, 2_000_000), 2_000_000 * 12 * 16 * 2) / 1e9


def stretch(flops):
    """Return how many steps of `flops` operations fill some 60 ms at 20 GFLOP/s."""
    return int(min(max(1.2e9 / flops, 8), 50_000))


def data(rng, n_steps, n_inputs, batch=None):
    """Return fresh inputs and targets."""
    streams = () if batch is None else (batch,)
    shape = (n_steps, *streams)
    return rng.normal(size=(*shape, n_inputs)).astype(np.float32), rng.normal(size=(*shape, 1)).astype(np.float32)


def work_of(name, n, n_inputs, batch=1, learn=True):
    """Return operations and bytes a step, readout left out."""
    if name == "elstm":
        gates, out = 2 * n * (n_inputs + 2), n * (n + n_inputs + 1)
        flops = batch * (7 * gates + (6 if learn else 2) * out - (2 * n * (n_inputs + 1) if learn else 0))
        return flops, 8 * (gates * (batch + 1) + out)
    if name == "rtu":
        pairs = n * n_inputs
        return batch * pairs * (9 + 8 + 4), 8 * pairs * (2 * batch + 2)
    weights = 3 * n * (n + n_inputs + 1)
    return batch * weights * (7 if learn else 5), weights * (8 * batch + (8 if learn else 4))


def made(name, n, n_inputs, batch=None):
    """Return a fused cell with a linear readout of one output, learning by gradient descent."""
    cell = cells.make(name, n_inputs=n_inputs, n_units=n, dtype="float32")
    learner = "snap" if name == "gru" else "rtrl"
    return fused.make(cell, learner=learner, batch=batch, step_size=1e-4, loss="squared", n_outputs=1)


def single_streams(name, rng, peak_gflops):
    """Print a line for each size of a cell, one stream."""
    print(f"\n{name}, one stream: forward, sensitivities, gradient descent")
    print("  units x inputs    steps/s    wanted   ratio  kflop/step  kB/step  GFLOP/s  share of peak    GB/s")
    for (n, n_inputs), wanted in zip(SIZES, WANTED[name], strict=True):
        flops, n_bytes = work_of(name, n, n_inputs)
        n_steps, learner = stretch(flops), made(name, n, n_inputs)
        measured = rate(learner.run, n_steps, lambda s=n_steps, k=n_inputs: data(rng, s, k))
        scaled = wanted * peak_gflops / PEAK_MEASURED_BEFORE
        print(
            f"  {n:5} x {n_inputs:<6}  {measured:11,.0f} {scaled:9,.0f}  {measured / scaled:6.2f} {flops / 1e3:11.1f}"
            f" {n_bytes / 1e3:8.1f} {measured * flops / 1e9:8.1f} {measured * flops / 1e9 / peak_gflops:14.1%}"
            f" {measured * n_bytes / 1e9:7.1f}"
        )


def gru(rng, peak_gflops):
    """Print the GRU with SnAp-1: forward against SciPy's sgemv, then with traces, then with gradient descent."""
    print("\ngru, SnAp-1, one stream, ratios to its own forward pass (wanted: sgemv share >= 50%, with traces <= 2.3)")
    print("  units x inputs   forward/s  sgemv/s  share  with traces  and descent  traces/s  GFLOP/s  GB/s")
    for n, n_inputs in SIZES:
        flops, n_bytes = work_of("gru", n, n_inputs, learn=False)
        n_steps, learner = stretch(flops), made("gru", n, n_inputs)
        matrix = rng.normal(size=(3 * n, n + n_inputs + 1)).astype(np.float32)
        x, y = np.ones(n + n_inputs + 1, np.float32), np.zeros(3 * n, np.float32)

        def multiply(*_, given=(matrix, x, y, n_steps)):
            products(*given)

        def forward(xs, _, learner=learner, n_steps=n_steps, n_inputs=n_inputs):
            weights, held = (learner._weights, learner._kept), tuple(learner._held.values())
            moments = tuple(learner._opt.moments)
            forward_only(weights, moments, learner._opt.hyper, held, xs.ravel(), n_steps, n_inputs, learner.n_lanes)

        fresh = lambda s=n_steps, k=n_inputs: data(rng, s, k)  # noqa: E731
        plain, sgemv = rate(forward, n_steps, fresh), rate(multiply, n_steps)
        traced = rate(lambda xs, _, f=learner: f.advance(xs), n_steps, fresh)
        learned = rate(learner.run, n_steps, fresh)
        print(
            f"  {n:5} x {n_inputs:<6} {plain:11,.0f} {sgemv:8,.0f} {plain / sgemv:6.0%} {plain / traced:12.2f}"
            f" {plain / learned:12.2f} {traced:9,.0f} {traced * flops / 1e9:8.1f} {traced * n_bytes / 1e9:5.1f}"
        )


class TorchElstm:
    """The same eLSTM step of B streams in torch: every array in place, sensitivities float[n, B, inputs + 2]."""

    def __init__(self, learner, batch):
        import torch

        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        cell = learner.cell
        views = {name: torch.tensor(np.array(v)) for name, v in cell.views(learner.theta.copy()).items()}
        n, k = cell.n_units, cell.n_inputs
        stacked = [torch.cat([views[a], views[b][:, None], views[c][:, None]], 1) for a, b, c in
                   (("F", "w_z", "b_z"), ("W", "w_f", "b_f"))]  # fmt: skip
        self.gates = torch.stack(stacked).contiguous()  # [2, n, k + 2]
        self.out = torch.cat([views["W_ox"], views["W_oc"], views["b_o"][:, None]], 1).contiguous()
        self.readout, self.lr, self.n, self.k = torch.zeros(1, n + 1), learner.step_size, n, k
        self.c = torch.zeros(batch, n)
        self.trace = torch.zeros(2, n, batch, k + 2)
        self.source = torch.ones(batch, k + 2)
        self.outer, self.h1 = torch.ones(batch, k + n + 1), torch.ones(batch, n + 1)
        self.sums, self.back = torch.zeros(2, batch, n), torch.zeros(batch, n)
        self.change = torch.zeros(2, n, 1, k + 2)
        self.torch = torch

    def run(self, xs, targets):
        """Return the loss of every step, summed over the streams."""
        return [float(self.step(x, y)) for x, y in zip(self.torch.tensor(xs), self.torch.tensor(targets), strict=True)]

    def step(self, x, y):
        """Take and learn from a step."""
        torch, n, k = self.torch, self.n, self.k
        gates, before = self.gates, self.c.clone()
        for g in range(2):
            torch.mm(x, gates[g, :, :k].T, out=self.sums[g])
            self.sums[g].addcmul_(before, gates[g, :, k]).add_(gates[g, :, k + 1])
        z, f = self.sums[0].tanh_(), self.sums[1].sigmoid_()
        rest = 1 - f
        zh, fh = rest * (1 - z * z), (before - z) * f * rest
        d = torch.addcmul(f, zh, gates[0, :, k]).addcmul_(fh, gates[1, :, k])
        self.c.mul_(f).addcmul_(rest, z)
        self.source[:, :k] = x
        # The own weight reads c-, a unit's own: that column apart.
        for g, to in enumerate((zh, fh)):
            trace = self.trace[g]
            trace.mul_(d.T[:, :, None])
            trace.addcmul_(to.T[:, :, None], self.source[None])
            trace[:, :, k].add_((to * (before - 1)).T)
        self.outer[:, :k], self.outer[:, k : k + n] = x, self.c
        o = torch.mm(self.outer, self.out.T).sigmoid_()
        torch.mul(self.c, o, out=self.h1[:, :n])
        error = torch.mm(self.h1, self.readout.T).sub_(y)
        q = error * self.readout[:, :n]
        self.readout.addmm_(error.T, self.h1, alpha=-self.lr)
        delta = q * self.c * o * (1 - o)
        torch.addmm(q * o, delta, self.out[:, k : k + n], out=self.back)
        self.out.addmm_(delta.T, self.outer, alpha=-self.lr)
        for g in range(2):
            torch.bmm(self.back.T[:, None], self.trace[g], out=self.change[g])
        self.gates.add_(self.change[:, :, 0], alpha=-self.lr)
        return error.square_().sum() / 2


def many_streams(rng, peak_gflops, batch=128, n_inputs=64):
    """Print eLSTMs of 128 streams, and torch beside them where it is installed."""
    with_torch = importlib.util.find_spec("torch") is not None
    print(f"\nelstm, {batch} streams, {n_inputs} inputs, samples a second" + ("" if with_torch else "; no torch here"))
    print("  units    samples/s     torch   ratio  wanted  GFLOP/s  share of peak  MB/step   GB/s")
    for n, wanted in WANTED_TORCH.items():
        flops, n_bytes = work_of("elstm", n, n_inputs, batch)
        n_steps, learner = stretch(flops), made("elstm", n, n_inputs, batch)
        other = 0.0
        if with_torch:
            reference = TorchElstm(learner, batch)
            xs, ys = data(rng, 20, n_inputs, batch)
            np.testing.assert_allclose(learner.run(xs, ys).sum(axis=1), reference.run(xs, ys), rtol=1e-4)
            fresh = lambda s=n_steps: data(rng, s, n_inputs, batch)  # noqa: E731
            other = rate(reference.run, n_steps * batch, fresh)
        measured = rate(learner.run, n_steps * batch, lambda s=n_steps: data(rng, s, n_inputs, batch))
        per_step = measured / batch
        print(
            f"  {n:5} {measured:12,.0f} {other:9,.0f} {measured / other if other else 0:7.2f} {wanted:7.1f}"
            f" {per_step * flops / 1e9:8.1f} {per_step * flops / 1e9 / peak_gflops:14.1%} {n_bytes / 1e6:8.2f}"
            f" {per_step * n_bytes / 1e9:6.1f}"
        )


def main():
    rng = np.random.default_rng(0)
    with single_threaded():
        peak_gflops = peak()
        print(f"peak {peak_gflops:.1f} GFLOP/s float32 in this run")
        for name in WANTED:
            single_streams(name, rng, peak_gflops)
        gru(rng, peak_gflops)
        many_streams(rng, peak_gflops)
        print(f"peak again {peak():.1f} GFLOP/s")


if __name__ == "__main__":
    main()
