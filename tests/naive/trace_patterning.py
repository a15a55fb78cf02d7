"""Trace patterning (Javed et al. 2023), one step at a time, from a row of eight uniforms a step."""

import itertools

PATTERNS = list(itertools.combinations(range(6), 3))


class TracePatterning:
    """Patterns on six bits; a valid one is followed by the US an interval later.

    Row: five uniforms for the distractors, then pattern, ISI and ITI; the last three count only where they are needed.
    """

    def __init__(self, valid, isi, iti, discount=0.9):
        self.valid, self.isi, self.iti, self.discount = valid, isi, iti, discount
        self.n = 0
        self.us_at = 0  # the stream begins where a US would have been
        self.pending = False
        self.cs_at = None

    def step(self, row):
        x = [0.0] * 12
        if self.n == self.us_at:
            if self.pending:
                x[6] = 1.0
            self.pending = False
            self.cs_at = self.n + draw(row[7], self.iti)
        elif self.n == self.cs_at:
            chosen = int(row[5] * 20)
            for bit in PATTERNS[chosen]:
                x[bit] = 1.0
            self.pending = chosen in self.valid
            self.us_at = self.n + draw(row[6], self.isi)
        for k in range(5):
            x[7 + k] = 1.0 if row[k] < 1 / (10 * (k + 1)) else 0.0
        target = self.discount ** (self.us_at - self.n - 1) if self.pending else 0.0
        self.n += 1
        return x, x[6], target


def draw(uniform, bounds):
    low, high = bounds
    return low + int(uniform * (high - low + 1))
