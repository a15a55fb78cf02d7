"""A faulty memory from its definition: a loop over rows, a loop over bits, nothing clever."""


def stored(word, row, stuck):
    """Return what a row holds after `word` was written; stuck maps (row, bit) to the bit that the cell keeps."""
    for (where, bit), value in stuck.items():
        if where == row:
            word = word & ~(1 << bit) | value << bit
    return word


def blocks(lo, hi):
    """Return the aligned blocks (first code, number of don't-care bits) that tile lo .. hi, ascending."""
    found = []
    while lo <= hi:
        k = max(k for k in range(hi.bit_length() + 1) if lo % 2**k == 0 and lo + 2**k - 1 <= hi)
        found.append((lo, k))
        lo += 2**k
    return found


def search(words, key, k, bits, missed, false, noisy):
    """Return the rows found by one ternary search; `words` maps valid rows to what they hold, the rest are events."""
    found = set()
    for row, word in words.items():
        n = sum((word >> j) & 1 != (key >> j) & 1 for j in range(k, bits))
        if (n == 0 and row not in missed) or (n > 0 and row in false) or (n == 1 and row in noisy):
            found.add(row)
    return found


def search_ranges(words, ranges, bits, events, n_rows):
    """Return the rows found by each range; `events` are three collections of n_rows * ternary search + row."""
    found, t = [], 0
    for lo, hi in ranges:
        rows = set()
        for key, k in blocks(lo, hi):
            mine = [{e - t * n_rows for e in kind if t * n_rows <= e < (t + 1) * n_rows} for kind in events]
            rows |= search(words, key, k, bits, *mine)
            t += 1
        found.append(rows)
    return found
