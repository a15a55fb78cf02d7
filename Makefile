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

slow:
	pytest -m slow

bench:
	python tests/bench/bench_dqn_vs_sb3.py

report:
	amper report
	cp amper-report/latency.png experiments/figures/latency.png
