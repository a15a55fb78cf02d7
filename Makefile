# make setup | check | test | nojit | slow | bench | report
.PHONY: setup check test nojit slow bench report

setup:
	pip install -e ".[test]"

check:
	ruff check .
	ruff format --check .
	mypy

test:
	pytest

nojit:
	NUMBA_DISABLE_JIT=1 pytest -m nojit

# With the extra `adapters` installed also those of the adapters.
slow:
	pytest -m slow

# Needs `pip install -e ".[bench,adapters]"`, after torch.
bench:
	pytest tests/bench/bench_replay.py -m bench -q --benchmark-disable-gc --benchmark-json=tests/bench/replay_raw.json
	python tests/bench/report_replay.py tests/bench/replay_raw.json \
		--keep tests/bench/replay_measured.json --figure experiments/figures/replay.png
	python tests/bench/bench_dqn_vs_sb3.py
	python tests/bench/bench_sequences.py
	python tests/bench/bench_hwsim.py
	python tests/bench/bench_rtrl.py
	python tests/bench/bench_columns.py
	python tests/bench/bench_fused.py

report:
	amper report
	cp amper-report/latency.png amper-report/assumptions.png experiments/figures/
