"""TD(lambda) in NumPy around any learner of `rl.learners`: what the compiled predictors must equal."""

import numpy as np


class Averages:
    """Running means and variances of a vector."""

    def __init__(self, n, beta, cap):
        self.beta, self.cap, self.mu, self.v = beta, cap, np.zeros(n), np.ones(n)

    def normalise(self, x):
        self.mu = self.beta * self.mu + (1 - self.beta) * x
        self.v = np.maximum(self.beta * self.v + (1 - self.beta) * (x - self.mu) ** 2, self.cap)
        return (x - self.mu) / np.sqrt(self.v)


class PlainTd:
    """One stage: the learner's gradient of p enters the trace of its weights."""

    def __init__(self, learner, settings, beta, cap):
        n = learner.cell.n_hidden
        self.learner, self.settings = learner, settings
        self.inputs, self.outputs = Averages(learner.cell.n_inputs, beta, cap), Averages(n, beta, cap)
        self.readout, self.e_readout = np.zeros(n + 1), np.zeros(n + 1)  # the bias last
        self.e = np.zeros_like(learner.theta)
        self.m, self.m_readout = settings.optimiser.start(self.e), settings.optimiser.start(self.readout)
        self.hh, self.p, self.discount = np.zeros(n), None, 0.0

    def step(self, x, cumulant, discount):
        first, learner, step_size = self.p is None, self.learner, self.settings.step_size
        if not first:
            decay = self.discount * self.settings.trace_decay
            self.e = decay * self.e + learner.gradient(self.readout[:-1] / np.sqrt(self.outputs.v))
            self.e_readout = decay * self.e_readout + np.append(self.hh, 1.0)
        if discount == 0:
            learner.reset()
        self.hh = self.outputs.normalise(learner.step(self.inputs.normalise(x)))
        before, self.p = self.p, self.readout @ np.append(self.hh, 1.0)
        if not first:
            minus_delta = before - cumulant - discount * self.p
            rms, n = self.settings.optimiser, len(self.hh)
            learner.theta[:], self.m = rms.advance(learner.theta, minus_delta * self.e, self.m, 1, step_size)
            self.readout, self.m_readout = rms.advance(
                self.readout, minus_delta * self.e_readout, self.m_readout, 1, step_size / n
            )
        self.discount = discount
        return self.p

    def run(self, xs, cumulants, discounts):
        return np.array([self.step(*row) for row in zip(xs, cumulants, discounts, strict=True)])
