"""Synthetic traces follow the law they state, and every recorded count is exact."""

import json
import subprocess
import sys

import numpy as np
import pytest

import hwsim
from hwsim.workload import n_ternary_words

SAMPLERS = ("amper-fr", "amper-k")


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("fraction", [0.0, 0.02, 0.15, 1.0])
@pytest.mark.parametrize("n_rows", [1, 2, 500, 5_000])
def test_recorded_matches_are_the_matches_recomputed_from_writes(sampler, fraction, n_rows):
    trace = hwsim.synthetic_trace(n_rows, 64, fraction, 4, seed=7, sampler=sampler)
    counts = trace.match_counts(64, 8)
    np.testing.assert_array_equal(counts.sum(axis=1), trace.searches["n_matches"])


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("fraction", [0.02, 0.15, 0.6])
def test_the_candidate_set_has_the_size_asked_for(sampler, fraction):
    trace = hwsim.synthetic_trace(20_000, 64, fraction, 50, seed=2, sampler=sampler)
    assert trace.samples["n_csp"].mean() == pytest.approx(fraction * 20_000, rel=0.03)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_draws_are_members_of_the_candidate_set(sampler):
    trace = hwsim.synthetic_trace(300, 64, 0.1, 5, seed=4, sampler=sampler)
    codes = np.zeros(300, np.int64)
    n_sampled = 0
    for op in trace.ops:
        if op["kind"] != 2:
            rows = trace.writes[op["first"] : op["first"] + op["count"]]
            codes[rows["slot"]] = rows["code"]
            continue
        sample = trace.samples[op["first"]]
        searches = trace.searches[sample["first_search"] :][: sample["n_searches"]]
        if sampler == "amper-k":
            searches = searches[searches["n_neighbours"] > 0]
        draws = trace.draws[sample["first_draw"] :][: sample["batch_size"]]
        for draw in draws:
            code = codes[draw["slot"]]
            mine = searches[searches["group"] == draw["group"]]
            assert ((mine["lo"].astype(int) <= code) & (code <= mine["hi"])).any()
        assert sample["n_csp"] == searches["n_matches"].sum()
        n_sampled += 1
    assert n_sampled == 5


def test_updates_exchange_codes_among_the_drawn_slots():
    trace = hwsim.synthetic_trace(200, 32, 0.2, 6, seed=5)
    codes = np.zeros(200, np.int64)
    before = None
    for op in trace.ops[trace.ops["kind"] != 2]:
        rows = trace.writes[op["first"] : op["first"] + op["count"]]
        codes[rows["slot"]] = rows["code"]
        before = np.sort(codes) if before is None else before
        np.testing.assert_array_equal(np.sort(codes), before)
    assert codes.min() >= 1


def test_the_same_seed_gives_the_same_trace_and_another_a_different_one():
    def codes(seed):
        return hwsim.synthetic_trace(100, 8, 0.1, 2, seed=seed).writes["code"].tolist()

    assert codes(1) == codes(1) != codes(2)


def test_a_range_is_covered_by_the_fewest_aligned_blocks():
    best = {}  # the slow way: every way to cut lo..hi into aligned blocks, shortest first
    for hi in range(32):
        for lo in range(hi, -1, -1):
            sizes = [2**k for k in range(6) if lo % 2**k == 0 and lo + 2**k - 1 <= hi]
            best[lo, hi] = min(1 + best.get((lo + s, hi), 0) for s in sizes)
            assert n_ternary_words(lo, hi) == best[lo, hi]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_rows": 0}, r"n_rows must be at least 1, got 0"),
        ({"batch_size": 0}, r"batch_size must be at least 1, got 0"),
        ({"csp_fraction": -0.1}, r"csp_fraction must lie between 0 and 1, got -0.1"),
        ({"csp_fraction": 1.5}, r"csp_fraction must lie between 0 and 1, got 1.5"),
        ({"csp_fraction": float("nan")}, r"csp_fraction must lie between 0 and 1, got nan"),
        ({"n_ops": -1}, r"n_ops must be at least 0, got -1"),
        ({"seed": -1}, r"seed must be at least 0, got -1"),
        ({"sampler": "per"}, r"sampler must be one of 'amper-fr', 'amper-k', got 'per'"),
        ({"clustering": -0.5}, r"clustering must lie between 0 and 1, got -0.5"),
        ({"clustering": 1.5}, r"clustering must lie between 0 and 1, got 1.5"),
        ({"clustering": float("nan")}, r"clustering must lie between 0 and 1, got nan"),
    ],
)
def test_a_bad_parameter_is_refused(parameters, message):
    good = {"n_rows": 10, "batch_size": 4, "csp_fraction": 0.1, "n_ops": 1, "seed": 0}
    with pytest.raises(ValueError, match=message):
        hwsim.synthetic_trace(**{**good, **parameters})


