"""One BLAS thread inside the context, as many as before outside."""

from __future__ import annotations

import ctypes

import pytest
import scipy
import scipy.linalg.cython_blas

from rl import blas

# SciPy's wheels bring this one; where they do, not finding it is a failure.
OPENBLAS = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"] == "scipy-openblas"


def n_threads() -> int:
    return int(ctypes.CDLL(scipy.linalg.cython_blas.__file__).scipy_openblas_get_num_threads())


@pytest.mark.skipif(not OPENBLAS, reason="SciPy was built with another BLAS")
def test_products_stay_on_one_thread_inside_and_the_number_comes_back() -> None:
    before = n_threads()
    with blas.single_threaded() as held:
        assert held
        assert n_threads() == 1
    assert n_threads() == before
    with pytest.raises(RuntimeError, match="inside"), blas.single_threaded():
        raise RuntimeError("inside")
    assert n_threads() == before


def test_another_blas_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError(path)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with blas.single_threaded() as held:
        assert not held
