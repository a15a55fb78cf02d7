"""TD(lambda) over networks: stretches are steps, episodes end, states resume, and the plain learners agree."""

import numpy as np
import pytest

import rl
from rl import cells, learners
from rl.ccn import ColumnNetwork
from rl.dense import DenseNetwork
from rl.learners.counting import tbptt_budget
from rl.optimisers import Adam, RmsProp
from rl.prediction import Settings, TDLambda
from tests.ccn_cases import LIVELY, NETWORKS, naive_predictions, naive_twin, predictor, stream
from tests.plain_td import PlainTd
from tests.rl_cases import error


def column_theta(cell, weights):
    """Return the weights [4, sources, u] of gates i, f, o, g in the order of a columnar cell's theta."""
    theta = np.empty(cell.n_params)
    views, n = cell.views(theta), cell.n_inputs
    for i, g in enumerate("ifog"):
        views[f"W_{g}"][:], views[f"u_{g}"][:], views[f"b_{g}"][:] = weights[i, :n].T, weights[i, n], weights[i, n + 1]
    return theta


def test_a_columnar_network_is_the_plain_learner_with_td_by_hand():
    td = predictor("columnar")
    cell = cells.make("columnar-lstm", n_inputs=4, n_units=6)
    learner = learners.make("rtrl", cell)
    learner.theta[:] = column_theta(cell, td.network.init(0))
    plain = PlainTd(learner, td.settings, td.network.beta, td.network.cap)
    data = stream(1_000, 4, seed=2)
    assert error(td.run(*data), plain.run(*data)) < 1e-12
    assert error(column_theta(cell, td.network.weights(td.arrays, 0)), learner.theta) < 1e-11


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_stretch_is_its_steps_to_the_bit(network, dtype):
    whole, single, parts = (predictor(network, dtype) for _ in range(3))
    data = stream(700, 4)
    one = whole.run(*data)
    steps = np.array([single.step(*row) for row in zip(*data, strict=True)], dtype)
    pieces = [parts.run(*(a[s] for a in data)) for s in (slice(0, 0), slice(0, 333), slice(333, 700))]
    assert steps.tobytes() == one.tobytes() == np.concatenate(pieces).tobytes()
    assert whole.prediction == one[-1]
    for name, values in whole.arrays.items():
        assert single.arrays[name].tobytes() == values.tobytes() == parts.arrays[name].tobytes(), name


def test_the_first_step_learns_nothing_and_the_last_of_an_episode_learns_by_the_whole_trace():
    td = predictor("columnar")
    before = td.network.weights(td.arrays, 0)
    td.step(np.ones(4), 5.0)
    assert td.network.weights(td.arrays, 0).tobytes() == before.tobytes()
    assert not td.network.readout(td.arrays)["w"].any()
    td.run(*stream(50, 4, ends=0.0))
    trace = td.network.learning(td.arrays)["e"]
    weights = td.network.weights(td.arrays, 0)
    td.step(np.ones(4), 1.0, 0.0)
    assert error(td.network.weights(td.arrays, 0), weights) > 0
    ended = td.network.learning(td.arrays)["e"]
    assert error(ended, trace) < 1  # the trace of the old episode, one step older
    other = predictor("columnar")
    other.load_state_dict(td.state_dict())
    td.step(np.ones(4), 0.0)
    begun = td.network.learning(td.arrays)["e"]
    scale = td.network.readout(other.arrays)
    expected = scale["w"] / np.sqrt(scale["v"]) * other.network.learning(other.arrays)["TH"]
    assert error(begun, expected) < 1e-14  # nothing of it is left