def test_unique_is_a_truth_value():
    with pytest.raises(TypeError, match="unique must be True or False, got 1"):
        hwsim.synthetic_trace(10, unique=1)


def inserted(**parameters):
    """Return the codes by slot, as the insert of a synthetic trace writes them."""
    trace = hwsim.synthetic_trace(**parameters)
    return trace.writes["code"][: trace.header.n_rows].astype(int)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 1_000])
def test_clustering_rearranges_the_codes_and_changes_none(n_rows):
    codes = inserted(n_rows=n_rows, seed=3, n_ops=0)
    uniform = np.random.default_rng(3).random(n_rows)
    np.testing.assert_array_equal(codes, np.maximum(1, np.floor(uniform * 65_535 + 0.5)))
    for clustering in (0.0, 0.3, 0.95, 1.0):
        clustered = inserted(n_rows=n_rows, seed=3, n_ops=0, clustering=clustering)
        np.testing.assert_array_equal(np.sort(clustered), np.sort(codes))
        np.testing.assert_array_equal(clustered, inserted(n_rows=n_rows, seed=3, n_ops=0, clustering=clustering))


def test_clusters_are_searched_by_the_searches_of_independent_codes():
    plain = hwsim.synthetic_trace(2_000, 16, n_ops=1, seed=6)
    clustered = hwsim.synthetic_trace(2_000, 16, n_ops=1, seed=6, clustering=0.9)
    np.testing.assert_array_equal(clustered.searches, plain.searches)
    np.testing.assert_array_equal(clustered.draws["group"], plain.draws["group"])
    assert (plain.header.options.get("clustering"), clustered.header.options["clustering"]) == (None, 0.9)


def test_with_clustering_1_codes_ascend_with_the_slots():
    codes = inserted(n_rows=5_000, seed=1, n_ops=0, clustering=1.0)
    assert (np.diff(codes) >= 0).all()


@pytest.mark.parametrize("clustering", [0.0, 0.5, 0.75, 0.95])
def test_a_slot_holds_the_code_that_follows_its_predecessors_with_the_chance_asked_for(clustering):
    n = 20_000
    codes = inserted(n_rows=n, seed=8, n_ops=0, clustering=clustering)
    stored = np.unique(codes)
    place = np.searchsorted(stored, codes)
    # Equal codes follow one another too; by chance a slot in about 2 of 17,000 codes stored does.
    follows = (np.diff(place) == 0) | (np.diff(place) == 1)
    # Five standard deviations of a binomial, one of two million runs beyond them; and what chance adds.
    bound = 5 * np.sqrt(clustering * (1 - clustering) / n) + 3e-4
    assert abs(follows.mean() - clustering) < bound
    lengths = np.diff(np.flatnonzero(np.concatenate(([True], ~follows, [True]))))
    if clustering:
        assert lengths.mean() == pytest.approx(1 / (1 - clustering), rel=0.15)
        # Runs are geometric: one of them goes on with the same chance, however long it is.
        for k in (1, 2, 3):
            longer, sd = clustering**k, np.sqrt(clustering**k * (1 - clustering**k) / len(lengths))
            assert abs((lengths > k).mean() - longer) < 5 * sd + 1e-3


