"""The BLAS that compiled matrix products call, held to one thread."""

from __future__ import annotations

import contextlib
import ctypes
import logging
from collections.abc import Iterator

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def single_threaded() -> Iterator[bool]:
    """Keep matrix products on the calling thread within the context; yield whether that could be arranged.

    OpenBLAS splits products of more than 2^18 multiplications over all cores. For the layers of a DQN that
    costs more processor time than it saves (batch 64, two layers of 256, measured: 0.9 ms an update on two
    threads, 0.6 ms on one) and takes the cores from runs beside it.

    Numba reaches BLAS through `scipy.linalg.cython_blas`; the symbols are looked up in that module and the
    libraries it loaded. Another BLAS than SciPy's own OpenBLAS is left as it is.
    """
    import scipy.linalg.cython_blas

    try:
        library = ctypes.CDLL(scipy.linalg.cython_blas.__file__)
        get, put = library.scipy_openblas_get_num_threads, library.scipy_openblas_set_num_threads
    except (OSError, AttributeError):
        _log.debug("no OpenBLAS of SciPy's own found: the number of BLAS threads stays as it is")
        yield False
        return
    n_threads = get()
    put(1)
    try:
        yield True
    finally:
        put(n_threads)
