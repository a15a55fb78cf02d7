"""Where the matches of a trace lie, by looking at every row for every search."""

import math

import numpy as np


def match_counts(trace, rows_per_array, n_banks, mapping, per="bank", addresses_per_word=1, union=False):
    """Return words per bank or array of every search; with `union`, of every attempt, each slot once."""
    n_arrays = -(-trace.header.n_rows // rows_per_array)
    result = []
    for _, _, found in _samplings(trace):
        for attempt in _attempts(found):
            rows = [_union(trace, attempt)] if union else [slots for _, slots in attempt]
            result += [
                _count(slots, rows_per_array, n_arrays, n_banks, mapping, per, addresses_per_word) for slots in rows
            ]
    n_columns = n_arrays if per == "array" else n_banks
    return np.array(result, int).reshape(-1, n_columns)


def attempts(trace):
    """Return (sampling, attempt, searches) of every attempt that searched."""
    return [
        (sample, int(attempt[0][0]["attempt"]), len(attempt))
        for sample, _, found in _samplings(trace)
        for attempt in _attempts(found)
    ]


def _samplings(trace):
    """Yield (sampling, stored codes by slot, [(search, slots found)]) in order."""
    codes = {}
    hamming = trace.header.options.get("distance") == "hamming"
    for op in trace.ops:
        if op["kind"] != 2:
            for w in trace.writes[op["first"] : op["first"] + op["count"]]:
                codes[int(w["slot"])] = int(w["code"])
            continue
        sample = trace.samples[op["first"]]
        rows = trace.searches[sample["first_search"] : sample["first_search"] + sample["n_searches"]]
        yield int(op["first"]), codes, [(row, _found(codes, row, hamming)) for row in rows]


def _attempts(found):
    """Return the runs of the same attempt."""
    runs = []
    for row, slots in found:
        if not runs or runs[-1][-1][0]["attempt"] != row["attempt"]:
            runs.append([])
        runs[-1].append((row, slots))
    return runs


def _found(codes, row, hamming):
    if row["n_neighbours"] == 0:
        return [slot for slot, code in codes.items() if row["lo"] <= code <= row["hi"]]
    return nearest(codes, int(row["key"]), int(row["n_neighbours"]), hamming)


def nearest(codes, key, n, hamming=False):
    """Return the n slots of the dict `codes` nearest to `key`; of equally near ones the lowest."""

    def far(slot):
        return (codes[slot] ^ key).bit_count() if hamming else abs(codes[slot] - key)

    return sorted(codes, key=lambda slot: (far(slot), slot))[:n]


def _union(trace, attempt):
    counted = trace.header.sampler == "amper-k"
    return set().union(*(slots for row, slots in attempt if row["n_neighbours"] > 0 or not counted))


def _count(slots, rows_per_array, n_arrays, n_banks, mapping, per, addresses_per_word):
    in_array = [0] * n_arrays
    for slot in slots:
        in_array[slot // rows_per_array] += 1
    words = [math.ceil(n / addresses_per_word) for n in in_array]
    if per == "array":
        return words
    in_bank = [0] * n_banks
    for array, n in enumerate(words):
        in_bank[array % n_banks if mapping == "interleaved" else array // -(-n_arrays // n_banks)] += n
    return in_bank