def test_a_reset_begins_an_episode_without_an_error():
    td = predictor("ccn")
    data = stream(400, 4, ends=0.0)
    td.run(*data)
    td.reset()
    w, readout = td.network.weights(td.arrays, 1), td.network.readout(td.arrays)
    td.step(np.ones(4), 1e6)
    assert td.network.weights(td.arrays, 1).tobytes() == w.tobytes()
    assert td.network.readout(td.arrays)["w"].tobytes() == readout["w"].tobytes()
    assert td.network.readout(td.arrays)["m"].tobytes() == readout["m"].tobytes()
    fresh = predictor("ccn")
    twin = naive_twin(fresh)
    xs, cumulants, discounts = data
    slow = [naive_predictions(twin, xs[:200], cumulants[:200], discounts[:200])]
    fast = [fresh.run(xs[:200], cumulants[:200], discounts[:200])]
    fresh.reset()
    for column in twin.columns:
        column.reset()
    twin.p, twin.discount = None, 0.0
    for w in [*twin.readout, twin.bias, *(w for c in twin.columns for g in c.w.values() for w in g)]:
        w.e = 0.0
    fast.append(fresh.run(xs[200:], cumulants[200:], discounts[200:]))
    slow.append(naive_predictions(twin, xs[200:], cumulants[200:], discounts[200:]))
    assert error(np.concatenate(fast), np.concatenate(slow)) < 1e-12


@pytest.mark.parametrize("network", NETWORKS)
def test_a_saved_run_goes_on_to_the_bit(network, tmp_path):
    td, other = predictor(network, "float32"), predictor(network, "float32")
    data = stream(1_000, 4)
    td.run(*(a[:415] for a in data))
    learners.save(tmp_path / "state", td.state_dict())
    other.run(*stream(10, 4, seed=9))
    other.load_state_dict(learners.load(tmp_path / "state"))
    rest = [a[415:] for a in data]
    assert td.run(*rest).tobytes() == other.run(*rest).tobytes()
    assert td.n_steps == other.n_steps == 1_000


def test_what_is_saved_is_a_copy():
    td = predictor("columnar")
    saved = td.state_dict()
    td.run(*stream(10, 4))
    assert saved["n_steps"] == 0
    assert not saved["arrays"]["hc"].any()


def test_a_state_of_another_predictor_or_a_damaged_one_is_refused_and_changes_nothing():
    td = predictor("ccn")
    td.run(*stream(400, 4))
    good = td.state_dict()
    arrays = good["arrays"]
    bad = {
        "network": predictor("columnar").state_dict(),
        "settings": predictor("ccn", step_size=0.5).state_dict(),
        "version": {**good, "version": 2},
        "n_steps": {**good, "n_steps": -1},
        "learning": {**good, "n_steps": 0},
        "arrays": {**good, "arrays": {k: v for k, v in arrays.items() if k != "hc"}},
        "finite": {**good, "arrays": {**arrays, "raw": np.full_like(arrays["raw"], np.nan)}},
        "float64": {**good, "arrays": {**arrays, "raw": arrays["raw"].astype(np.float32)}},
        "scalars": {**good, "arrays": {**arrays, "scalars": arrays["scalars"] + 3}},
        "dict": 3,
    }
    for word, state in bad.items():
        with pytest.raises((ValueError, TypeError), match=word if word != "finite" else "must be finite"):
            td.load_state_dict(state)
    twin = predictor("ccn")
    twin.load_state_dict(good)
    data = stream(30, 4, seed=3)
    assert td.run(*data).tobytes() == twin.run(*data).tobytes()


