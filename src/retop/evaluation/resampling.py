"""Resampling of seeds and images together."""

# N images, S seeds, P patterns of right and wrong answers, R resamples

import math
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

NUM_RESAMPLES = 2000
CHUNK_VALUES = 2_000_000  # of 8 bytes: bounds memory whatever N is

Right = npt.NDArray[np.bool_]


class SeedsAndImages:
    """A weighted sum of contenders' mean accuracies, resampled over seeds and images.

    Every resample draws images once for all contenders, which keeps them paired, and seeds for each contender by
    itself, since seed 3 of one network has nothing in common with seed 3 of another.

    Of S seeds it draws S - 1 with replacement: drawing S would understate the spread by (S - 1) / S, which is half
    of it for two seeds. A contender with one seed keeps it, and then the result speaks about that one model.

    Source: A. B. Owen, The pigeonhole bootstrap, Annals of Applied Statistics 1 (2007); J. N. K. Rao and C. F. J.
    Wu, Resampling inference with complex survey data, JASA 83 (1988), for S - 1; F. E. Satterthwaite, Biometrics
    Bulletin 2 (1946), for the degrees of freedom.
    """

    def __init__(self, rights_sn: tuple[Right, ...], weights: tuple[float, ...]) -> None:
        """Group the images by their pattern of right and wrong answers.

        Args:
            rights_sn: one [S, N] per contender; the same images in the same order.
            weights: one per contender, e.g. ``(1, -1)`` for a difference.
        """
        self._rights_sn = rights_sn
        self._weights = weights
        stacked = np.concatenate(rights_sn).T
        patterns, counts = np.unique(np.packbits(stacked, axis=1), axis=0, return_counts=True)
        rows = np.unpackbits(patterns, axis=1, count=stacked.shape[1]).astype(np.float64)
        bounds = np.cumsum([len(right) for right in rights_sn])[:-1]
        self._patterns_sp = tuple(part.T for part in np.split(rows, bounds, axis=1))
        self._counts_p = counts.astype(np.int64)
        self._n = int(counts.sum())

    @property
    def value(self) -> float:
        """The weighted sum itself."""
        return float(sum(weight * right.mean() for weight, right in zip(self._weights, self._rights_sn, strict=True)))

    def standard_error(self, resamples: int, seed: int) -> float:
        """Standard deviation of the weighted sum over resamples.

        Args:
            resamples: R, at least 2.
            seed: of the draws.

        Returns:
            The standard error; 0 where nothing varies.
        """
        generator = np.random.default_rng(seed)
        chunk = max(1, CHUNK_VALUES // len(self._counts_p))
        sizes = [min(chunk, resamples - start) for start in range(0, resamples, chunk)]
        return float(np.std(np.concatenate([self._draw(generator, size) for size in sizes]), ddof=1))

    def quantile(self, confidence: float) -> float:
        """Two-sided quantile of the studentised sum: normal for many seeds, wider for few."""
        degrees = self.degrees_of_freedom()
        if math.isinf(degrees):
            return NormalDist().inv_cdf((1 + confidence) / 2)
        from scipy.special import stdtrit

        return float(stdtrit(degrees, (1 + confidence) / 2))

    def degrees_of_freedom(self) -> float:
        """Satterthwaite's, from the spread over images and over each contender's seeds."""
        difference_n = sum(weight * right.mean(0) for weight, right in zip(self._weights, self._rights_sn, strict=True))
        parts = [(float(np.var(difference_n)) / self._n, max(self._n - 1, 1))]
        for weight, right in zip(self._weights, self._rights_sn, strict=True):
            if len(right) > 1:
                spread = weight**2 * float(np.var(right.mean(1), ddof=1)) / len(right)
                parts.append((spread, len(right) - 1))
        bottom = sum(variance**2 / degrees for variance, degrees in parts)
        only_images = len(parts) == 1 or bottom == 0
        return math.inf if only_images else sum(variance for variance, _ in parts) ** 2 / bottom

    def _draw(self, generator: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
        images_rp = generator.multinomial(self._n, self._counts_p / self._n, size=size) / self._n
        total = np.zeros(size)
        for weight, patterns_sp in zip(self._weights, self._patterns_sp, strict=True):
            num_seeds = len(patterns_sp)
            drawn = max(num_seeds - 1, 1)
            seeds_rs = generator.multinomial(drawn, np.full(num_seeds, 1 / num_seeds), size=size) / drawn
            total += weight * np.einsum("rs,rs->r", seeds_rs, images_rp @ patterns_sp.T)
        return total
