"""A replay as a Python list."""

import math


class NaiveReplay:
    """Transitions by id; what ReplayBuffer stores, slowly."""

    def __init__(self, capacity, alpha=0.6, eps=1e-6):
        self.capacity, self.alpha, self.eps = capacity, alpha, eps
        self.rows, self.priority, self.largest, self.stale = {}, {}, None, 0
        self.sampled, self.n_never_sampled = set(), 0
        self.n = 0

    def add(self, rows, priorities=None):
        ids = []
        default = 1.0 if self.largest is None else self.largest
        for i, row in enumerate(rows):
            priority = default if priorities is None else priorities[i] + self.eps
            self.rows[self.n], self.priority[self.n] = row, priority
            if self.rows.pop(self.n - self.capacity, None) is not None:
                self.n_never_sampled += self.n - self.capacity not in self.sampled
            self.priority.pop(self.n - self.capacity, None)
            ids.append(self.n)
            self.n += 1
        if priorities is not None and len(rows):
            seen = max(priorities) + self.eps
            self.largest = seen if self.largest is None else max(self.largest, seen)
        return ids

    def update(self, ids, priorities):
        last = {}
        for i, p in zip(ids, priorities, strict=True):
            if i in self.rows:
                last[i] = p + self.eps
            else:
                self.stale += 1
        self.priority.update(last)
        if last:
            seen = max(last.values())
            self.largest = seen if self.largest is None else max(self.largest, seen)
        return len(last)

    def mass(self, i):
        return self.priority[i] ** self.alpha


def code_of(mass, scale, bits):
    """Return the fixed-point code of a mass: rounded half up, 1 .. 2**bits - 1."""
    top = 2**bits - 1
    return min(max(math.floor(mass / scale * top + 0.5), 1), top)
