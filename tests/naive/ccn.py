"""Networks of LSTM columns that predict by TD(lambda) (Javed et al. 2023): one column and one scalar at a time.

Every quantity is a Python float or a list of them. A step does, in this order: traces take in the gradient of the last
prediction; the network sees x'; the error; RMSProp; perhaps a new stage. The random initial weights come from outside.
"""

import math

GATES = "ifog"


def sigmoid(a):
    return 1.0 / (1.0 + math.exp(-a)) if a >= 0 else math.exp(a) / (1.0 + math.exp(a))


class Statistics:
    """Running mean and variance of one signal; the variance has a floor."""

    def __init__(self, beta, cap):
        self.beta, self.cap, self.mu, self.v = beta, cap, 0.0, 1.0
        self.frozen = False

    def normalise(self, x):
        if not self.frozen:
            self.mu = self.beta * self.mu + (1 - self.beta) * x
            self.v = max(self.beta * self.v + (1 - self.beta) * (x - self.mu) ** 2, self.cap)
        return (x - self.mu) / math.sqrt(self.v)


class Weight:
    """A number that learns: its trace and the running mean of its squared steps."""

    def __init__(self, value, rms):
        self.value, self.rms, self.m, self.e = value, rms, rms["initial"], 0.0

    def learn(self, delta, step_size):
        d = self.rms["decay"]
        self.m = d * self.m + (1 - d) * (delta * self.e) ** 2
        self.value += step_size * delta * self.e / (math.sqrt(self.m) + self.rms["eps"])


class Column:
    """An LSTM of one unit; weights w[gate][input], the inputs being the normalised ones, h- and 1."""

    def __init__(self, weights, beta, cap, rms):
        self.w = {g: [Weight(value, rms) for value in weights[g]] for g in GATES}
        self.inputs = [Statistics(beta, cap) for _ in range(len(weights["i"]) - 2)]
        self.frozen = False
        self.reset()

    def reset(self):
        self.c = self.h = 0.0
        self.th = {g: [0.0] * len(self.w[g]) for g in GATES}
        self.tc = {g: [0.0] * len(self.w[g]) for g in GATES}

    def freeze(self):
        self.frozen = True
        for statistics in self.inputs:
            statistics.frozen = True
        for g in GATES:
            for w in self.w[g]:
                w.e = 0.0

    def forward(self, raw):
        phi = [s.normalise(x) for s, x in zip(self.inputs, raw, strict=True)] + [self.h, 1.0]
        a = {g: sum(w.value * x for w, x in zip(self.w[g], phi, strict=True)) for g in GATES}
        i, f, o, g = sigmoid(a["i"]), sigmoid(a["f"]), sigmoid(a["o"]), math.tanh(a["g"])
        c_before = self.c
        self.c = f * c_before + i * g
        tanh_c = math.tanh(self.c)
        self.h = o * tanh_c
        if self.frozen:
            return self.h
        u = {gate: self.w[gate][-2].value for gate in GATES}
        k = {"i": g * i * (1 - i), "f": c_before * f * (1 - f), "g": i * (1 - g * g), "o": tanh_c * o * (1 - o)}
        big_a = k["f"] * u["f"] + k["g"] * u["g"] + k["i"] * u["i"]
        big_b = o * (1 - tanh_c**2)
        big_e = k["o"] * u["o"]
        for gate in GATES:
            for p, x in enumerate(phi):
                tc, th = self.tc[gate][p], self.th[gate][p]
                tc = f * tc + big_a * th + (k[gate] * x if gate != "o" else 0.0)
                th = big_b * tc + big_e * th + (k["o"] * x if gate == "o" else 0.0)
                self.tc[gate][p], self.th[gate][p] = tc, th
        return self.h


class Network:
    """All columns, the readout, and TD(lambda).

    `initial(feature, n)` returns the weights of a column of n inputs: gate -> n + 2 numbers.
    """

    def __init__(
        self, n_inputs, n_features, per_stage, steps_a_stage, initial,
        step_size, trace_decay, beta, cap, fan_in=False, decay=0.9999, eps=1e-8, initial_m=1.0,
    ):  # fmt: skip
        self.n_inputs, self.n_features, self.u, self.steps_a_stage = n_inputs, n_features, per_stage, steps_a_stage
        self.initial, self.step_size, self.trace_decay, self.fan_in = initial, step_size, trace_decay, fan_in
        self.beta, self.cap = beta, cap
        self.rms = {"decay": decay, "eps": eps, "initial": initial_m}
        self.columns, self.outputs, self.readout, self.hh = [], [], [], []
        self.bias = Weight(0.0, self.rms)
        self.n_steps, self.discount, self.p = 0, 0.0, None
        self.open_stage()

    def open_stage(self):
        for column in self.columns:
            column.freeze()
        n = self.n_inputs + len(self.columns)
        for feature in range(len(self.columns), len(self.columns) + self.u):
            self.columns.append(Column(self.initial(feature, n), self.beta, self.cap, self.rms))
            self.outputs.append(Statistics(self.beta, self.cap))
            self.readout.append(Weight(0.0, self.rms))
            self.hh.append(0.0)

    def accumulate(self):
        """Take the gradient of the last prediction into the traces."""
        decay = self.discount * self.trace_decay
        for k, column in enumerate(self.columns):
            if not column.frozen:
                for g in GATES:
                    for w, th in zip(column.w[g], column.th[g], strict=True):
                        w.e = decay * w.e + self.readout[k].value / math.sqrt(self.outputs[k].v) * th
            self.readout[k].e = decay * self.readout[k].e + self.hh[k]
        self.bias.e = decay * self.bias.e + 1.0

    def forward(self, x):
        features = []
        for stage in range(0, len(self.columns), self.u):
            columns = self.columns[stage : stage + self.u]
            features = features + [column.forward([*x, *features]) for column in columns]
        self.hh = [s.normalise(h) for s, h in zip(self.outputs, features, strict=True)]
        return sum(w.value * h for w, h in zip(self.readout, self.hh, strict=True)) + self.bias.value

    def learn(self, delta):
        for column in self.columns:
            if not column.frozen:
                size = self.step_size / (len(column.inputs) if self.fan_in else 1)
                for g in GATES:
                    for w in column.w[g]:
                        w.learn(delta, size)
        for w in [*self.readout, self.bias]:
            w.learn(delta, self.step_size / len(self.columns))

    def step(self, x, cumulant, discount):
        """Return the prediction on x; `discount` 0 says that x begins another episode."""
        first = self.p is None
        if not first:
            self.accumulate()
        if discount == 0.0:
            for column in self.columns:
                column.reset()
        before, self.p = self.p, self.forward(x)
        if not first:
            self.learn(cumulant + discount * self.p - before)
        self.discount = discount
        self.n_steps += 1
        if self.n_steps % self.steps_a_stage == 0 and len(self.columns) < self.n_features:
            self.open_stage()
        return self.p