@pytest.mark.parametrize(
    ("arguments", "error_type", "message"),
    [
        ((np.ones((3, 5)), np.ones(3)), ValueError, r"xs must have shape \(3, 4\), got \(3, 5\); nothing has changed"),
        ((np.ones((3, 4)), np.ones(2)), ValueError, r"xs must have shape \(2, 4\), got \(3, 4\)"),
        ((np.ones((3, 4)), np.ones(3), np.ones(2)), ValueError, r"discounts must have shape \(3,\), got \(2,\)"),
        ((np.full((3, 4), np.nan), np.ones(3)), ValueError, r"xs must be finite, got nan at index \(0, 0\)"),
        ((np.ones((3, 4)), np.full(3, np.inf)), ValueError, r"cumulants must be finite, got inf at index \(0,\)"),
        ((np.ones((3, 4)), np.ones(3), np.full(3, 1.5)), ValueError, r"discounts must lie in \[0, 1\], got 1.5"),
        ((np.ones((3, 4)), np.ones(3), np.full(3, np.nan)), ValueError, r"discounts must lie in \[0, 1\], got nan"),
        ((np.full((3, 4), "a"), np.ones(3)), TypeError, "xs must hold real numbers"),
        ((np.ones((2, 4)), [[1.0], [1.0, 2.0]]), ValueError, "cumulants must be an array, got rows of different"),
        ((np.full((3, 4), 1e200), np.ones(3)), ValueError, r"xs must have squares that float64 holds four times, got"),
        ((np.ones((3, 4)), np.full(3, -1e154)), ValueError, "cumulants must have squares that float64 holds"),
    ],
)
def test_a_bad_stretch_is_refused_and_changes_nothing(arguments, error_type, message):
    td, twin = predictor("columnar"), predictor("columnar")
    with pytest.raises(error_type, match=message):
        td.run(*arguments)
    data = stream(20, 4)
    assert td.run(*data).tobytes() == twin.run(*data).tobytes()


def test_large_values_whose_squares_add_up_to_infinity_are_taken():
    td = predictor("columnar")
    assert np.isfinite(td.run(np.full((40, 4), 6e153), np.zeros(40))).all()


def test_numbers_of_numpy_make_the_same_predictor():
    network = ColumnNetwork(n_inputs=np.int64(2), n_features=np.int32(4), seed=np.uint8(1), beta=0, dtype="float32")
    td = TDLambda(network, step_size=np.float64(0.5), discount=1)
    other = ColumnNetwork(n_inputs=2, n_features=4, features_per_stage=4, seed=1, beta=0.0, dtype="float32")
    TDLambda(other, step_size=0.5, discount=1.0).load_state_dict(td.state_dict())
    dense = TDLambda(DenseNetwork(n_inputs=np.int64(2), n_units=3, method="tbptt", k=np.int64(2)), step_size=1)
    other = DenseNetwork(n_inputs=2, n_units=3, method="tbptt", k=2)
    TDLambda(other, step_size=1.0).load_state_dict(dense.state_dict())


def test_a_window_or_generator_that_no_run_leaves_is_refused():
    td = dense("tbptt", {"k": 3}, 5)
    td.run(*stream(7, 12))
    good = td.state_dict()
    td.load_state_dict(good)
    for name, value in (
        ("window", [10**6, 3, 3]), ("window", [-1, 3, 3]), ("window", [0, 4, 3]), ("window", [0, 0, 5]),
        ("generator", [2**64 - 1] * 6),
    ):  # fmt: skip
        arrays = {**good["arrays"], name: np.array(value, good["arrays"][name].dtype)}
        with pytest.raises(ValueError, match=rf"state\['arrays'\]\['{name}'\] must be"):
            td.load_state_dict({**good, "arrays": arrays})


def test_a_bad_step_is_refused():
    td = predictor("columnar")
    with pytest.raises(ValueError, match=r"x must have shape \(4,\), got \(3,\)"):
        td.step(np.ones(3), 0.0)
    with pytest.raises(TypeError, match="cumulant must be a number, got 'much'"):
        td.step(np.ones(4), "much")
    with pytest.raises(ValueError, match=r"discounts must lie in \[0, 1\], got -1"):
        td.step(np.ones(4), 0.0, -1.0)


def test_an_overflow_names_its_step():
    td = predictor("columnar", "float32", step_size=1e30)
    with pytest.raises(FloatingPointError, match=r"prediction must stay finite, got .* at step \d+; load a state"):
        td.run(*stream(200, 4))


