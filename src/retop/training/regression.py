"""The conditions under which scikit-learn's logistic regression is fitted on features, wherever that is done."""

# N images, F features

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

ONE_THREAD_VALUES = 2**24
"""N x F up to which one thread fits. The solver makes many small products; to wake other threads for each and wait for
them took 6 to 8 times as long on two cores (N = 300, F = 256 and 1,280). A product of this size takes a core 10 ms."""


@contextmanager
def fitting(num_values: int) -> Iterator[None]:
    """Fit with as many threads as pay, without warnings that say nothing to somebody who compares networks.

    Args:
        num_values: N x F.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(), threadpool_limits(1 if num_values <= ONE_THREAD_VALUES else None, "blas"):
        # An unpenalised fit of separable data never converges; validation then prefers a stronger penalty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        # Few images of many classes look to scikit-learn like a regression.
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        yield
