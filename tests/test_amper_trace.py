"""Traces: recorded, saved, profiled, cut, and put through other samplers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import amper
from amper import samplers
from amper.trace import OpKind, Trace, TraceHeader
from tests.naive import trace as naive


def recorded(sampler="amper-fr", capacity=60, n_steps=90, **options):
    trace = Trace()
    buffer = amper.ReplayBuffer(capacity, {"x": {}}, sampler=sampler, sampler_options=options, seed=2, sink=trace)
    rng = np.random.default_rng(1)
    for i in range(n_steps):
        buffer.add(x=i)
        if i > 20 and i % 3 == 0:
            batch = buffer.sample(8)
            buffer.update_priorities(batch["indices"], rng.exponential(2.0, 8))
    return trace, buffer


@pytest.mark.parametrize("sampler", samplers.available())
def test_a_trace_holds_every_op_in_order(sampler):
    trace, buffer = recorded(sampler)
    kinds = [kind for kind, _ in trace]
    assert kinds.count(OpKind.INSERT) == 90
    assert kinds.count(OpKind.SAMPLE) == 23
    assert kinds.count(OpKind.UPDATE) >= 23
    assert trace.header.n_rows == 60
    assert trace.header.row_bytes == 8
    codes = np.zeros(60, np.uint32)
    for op in trace.ops[trace.ops["kind"] != OpKind.SAMPLE]:
        rows = trace.writes[op["first"] : op["first"] + op["count"]]
        codes[rows["slot"]] = rows["code"]
    assert np.array_equal(codes, buffer.sampler.codes)
    assert np.all(trace.draws["slot"] < 60)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.sampled_from(["amper-fr", "amper-k"]),
    st.integers(1, 70),
    st.integers(1, 9),
    st.sampled_from(["interleaved", "contiguous"]),
    st.sampled_from([{}, {"match": "radius"}, {"grouping": "octave"}]),
)
def test_match_counts_are_those_of_every_row_looked_at(sampler, rows_per_array, n_banks, mapping, options):
    trace, _ = recorded(sampler, **options)
    counts = trace.match_counts(rows_per_array, n_banks, mapping)
    assert np.array_equal(counts, naive.match_counts(trace, rows_per_array, n_banks, mapping))
    assert np.array_equal(counts.sum(axis=1), trace.searches["n_matches"])
    arrays = trace.match_counts(rows_per_array, n_banks, mapping, per="array")
    assert np.array_equal(arrays.sum(axis=1), counts.sum(axis=1))


def test_match_counts_of_hamming_neighbours_are_those_of_every_row_looked_at():
    trace, _ = recorded("amper-k", distance="hamming")
    counts = trace.match_counts(7, 3, "interleaved")
    assert np.array_equal(counts, naive.match_counts(trace, 7, 3, "interleaved"))


@pytest.mark.nojit
def test_match_counts_are_kept_until_the_trace_grows():
    trace, buffer = recorded(n_steps=30)
    counts = trace.match_counts(8, 2)
    assert trace.match_counts(8, 2) is counts
    assert not counts.flags.writeable
    buffer.sample(4)
    assert len(trace.match_counts(8, 2)) > len(counts)


def test_a_saved_trace_is_the_same_when_loaded(tmp_path):
    trace, _ = recorded()
    trace.save(tmp_path / "run.npz")
    loaded = Trace.load(tmp_path / "run.npz")
    for table in ("ops", "writes", "searches", "samples", "draws"):
        assert np.array_equal(getattr(loaded, table), getattr(trace, table))
    assert loaded.header == trace.header
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_files_that_are_no_trace_are_refused(tmp_path):
    text = tmp_path / "notes.npz"
    text.write_text("not a trace")
    with pytest.raises(ValueError, match=r"path must name a trace written by Trace\.save, got '.*notes\.npz'"):
        Trace.load(text)
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    with pytest.raises(ValueError, match="path must name a trace"):
        Trace.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        Trace.load(tmp_path / "absent.npz")
    _, buffer = recorded(n_steps=5)
    buffer.save(tmp_path / "buffer.npz")
    with pytest.raises(ValueError, match="kind 'replay'"):
        Trace.load(tmp_path / "buffer.npz")


def test_a_newer_format_is_refused(tmp_path, monkeypatch):
    trace, _ = recorded(n_steps=5)
    object.__setattr__(trace.header, "version", 99)
    trace.save(tmp_path / "new.npz")
    with pytest.raises(ValueError, match="version <= 1, got version 99; upgrade"):
        Trace.load(tmp_path / "new.npz")


def test_a_trace_records_one_replay():
    trace, _ = recorded(n_steps=3)
    with pytest.raises(ValueError, match="sink must be a new Trace, got one that already records 'amper-fr'"):
        amper.ReplayBuffer(4, {"x": {}}, sink=trace)
    with pytest.raises(RuntimeError, match="trace has no header yet"):
        _ = Trace().header


def test_a_window_starts_from_what_was_stored():
    trace, _ = recorded()
    window = trace.window(70, 100)
    assert window.ops["kind"][0] == OpKind.INSERT
    assert np.array_equal(window.ops["kind"][1:], trace.ops["kind"][70:100])
    n = int((trace.ops["kind"][:70] == OpKind.SAMPLE).sum())
    first = trace.samples["first_search"][n]
    counts = window.match_counts(8, 2)
    assert np.array_equal(counts, trace.match_counts(8, 2)[first : first + len(counts)])
    assert len(trace.window(0, 10)) == 10
    with pytest.raises(IndexError, match="0 <= first <= last"):
        trace.window(5, 1000)


def test_a_window_fits_the_rows_it_uses():
    trace, _ = recorded(capacity=500, n_steps=40)
    assert trace.window(0, 30).header.n_rows == len({*trace.window(0, 30).writes["slot"]})


@pytest.mark.parametrize("target", samplers.available())
def test_a_replayed_trace_has_the_same_writes_and_batch_sizes(target):
    trace, _ = recorded("per")
    other = trace.replay(target)
    assert np.array_equal(other.ops[["kind", "first", "count"]], trace.ops[["kind", "first", "count"]])
    assert np.array_equal(other.writes["slot"], trace.writes["slot"])
    assert other.header.sampler == target
    assert other.header.source.startswith("replay of per")
    updates = trace.ops[(trace.ops["kind"] == OpKind.UPDATE) & (trace.ops["actor"] >= 0)]
    rows = np.concatenate([np.arange(f, f + c) for f, c in zip(updates["first"], updates["count"], strict=True)])
    scale = 2.0 ** (trace.header.bits - other.header.bits)
    assert other.writes["code"][rows] * scale == pytest.approx(trace.writes["code"][rows], abs=scale)


def test_replaying_an_amper_trace_through_its_own_sampler_changes_nothing():
    trace, _ = recorded("amper-fr")
    again = trace.replay("amper-fr", seed=2)
    for table in ("ops", "writes", "searches", "samples", "draws"):
        assert np.array_equal(getattr(again, table), getattr(trace, table)), table


def test_a_rescale_is_recorded_as_writes_of_every_row():
    trace, buffer = recorded("amper-fr")
    rescales = trace.ops[trace.ops["actor"] < 0]
    assert -rescales["actor"].sum() == buffer.stats["rescales"] > 0
    assert np.all(rescales["kind"] == OpKind.UPDATE)


def test_a_trace_that_writes_beyond_its_rows_has_no_profile():
    trace = Trace()
    trace.begin(TraceHeader(n_rows=4, row_bytes=8, bits=8, sampler="per", options={}, seed=0))
    trace.record_insert(np.array([0, 7]), np.array([1, 1]))
    with pytest.raises(ValueError, match=r"slot of a trace must be in 0 \.\. 3, got 7 at row 1"):
        trace.match_counts(4, 1)


def test_a_window_replays_the_priorities_it_begins_with():
    trace, _ = recorded("per")
    window = trace.window(60, len(trace))
    assert not window.ops["at_maximum"][0]
    scale = 2.0 ** (trace.header.bits - 16)
    replayed = window.replay("amper-fr")
    n = int(window.ops["count"][0])
    assert replayed.writes["code"][:n] * scale == pytest.approx(window.writes["code"][:n], abs=scale)
    assert len(set(replayed.writes["code"][:n])) > 3


def test_explicit_priorities_are_replayed_as_they_were():
    trace = Trace()
    buffer = amper.ReplayBuffer(8, {"x": {}}, sampler="amper-fr", seed=0, sink=trace)
    buffer.add(x=np.zeros(4), priorities=[0.1, 0.2, 0.3, 1.0])
    buffer.add(x=1)
    again = trace.replay("amper-fr", seed=0)
    assert np.array_equal(again.writes, trace.writes)
    assert list(again.ops["at_maximum"]) == [False, True]


def test_new_items_of_a_per_trace_enter_another_sampler_at_its_top():
    trace = Trace()
    buffer = amper.ReplayBuffer(30, {"x": {}}, sampler="per", seed=0, sink=trace)
    for i in range(20):
        buffer.add(x=i)
        buffer.update_priorities([i], [0.2])
    other, sampler = samplers.replay_trace(trace, "amper-fr")
    inserted = other.ops[other.ops["kind"] == OpKind.INSERT]["first"]
    assert set(other.writes["code"][inserted]) == {sampler.full - 1}


def test_a_window_keeps_the_marks_of_doublings():
    trace, _ = recorded()
    assert (trace.window(1, len(trace)).ops["actor"] < 0).sum() == (trace.ops["actor"][1:] < 0).sum() > 0


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "message"),
    [
        ("writes", 3, "slot", 10**9, "slot of a trace must be in 0"),
        ("writes", 3, "slot", -1, "slot of a trace must be in 0"),
        ("writes", 3, "code", 0, "code of a trace must be in 1"),
        ("writes", 3, "code", 2**31, "code of a trace must be in 1"),
        ("ops", 2, "first", 10**9, "first of a trace must be a row of writes"),
        ("ops", 2, "kind", 7, "kind of a trace must be 0, 1 or 2"),
        ("samples", 0, "first_search", 10**9, "first_search of a trace must be a row of searches"),
        ("samples", 0, "first_draw", -4, "first_draw of a trace must be a row of draws"),
        ("searches", 0, "n_neighbours", 10**6, "n_neighbours of a trace must be in 0"),
    ],
)
def test_a_trace_that_refers_to_nothing_is_refused(tmp_path, table, row, column, value, message):
    trace, _ = recorded()
    trace._tables[table]._data[column][row] = value
    trace.save(tmp_path / "bad.npz")
    with pytest.raises(ValueError, match=message):
        Trace.load(tmp_path / "bad.npz")
    for derive in (lambda: trace.match_counts(8, 1), lambda: trace.replay("per"), lambda: trace.window(0, 3)):
        with pytest.raises(ValueError, match=message):
            derive()


def test_replays_that_make_no_sense_are_refused():
    trace, _ = recorded(n_steps=30)
    with pytest.raises(ValueError, match="full_scale must stay the recording's"):
        trace.replay("amper-fr", full_scale=50.0)
    sampled = int(np.flatnonzero(trace.ops["kind"] == OpKind.SAMPLE)[0])
    bare = Trace()
    bare.begin(trace.header)
    bare.record_sample(trace._draw(0))
    assert sampled > 0
    with pytest.raises(ValueError, match="trace must insert before it samples"):
        bare.replay("per")
    with pytest.raises(ValueError, match="codes must have one value a slot, 2, got 3"):
        trace.record_insert(np.arange(2), np.arange(3))