def test_an_error_whose_square_overflows_is_refused_at_its_own_step():
    td = predictor("columnar", "float32")
    td.run(*stream(20, 4))
    with pytest.raises(FloatingPointError, match="error must stay finite when squared, got more by step 21; load a"):
        td.step(np.ones(4), 9e18)


@pytest.mark.parametrize(
    ("settings", "error_type", "message"),
    [
        ({"step_size": 0.0}, ValueError, "step_size must lie between 0 and inf"),
        ({"discount": 0.0}, ValueError, r"discount must be in \(0, 1\], got 0.0; 0 ends an episode"),
        ({"trace_decay": 1.1}, ValueError, r"trace_decay must be in \[0, 1\], got 1.1"),
        ({"fan_in": 1}, TypeError, "fan_in must be True or False, got 1"),
        ({"optimiser": Adam()}, TypeError, "optimiser must be an RmsProp"),
        ({"lambda_": 0.9}, ValueError, "a setting must be one of discount, trace_decay, fan_in, optimiser"),
    ],
)
def test_a_bad_setting_is_refused(settings, error_type, message):
    with pytest.raises(error_type, match=message):
        TDLambda(predictor("columnar").network, **{"step_size": 0.1, **settings})


def test_what_is_no_network_is_refused():
    with pytest.raises(TypeError, match=r"network must be a network, as rl\.ccn\.ColumnNetwork, got 3"):
        TDLambda(3, step_size=0.1)


def test_settings_have_the_published_defaults():
    settings = Settings(step_size=1.0)
    assert settings.optimiser == RmsProp(decay=0.9999, eps=1e-8, initial=1.0)
    assert (settings.discount, settings.trace_decay) == (0.9, 0.99)


def test_the_package_offers_them_by_name():
    assert rl.prediction.TDLambda is TDLambda
    assert rl.ccn.ColumnNetwork is type(predictor("columnar").network)


# -- dense networks: T-BPTT, SnAp-1, UORO ------------------------------------------------------------------------
#: Method, its options, units: T-BPTT's pairs of about 4,000 operations, and units that leave part of a block empty.
DENSE = [
    *(("tbptt", {"k": k}, d) for k, d in ((3, 10), (5, 8), (8, 5), (10, 5), (15, 4), (20, 3), (30, 2), (1, 3))),
    *((method, {}, d) for method in ("snap", "uoro") for d in (1, 8, 10)),
]


def dense(method, options, n_units, dtype="float64", **settings):
    network = DenseNetwork(
        n_inputs=12, n_units=n_units, method=method, seed=3, beta=0.99, cap=0.05, dtype=dtype, **options
    )
    return TDLambda(network, **{"step_size": 0.01, "trace_decay": 0.9, "optimiser": LIVELY, **settings})


def plain_twin(td):
    network = td.network
    options = {"k": network.k} if network.method == "tbptt" else {"n": 1} if network.method == "snap" else {}
    learner = learners.make(network.method, network.cell, seed=network.seed, **options)
    learner.theta[:] = network.init()
    return PlainTd(learner, td.settings, network.beta, network.cap)


@pytest.mark.parametrize(("method", "options", "n_units"), DENSE)
def test_a_dense_network_is_the_plain_learner_with_td_by_hand(method, options, n_units):
    td = dense(method, options, n_units)
    plain, data = plain_twin(td), stream(1_000, 12, seed=4)
    assert error(td.run(*data), plain.run(*data)) < 1e-12
    assert error(td.network.theta(td.arrays), plain.learner.theta) < 1e-11
    assert error(td.network.theta(td.arrays, "e"), plain.e) < 1e-11
    single = dense(method, options, n_units, "float32")
    single.run(*data)
    assert error(single.network.theta(single.arrays), plain.learner.theta) < (1e-3 if method == "uoro" else 1e-5)


def test_the_window_of_t_bptt_counts():
    data = stream(300, 12)
    assert error(dense("tbptt", {"k": 5}, 4).run(*data), dense("tbptt", {"k": 6}, 4).run(*data)) > 1e-6