def test_matches_of_clustered_codes_lie_in_few_arrays():
    def arrays(clustering):
        trace = hwsim.synthetic_trace(20_000, 16, n_ops=3, seed=2, clustering=clustering)
        counts = trace.match_counts(64, 1, per="array")
        np.testing.assert_array_equal(counts.sum(axis=1), trace.searches["n_matches"])
        return (counts > 0).sum()

    assert arrays(1.0) < 0.1 * arrays(0.0)
    assert arrays(1.0) < arrays(0.95) < arrays(0.5) < arrays(0.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("clustering", [0.0, 0.9])
def test_a_unique_candidate_set_is_the_union_of_what_was_found(sampler, clustering):
    trace = hwsim.synthetic_trace(400, 32, 0.7, 6, seed=9, sampler=sampler, clustering=clustering, unique=True)
    assert trace.header.options["unique"] is True
    union = trace.match_counts(64, 4, union=True).sum(axis=1)
    np.testing.assert_array_equal(trace.samples["n_csp"], union)
    again = hwsim.synthetic_trace(400, 32, 0.7, 6, seed=9, sampler=sampler, clustering=clustering)
    assert union[0] < again.samples["n_csp"][0]
    assert "unique" not in again.header.options
    assert (trace.draws["group"] == -1).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_unique_draws_are_uniform_over_the_slots_found(sampler):
    n, b = 60, 100_000
    trace = hwsim.synthetic_trace(n, b, 0.6, 1, seed=12, sampler=sampler, unique=True)
    codes = trace.writes["code"][:n].astype(int)
    searches = trace.searches[trace.searches["n_neighbours"] > 0] if sampler == "amper-k" else trace.searches
    found = set()
    for search in searches:
        if sampler == "amper-fr":
            found |= {i for i in range(n) if search["lo"] <= codes[i] <= search["hi"]}
        else:
            nearest = sorted(range(n), key=lambda i: (abs(codes[i] - int(search["key"])), i))
            found |= set(nearest[: search["n_neighbours"]])
    drawn = np.bincount(trace.draws["slot"], minlength=n)
    assert set(np.flatnonzero(drawn)) == found
    assert 10 < len(found) == trace.samples["n_csp"][0]
    expected = b / len(found)
    chi2, df = ((drawn[list(found)] - expected) ** 2 / expected).sum(), len(found) - 1
    assert abs(chi2 - df) < 5 * np.sqrt(2 * df)  # one run of a hundred thousand is beyond


def test_a_report_is_json():
    trace = hwsim.synthetic_trace(500, 8, 0.1, 2, seed=1)
    for name in ("amper-fr", "sumtree-gpu"):
        report = hwsim.simulate(trace, hwsim.machine(name, n_rows=500))
        loaded = json.loads(json.dumps(report.to_dict(), allow_nan=False))
        assert loaded["latency_fs"]["sample"] == report.latency_fs["sample"].tolist()
        assert loaded["machine"]["name"] == name
        assert (loaded["energy_pj"] is None) == (name == "sumtree-gpu")
        np.testing.assert_array_equal(report.latency_ns["sample"], report.latency_fs["sample"] / 1e6)


def test_importing_the_package_loads_no_compiler_plots_environments_or_tensors():
    heavy = ("numba", "matplotlib", "gymnasium", "torch")
    code = f"import sys, hwsim; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_inserts_overwrite_the_oldest_rows_in_turn_and_change_no_match():
    trace = hwsim.synthetic_trace(50, 8, 0.2, 20, seed=4, n_inserts=3)
    ops, writes = trace.ops, trace.writes
    inserted = [writes["slot"][op["first"]] for op in ops[1:] if op["kind"] == 0]
    assert inserted == [i % 50 for i in range(60)]
    assert (trace.match_counts(64, 1)[:, 0] == trace.searches["n_matches"]).all()
    with pytest.raises(ValueError, match="n_inserts must be at least 0, got -1"):
        hwsim.synthetic_trace(50, n_inserts=-1)


# -- ops from a file -------------------------------------------------------------------------------------
def write_ops(tmp_path, text):
    path = tmp_path / "ops.csv"
    path.write_text(text)
    return path


OPS = "\n".join(
    ("op,size", "insert,40", "update,7", "sample,16", "update,16", "insert,1", "insert,30", "sample,5", "update,12",
     "insert,60", "sample,3")
)  # fmt: skip


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("unique", [False, True])
def test_a_file_of_ops_gives_its_kinds_and_sizes_and_exact_matches(tmp_path, sampler, unique):
    trace = hwsim.load_csv(write_ops(tmp_path, OPS), 60, 0.3, sampler=sampler, unique=unique, clustering=0.5)
    kinds = ("insert", "update", "sample")
    listed = [(kinds[kind], int(count)) for kind, count in zip(trace.ops["kind"], trace.ops["count"], strict=True)]
    assert listed == [(kind, int(size)) for kind, size in (line.split(",") for line in OPS.split()[1:])]
    np.testing.assert_array_equal(trace.match_counts(64, 1)[:, 0], trace.searches["n_matches"])
    if unique:
        np.testing.assert_array_equal(trace.match_counts(64, 1, union=True)[:, 0], trace.samples["n_csp"])
    assert trace.samples["n_valid"].tolist() == [40, 60, 60]
    # No draw is of a slot that nothing was written to.
    assert trace.draws["slot"][:16].max() < 40


def test_inserts_fill_the_slots_and_updates_write_what_was_drawn(tmp_path):
    trace = hwsim.load_csv(write_ops(tmp_path, OPS), 60)
    slots = [trace.writes["slot"][op["first"] :][: op["count"]].tolist() for op in trace.ops if op["kind"] != 2]
    drawn = trace.draws["slot"].tolist()
    assert slots[0] == list(range(40))
    assert slots[1] == list(range(7))
    assert slots[2] == drawn[:16]
    assert slots[3] == [40]
    assert slots[4] == [*range(41, 60), *range(11)]
    assert slots[5] == [*drawn[16:21], *drawn[16:21], *drawn[16:18]]
    assert slots[6] == [*range(11, 60), *range(11)]


def test_a_file_that_fills_the_buffer_first_is_the_synthetic_trace(tmp_path):
    synthetic = hwsim.synthetic_trace(500, 16, 0.2, 3, seed=4, n_inserts=1)
    lines = [f"{('insert', 'update', 'sample')[op['kind']]},{op['count']}" for op in synthetic.ops]
    assert lines[:2] == ["insert,500", "sample,16"]
    listed = hwsim.load_csv(write_ops(tmp_path, "\n".join(["op,size", *lines])), 500, 0.2, seed=4)
    # Updates write to the same rows where nothing was drawn twice, so the first searches and draws are the same.
    np.testing.assert_array_equal(listed.searches[:20], synthetic.searches[:20])
    np.testing.assert_array_equal(listed.draws["slot"][:16], synthetic.draws["slot"][:16])
    assert (listed.header.source, synthetic.header.source) == ("ops of a CSV file", "synthetic")


@pytest.mark.parametrize(
    "name", ["amper-fr", "amper-k", "sumtree-onchip", "rejection-onchip", "sumtree-gpu", "sumtree-cpu"]
)
def test_every_machine_serves_a_file_of_ops(tmp_path, name):
    sampler = "amper-k" if name == "amper-k" else "amper-fr"
    trace = hwsim.load_csv(write_ops(tmp_path, OPS), 60, sampler=sampler)
    report = hwsim.simulate(trace, hwsim.machine(name, n_rows=60))
    assert {kind: len(times) for kind, times in report.latency_fs.items()} == {
        "sample": 3, "update": 3, "insert": 4, "fetch": 3
    }  # fmt: skip
    closed = hwsim.simulate(trace, hwsim.machine(name, n_rows=60), fidelity="closed")
    assert closed.makespan_fs == report.makespan_fs


def test_spaces_quotes_blank_lines_and_a_byte_order_mark_are_no_content(tmp_path):
    plain = hwsim.load_csv(write_ops(tmp_path, "op,size\ninsert,9\nsample,4\n"), 9)
    path = tmp_path / "ops.csv"
    path.write_bytes(b'\xef\xbb\xbfop, size\r\n"insert", 9\r\n\r\n , \r\nsample,"4"')
    other = hwsim.load_csv(path, 9)
    np.testing.assert_array_equal(plain.ops, other.ops)
    np.testing.assert_array_equal(plain.draws, other.draws)
    assert len(hwsim.load_csv(write_ops(tmp_path, "op,size\n"), 9)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"ops.csv, line 1: header must be 'op,size', got ''"),
        ("insert,5\n", r"ops.csv, line 1: header must be 'op,size', got 'insert,5'"),
        ("op,size\ninsert,5\n\nscan,5\n", r"line 4: op must be one of 'insert', 'update', 'sample', got 'scan'"),
        ("op,size\ninsert\n", r"line 2: line must have two fields, op and size, got 'insert'"),
        ("op,size\ninsert,5,1\n", r"line 2: line must have two fields, op and size, got 'insert,5,1'"),
        ("op,size\ninsert,0\n", r"line 2: size must be a whole number from 1 to 2147483648, got '0'"),
        ("op,size\ninsert,-1\n", r"line 2: size must be a whole number .* got '-1'"),
        ("op,size\ninsert,2.5\n", r"line 2: size must be a whole number .* got '2.5'"),
        ("op,size\ninsert,\u0663\n", r"line 2: size must be a whole number"),
        ("op,size\ninsert," + "9" * 5000, r"line 2: size must be a whole number"),
        ("op,size\ninsert,11\n", r"line 2: size of an insert must be at most n_rows, 10, got 11"),
        ("op,size\nsample,1\n", r"line 2: op must be 'insert' before anything is stored, got 'sample'"),
        ("op,size\nupdate,1\n", r"line 2: op must be 'insert' before anything is stored, got 'update'"),
    ],
)
def test_a_line_that_breaks_a_rule_is_named(tmp_path, text, message):
    path = tmp_path / "ops.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        hwsim.load_csv(path, 10)


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path):
    (tmp_path / "ops.csv").write_bytes(b"op,size\ninsert,\xff")
    with pytest.raises(ValueError, match=r"path must name a CSV file in UTF-8, got .*ops.csv"):
        hwsim.load_csv(tmp_path / "ops.csv", 10)
    with pytest.raises(FileNotFoundError):
        hwsim.load_csv(tmp_path / "none.csv", 10)
    with pytest.raises(ValueError, match="n_rows must be at least 1, got 0"):
        hwsim.load_csv(tmp_path / "none.csv", 0)
