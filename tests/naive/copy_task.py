"""The copy task, one sequence and one step after the other, from the uniforms the fast one takes."""


def sequence(uniform, bits, shortest, longest):
    """Return (token, target, copying, begins) of every step of one sequence."""
    length = shortest + int(uniform * (longest - shortest + 1))
    said = [1 if u >= 0.5 else 0 for u in bits[:length]]
    reading = [(bit, 2, False, i == 0) for i, bit in enumerate(said)]
    return reading + [(2, bit, True, False) for bit in said]


def minibatch(rng, batch, longest):
    """Return a list of steps a stream, padded to the longest."""
    starts = rng.random(batch)
    bits = rng.random((batch, longest))
    streams = [sequence(starts[b], bits[b], max(longest - 5, 1), longest) for b in range(batch)]
    n_steps = max(len(steps) for steps in streams)
    return [steps + [(-1, 2, False, False)] * (n_steps - len(steps)) for steps in streams]


def streams(rng, batch, longest, n_steps):
    """Return a list of steps a stream; sequences follow each other."""
    out = [[] for _ in range(batch)]
    left = [[] for _ in range(batch)]
    for _ in range(n_steps):
        for b in range(batch):
            if not left[b]:
                uniforms = [rng.random() for _ in range(1 + longest)]
                left[b] = sequence(uniforms[0], uniforms[1:], 1, longest)
            out[b].append(left[b].pop(0))
    return out


def whole_and_right(steps, right):
    """Return (sequences said without a mistake, sequences that ended) of one stream."""
    n_right = n_whole = 0
    copied, read, good = 0, 0, True
    for (token, _, copying, begins), is_right in zip(steps, right, strict=True):
        if begins:
            copied, read, good = 0, 0, True
        if token == -1:
            continue
        read += not copying
        copied += copying
        good = good and (is_right or not copying)
        if copying and copied == read:
            n_whole += 1
            n_right += good
    return n_right, n_whole