@pytest.mark.parametrize(("method", "options", "n_units"), [DENSE[0], DENSE[4], DENSE[-4], DENSE[-1]])
def test_a_dense_stretch_is_its_steps_and_resumes_to_the_bit(method, options, n_units, tmp_path):
    whole, single, resumed = (dense(method, options, n_units, "float32") for _ in range(3))
    data = stream(400, 12)
    one = whole.run(*data)
    assert np.array([single.step(*row) for row in zip(*data, strict=True)], np.float32).tobytes() == one.tobytes()
    half = dense(method, options, n_units, "float32")
    half.run(*(a[:150] for a in data))
    learners.save(tmp_path / "state", half.state_dict())
    resumed.load_state_dict(learners.load(tmp_path / "state"))
    assert resumed.run(*(a[150:] for a in data)).tobytes() == one[150:].tobytes()


def test_a_reset_dense_network_begins_an_episode():
    for method, options, n_units in (DENSE[0], DENSE[-1], DENSE[-4]):
        td, ended = dense(method, options, n_units), dense(method, options, n_units)
        data = stream(100, 12, ends=0.0)
        td.run(*data), ended.run(*data)
        td.reset()
        weights = td.network.theta(td.arrays)
        td.step(np.ones(12), 1e9)
        assert td.network.theta(td.arrays).tobytes() == weights.tobytes()
        ended.step(np.ones(12), 0.0, 0.0)
        assert td.arrays["hc"].any()
        assert error(td.arrays["hc"], ended.arrays["hc"]) < 0.1  # the weights differ by one step of learning


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "rtrl"}, "method must be one of tbptt, snap, uoro, got 'rtrl'"),
        ({"method": "tbptt"}, "k must be given exactly if method is 'tbptt', got None and 'tbptt'"),
        ({"method": "snap", "k": 3}, "k must be given exactly if method is 'tbptt', got 3 and 'snap'"),
        ({"method": "tbptt", "k": 0}, "k must be at least 1, got 0"),
        ({"method": "snap", "n_units": 0}, "n_units must be at least 1, got 0"),
        ({"method": "snap", "init_range": 0.0}, "init_range must lie between 0 and 8.98847e"),
        ({"method": "snap", "init_range": 2e38, "dtype": "float32"}, "init_range must lie between 0 and 1.70141e"),
        ({"method": "snap", "beta": -0.1}, r"beta must be in \[0, 1\), got -0.1"),
        ({"method": "snap", "seed": -1}, "seed must be at least 0"),
    ],
)
def test_a_bad_dense_network_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DenseNetwork(**{"n_inputs": 3, "n_units": 4, **options})


def test_dense_networks_of_about_four_thousand_operations():
    """Counted as Javed et al. count T-BPTT, and as `rl.learners.cost` counts SnAp-1 and UORO."""
    for k, d in ((3, 10), (5, 8), (8, 5), (10, 5), (15, 4), (20, 3), (30, 2)):
        assert 3_200 < tbptt_budget(12, d, k) < 4_400
    snap, uoro = (dense(method, {}, d).network.cell for method, d in (("snap", 6), ("uoro", 10)))
    assert learners.cost("snap", snap, n=1).operations == 4_080
    assert learners.cost("uoro", uoro).operations == 4_180


@pytest.mark.nojit
@pytest.mark.parametrize(("method", "options"), [("tbptt", {"k": 3}), ("snap", {}), ("uoro", {})])
def test_a_few_dense_steps_are_those_of_the_plain_learner_in_either_mode(method, options):
    td = dense(method, options, 3)
    plain, data = plain_twin(td), stream(20, 12, ends=0.2)
    assert error(td.run(*data), plain.run(*data)) < 1e-12
    assert error(td.network.theta(td.arrays), plain.learner.theta) < 1e-12
