"""New transitions are found at the nominal chance, whatever the maximum; few stay unsampled."""

import math

import numpy as np

import amper
from amper import samplers
from tests.naive import associative as naive

NOMINAL = 0.30  # 2 lambda' of the top group
LAM, M, N_SAMPLINGS = 0.15, 20, 1500
MATCHES = ("dithered", "prefix", "radius")


def exact_chance(v_max, match):
    """Return the chance that the top group's search covers the code F - 1, summed over V and the dither."""
    full = naive.full_scale(v_max, 1 / M, LAM, 16)
    low, width = naive.linear_groups(full, M)[-1]
    chance = 0.0
    for key in range(int(low), full):
        share = (min(key + 1, full) - max(key, low)) / width
        delta = LAM * key * width / full
        if match == "radius":
            chance += share * (key + delta >= full - 1)
            continue
        block = max(2 * delta, 1)
        k = math.floor(math.log2(block) + (0.5 if match == "prefix" else 0.0))
        wider = 0.0 if match == "prefix" else block / 2**k - 1
        covers = [key >> j == (full - 1) >> j for j in (k, k + 1)]
        chance += share * ((1 - wider) * covers[0] + wider * covers[1])
    return chance


def measured_chance(v_max, match, n_samplings=N_SAMPLINGS):
    sampler = samplers.make("amper-fr", 2, seed=v_max, match=match, n_groups=M, lam=LAM, max_redraws=0)
    sampler.insert(np.array([0]), np.array([v_max]), at_maximum=False)
    sampler.insert(np.array([1]), np.array([v_max]), at_maximum=True)
    return np.mean([1 in sampler.candidates()[0] for _ in range(n_samplings)])


def test_the_dithered_match_finds_new_items_at_the_nominal_chance(capsys):
    values = [int(v) for v in np.random.default_rng(0).integers(1000, 65_536, 200)]
    chances = {match: np.array([exact_chance(v, match) for v in values]) for match in MATCHES}
    with capsys.disabled():
        for match, c in chances.items():
            print(f"\n  new item, {match}: mean {c.mean():.3f}, range {c.min():.3f} .. {c.max():.3f}", end="")
    assert np.all(np.abs(chances["dithered"] - NOMINAL) <= 0.1 * NOMINAL)
    measured = np.array([measured_chance(v, "dithered") for v in values])
    sd = np.sqrt(chances["dithered"] * (1 - chances["dithered"]) / N_SAMPLINGS)
    # Largest of 200 normal deviates; false-alarm rate 1e-3 at a fixed seed.
    assert np.max(np.abs(measured - chances["dithered"]) / sd) < 4.6


def test_the_default_groups_find_new_items_most_of_the_time_whatever_the_maximum(capsys):
    chances = []
    for v_max in np.random.default_rng(1).integers(1, 65_536, 200):
        sampler = samplers.make("amper-fr", 2, seed=int(v_max), max_redraws=0)
        sampler.insert(np.array([0]), np.array([v_max]), at_maximum=False)
        sampler.insert(np.array([1]), np.array([v_max]), at_maximum=True)
        chances.append(np.mean([1 in sampler.candidates()[0] for _ in range(400)]))
    with capsys.disabled():
        print(
            f"\n  new item, tapered: mean {np.mean(chances):.3f}, range {min(chances):.3f} .. {max(chances):.3f}",
            end="",
        )
    assert min(chances) > 0.7


def test_without_alignment_new_items_are_found_or_missed_by_accident(monkeypatch):
    monkeypatch.setattr("amper.associative.aligned_full_scale", lambda v_max, *_: v_max + 1)
    values = np.random.default_rng(0).integers(1000, 65_536, 40)
    chances = [measured_chance(int(v), "dithered", 400) for v in values]
    assert min(chances) < 0.1


def never_sampled(sampler, capacity=20_000, n_samplings=10_000):
    buffer = amper.ReplayBuffer(capacity, {"x": {}}, sampler=sampler, seed=3)
    rng = np.random.default_rng(0)
    for _ in range(n_samplings):
        buffer.add(x=np.zeros(capacity // n_samplings))
        batch = buffer.sample(64)
        buffer.update_priorities(batch["indices"], rng.exponential(0.3, 64))
    return buffer.stats["unsampled"]


def test_about_as_few_transitions_stay_unsampled_as_with_per(capsys):
    counts = {name: never_sampled(name) for name in ("per", "amper-fr")}
    with capsys.disabled():
        print(f"\n  never sampled of 20,000 after 10,000 samplings of 64: {counts}", end="")
    assert 0 < counts["per"] <= 150
    assert counts["amper-fr"] <= 2 * counts["per"]
