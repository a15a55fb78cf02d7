"""n-step transitions and sequences from whole episodes, by looking at each episode from its beginning."""

import math


def n_step_of_episode(steps, n, discount, ended):
    """Return the transitions of one episode so far: dicts with the steps summed, in order.

    `ended`: nothing follows, so the last ones are shorter; otherwise only complete ones are there.
    """
    result = []
    for t in range(len(steps)):
        summed = steps[t : t + n]
        if len(summed) < n and not ended:
            break
        last = summed[-1]
        result.append({
            **steps[t],
            "reward": sum(discount**i * step["reward"] for i, step in enumerate(summed)),
            **{name: last[name] for name in steps[t] if name.startswith("next_")},
            "terminated": last["terminated"],
            "truncated": last["truncated"],
            "discount": 0.0 if last["terminated"] else discount ** len(summed),
        })  # fmt: skip
    return result


def sequences_of_episode(steps, length, burn_in, period, ended):
    """Return (steps, mask) of every sequence of one episode so far, unpadded."""
    n, result, learned, start = burn_in + length, [], 0, 0
    while start < len(steps):
        held = steps[start : start + n]
        if len(held) < n and not (ended and learned < len(steps)):
            break
        result.append((held, [i >= burn_in or start == 0 for i in range(len(held))]))
        learned = start + len(held)
        start += period
        if ended and learned >= len(steps):
            break
    return result


def sequence_priority(priorities, mask, eta):
    learned = [p for p, m in zip(priorities, mask, strict=True) if m]
    if any(math.isnan(p) for p in learned):
        return math.nan
    return eta * max(learned) + (1 - eta) * sum(learned) / len(learned)
