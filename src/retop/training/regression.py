"""The conditions under which logistic regressions are fitted on features, wherever that is done."""

# N images, F features

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController, threadpool_limits

ONE_THREAD_VALUES = 2**24
"""N x F up to which one thread fits. The solver makes many small products; to wake other threads for each and wait for
them took 6 to 8 times as long on two cores (N = 300, F = 256 and 1,280). A product of this size takes a core 10 ms."""


@contextmanager
def fitting(num_values: int) -> Iterator[None]:
    """Let scikit-learn fit with as many threads as pay, without warnings that say nothing to who compares networks.

    Args:
        num_values: N x F.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), threadpool_limits(_threads(num_values), "blas"):
        # An unpenalised fit of separable data never converges; validation then prefers a stronger penalty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Few images of many classes look to scikit-learn like a regression.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield


@contextmanager
def blas_threads(num_values: int) -> Iterator[None]:
    """Let numpy multiply with as many threads as pay.

    Args:
        num_values: N x F.
    """
    with _libraries().limit(limits=_threads(num_values), user_api="blas"):
        yield


@cache
def _libraries() -> ThreadpoolController:
    """Those that are loaded, numpy's among them; to look for them takes as long as a small fit."""
    # Loaded by the first fit, with a BLAS of its own.
    import scipy.optimize  # noqa: F401

    return ThreadpoolController()


def _threads(num_values: int) -> int | None:
    return 1 if num_values <= ONE_THREAD_VALUES else None
