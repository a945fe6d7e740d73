"""Rules about classes beside one another: two that are one, and rare ones that are lost."""

# K classes

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, standard_error, whole
from retop.evaluation import wilson_interval
from retop.records import Finding, Metrics

Counts = npt.NDArray[np.int64]
FEWEST_INSIDE = 20


class TwinClasses(Rule):
    """Two classes that cannot be told apart."""

    code, name = "R13", "nearly duplicate classes"
    why = "Either they are one class under two names, or the images do not show what tells them apart."
    looks_for = (
        "On validation and test together, images of two classes of similar size are given one of the two more often "
        "than other images are, by three standard errors, but which one is chance: of at least 20 answers inside the "
        "pair at most 65 % are right, with an interval that does not reach above 75 %, nor are more than 75 % on "
        "validation alone; nor do the two probabilities order the pair's images by class (the area under the ROC curve "
        "is at most two standard errors above one half). The other pairs of classes are told apart better than that "
        "interval, and better than by guessing."
    )
    fixes = "Merge them into one folder, or look for what tells them apart at a larger input size."
    references = ("Beyer et al., Are we done with ImageNet? 2020, arXiv:2006.07159",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        if evidence.validation is None or len(evidence.validation.classes) < 3:
            return None
        names = [one.label for one in evidence.validation.classes]
        counts_kk, validation_kk = count_answers(evidence), np.array(evidence.validation.confusion)
        parts = {pair: counts_kk[np.ix_(pair, pair)] for pair in combinations(range(len(names)), 2)}
        alike = [pair for pair in parts if _stand_together(counts_kk, pair)]
        if not alike:
            return None
        twins = min(alike, key=lambda pair: _share_right(parts[pair]))
        inside = parts[twins]
        others = _share_right(np.sum([parts[pair] for pair in parts if pair != twins], axis=0))
        interval = wilson_interval(int(np.trace(inside)), int(inside.sum()))
        told_apart = others - CERTAIN * standard_error(others, int(counts_kk.sum()), 0.5, 10**9)
        if (
            interval.value > 0.65
            or interval.high > 0.75
            or _share_right(validation_kk[np.ix_(twins, twins)]) > 0.75
            or others <= interval.high
            or told_apart <= 0.5
            or ordering_of(evidence, twins) > 2
        ):
            return None
        splits = "validation and test" if evidence.test else "validation"
        return self.found(
            f"{names[twins[0]]} and {names[twins[1]]}: of {inside.sum():,} {splits} images answered within the pair, "
            f"{whole(interval.value)} are right; guessing would give 50 %. Other pairs of classes have "
            f"{whole(others)}.",
            {
                "first": names[twins[0]], "second": names[twins[1]], "right_within_pair": interval.value,
                "other_pairs": others, "n": int(inside.sum()),
            },
        )  # fmt: skip


class ImbalanceHidden(Rule):
    """Accuracy is carried by the large classes."""

    code, name = "R14", "class imbalance hidden by accuracy"
    why = "The accuracy is that of the frequent classes; the rare ones, often those that matter, are missed."
    looks_for = (
        "On validation and test together the largest class has at least three times the images of the smallest, and "
        "either accuracy exceeds balanced accuracy by more than 10 points and its interval on one of them, where a "
        "class of at least 5 images is right less than half of the time; or by more than 5 points on both, and the "
        "classes of less than a third of the largest one's size are right less often than that, by more than 20 points "
        "and with an exact test below 0.01."
    )
    fixes = (
        "Read balanced accuracy and macro F1; train with --class-weights balanced, or gather images of the rare "
        "classes."
    )
    elsewhere = "Read balanced accuracy and macro F1; let rare classes weigh more in training, or gather more of them."
    references = ("Brodersen et al., The balanced accuracy and its posterior distribution, ICPR 2010",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        if evidence.validation is None and evidence.test is None:
            return None
        for metrics in (evidence.validation, evidence.test):
            seen = self._in_split(metrics) if metrics else None
            if seen:
                return seen
        return self._of_rare_classes(evidence)

    def _in_split(self, metrics: Metrics) -> Finding | None:
        sizes = [one.n for one in metrics.classes if one.n]
        poor = [one for one in metrics.classes if one.n >= 5 and one.recall is not None and one.recall < 0.5]
        gap = metrics.accuracy.value - metrics.balanced_accuracy.value
        if (
            not poor
            or max(sizes) < 3 * min(sizes)
            or gap <= 0.1
            or metrics.balanced_accuracy.high > metrics.accuracy.value
        ):
            return None
        worst = min(poor, key=lambda one: one.recall or 0.0)
        return self.found(
            f"{whole(metrics.accuracy.value)} of {metrics.n:,} {metrics.split} images are right, but only "
            f"{whole(metrics.balanced_accuracy.value)} on the mean of the classes; {worst.label} (n = {worst.n}) has "
            f"{whole(worst.recall or 0.0)}. The classes have {min(sizes):,} to {max(sizes):,} images.",
            {"accuracy": metrics.accuracy.value, "balanced_accuracy": metrics.balanced_accuracy.value, "n": metrics.n},
        )

    def _of_rare_classes(self, evidence: Evidence) -> Finding | None:
        from scipy.stats import fisher_exact

        counts_kk = count_answers(evidence)
        size_k, right_k = counts_kk.sum(axis=1), np.diag(counts_kk)
        rare_k = (size_k > 0) & (3 * size_k <= size_k.max())
        if not rare_k.any():
            return None
        large, rare_n, rare_right = int(size_k.argmax()), int(size_k[rare_k].sum()), int(right_k[rare_k].sum())
        large_n, large_right = int(size_k[large]), int(right_k[large])
        table = [[large_right, large_n - large_right], [rare_right, rare_n - rare_right]]
        accuracy, balanced = right_k.sum() / size_k.sum(), float((right_k[size_k > 0] / size_k[size_k > 0]).mean())
        if (
            accuracy - balanced <= 0.05
            or large_right / large_n - rare_right / rare_n <= 0.2
            or fisher_exact(table, alternative="greater").pvalue >= 0.01
        ):
            return None
        labels = [one.label for one in (evidence.validation or evidence.test).classes]  # type: ignore[union-attr]
        return self.found(
            f"Of {size_k.sum():,} images {whole(accuracy)} are right, but {whole(balanced)} on the mean of the "
            f"classes: of {labels[large]} {whole(large_right / large_n)} (n = {large_n:,}), of the classes of less "
            f"than a third of its size {whole(rare_right / rare_n)} (n = {rare_n:,}).",
            {"accuracy": float(accuracy), "balanced_accuracy": balanced, "n": int(size_k.sum())},
        )


def count_answers(evidence: Evidence) -> Counts:
    """Confusion [K][K] of validation and test together, row the true class; of that which was measured."""
    return np.asarray(sum(np.array(one.confusion) for one in (evidence.validation, evidence.test) if one))


def ordering_of(evidence: Evidence, pair: tuple[int, int]) -> float:
    """How well two classes are told apart by their probabilities, whatever else was answered.

    Args:
        evidence: of the run.
        pair: the classes' numbers.

    Returns:
        Standard errors by which the area under the ROC curve, of validation and test images of the two, exceeds one
        half; minus infinity where no probabilities are known.
    """
    from scipy.stats import rankdata

    known = [one for one in (evidence.validation_predictions, evidence.test_predictions) if one is not None]
    if not known:
        return -math.inf
    labels_n = np.concatenate([one.labels_n for one in known])
    logits_nk = np.concatenate([one.logits_nk for one in known])
    own_n = np.isin(labels_n, pair)
    is_second_n = labels_n[own_n] == pair[1]
    ranks_n = rankdata(logits_nk[own_n, pair[1]] - logits_nk[own_n, pair[0]])
    second, first = int(is_second_n.sum()), int((~is_second_n).sum())
    if not first or not second:
        return -math.inf
    area = (ranks_n[is_second_n].sum() / second - (second + 1) / 2) / first
    return float((area - 0.5) / math.sqrt((first + second + 1) / (12 * first * second)))


def _stand_together(counts_kk: Counts, pair: tuple[int, int]) -> bool:
    """Whether two classes are of similar size, and their images are answered one of the two more than others are."""
    own, others = list(pair), [k for k in range(len(counts_kk)) if k not in pair]
    small, large = sorted(counts_kk[own].sum(axis=1))
    inside, n = int(counts_kk[np.ix_(own, own)].sum()), int(small + large)
    foreign, other_n = int(counts_kk[np.ix_(others, own)].sum()), int(counts_kk[others].sum())
    if inside < FEWEST_INSIDE or large > 2 * small or not other_n:
        return False
    more = inside / n - foreign / other_n
    return more > CERTAIN * standard_error(inside / n, n, foreign / other_n, other_n)


def _share_right(counts_kk: Counts) -> float:
    """Fraction on the diagonal; 1 where there is nothing."""
    n = int(counts_kk.sum())
    return int(np.trace(counts_kk)) / n if n else 1.0
