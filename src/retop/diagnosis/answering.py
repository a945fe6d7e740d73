"""Rules about answers: one class, wrong names."""

# K classes

import math

import numpy as np
import numpy.typing as npt

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, whole
from retop.evaluation import measure
from retop.records import Finding

Counts = npt.NDArray[np.int64]
NUM_HALVINGS = 20


class Collapse(Rule):
    """The same answer to everything."""

    code, name, severity = "R11", "collapse to one class", "error"
    why = "The model does not look at the image; its accuracy is the share of that class."
    looks_for = (
        "At least 97 % of the validation images are given one class, which fewer than 90 % of them have; or of the "
        "test images, where nothing is known of validation. A collapse on test alone is a shift."
    )
    fixes = (
        "Take smaller steps (--set stage2.learning_rate=auto), look at the weights of the classes (--class-weights), "
        "and at the preprocessing of the images."
    )
    elsewhere = "Take smaller steps, look at the weights of the classes, and at the preprocessing of the images."
    references = (
        "Buda et al., A systematic study of the class imbalance problem, Neural Networks 106, 2018, arXiv:1710.05381",
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        metrics = evidence.validation or evidence.test
        if metrics is None or metrics.n < 10:
            return None
        answered_k = np.array(metrics.confusion).sum(axis=0)
        most = int(answered_k.argmax())
        if answered_k[most] < 0.97 * metrics.n or sum(metrics.confusion[most]) >= 0.9 * metrics.n:
            return None
        label = metrics.classes[most].label
        return self.found(
            f"{answered_k[most]:,} of {metrics.n:,} {metrics.split} images are answered {label}; "
            f"{sum(metrics.confusion[most]):,} are.",
            {"class": label, "answered": int(answered_k[most]), "n": metrics.n},
        )


class ClassesPermuted(Rule):
    """Answers are right under other names."""

    code, name, severity = "R12", "classes permuted between splits", "error"
    why = (
        "Folders, tables or label files of two splits name or number the classes differently; the accuracy is "
        "meaningless."
    )
    looks_for = (
        "Giving the classes other names, one for one, would raise the accuracy of a split by more than three standard "
        "errors and 20 points, to well above chance. The names are those that suit one half of the images best, and "
        "are counted on the other half, so that nothing is won where answers are random."
    )
    fixes = "Compare the images of both splits class by class, and put them under the same names."
    references = ("timm #957 and ultralytics #13936: libraries that sort classes differently",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        other = measure(evidence.other_predictions, "as given") if evidence.other_predictions else None
        for metrics in (evidence.test, evidence.validation, other):
            if metrics is None:
                continue
            counts_kk = np.array(metrics.confusion)
            renamed = renamed_share(counts_kk)
            own = metrics.accuracy.value
            # Of the same images, hardly any of which is right under both names.
            error = math.sqrt((renamed + own) / metrics.n) + 1 / metrics.n
            chance = float(counts_kk.sum(axis=1).max()) / metrics.n
            if renamed - own > max(0.2, CERTAIN * error) and renamed > chance + 0.3 * (1 - chance):
                labels = [one.label for one in metrics.classes]
                moved = [(labels[k], labels[name]) for k, name in enumerate(_best_names(counts_kk)) if k != name]
                shown = ", ".join(f"{true} answered {given}" for true, given in moved[:6])
                return self.found(
                    f"{whole(own)} of {metrics.n:,} {metrics.split} images are right"
                    f"{' in the answers of the other program' if metrics is other else ''}, {whole(renamed)} if "
                    f"classes are renamed as other images suggest: {shown}.",
                    {"accuracy": own, "renamed": renamed, "n": metrics.n, "moved": [list(pair) for pair in moved]},
                )
        return None


def renamed_share(counts_kk: Counts) -> float:
    """Fraction of images that are right under other names, found without them.

    The naming that suits one half of the images best is counted on the other half, and the other way round; the best
    naming of all images would be right about some of them by chance alone.

    Args:
        counts_kk: confusion [K][K], row the true class.

    Returns:
        Mean over some ways of halving, which are always the same.
    """
    generator = np.random.default_rng(0)
    row_of = np.arange(counts_kk.size) // len(counts_kk)
    cells_n = np.repeat(np.arange(counts_kk.size), counts_kk.ravel())
    right = 0
    for _ in range(NUM_HALVINGS):
        dealt_n = generator.permutation(cells_n)
        # Halved class by class: the images of each are dealt to one half and the other in turn.
        dealt_n = dealt_n[np.argsort(row_of[dealt_n], kind="stable")]
        halves = [np.bincount(dealt_n[start::2], minlength=counts_kk.size).reshape(counts_kk.shape) for start in (0, 1)]
        right += sum(int(other[np.arange(len(other)), _best_names(one)].sum()) for one, other in (halves, halves[::-1]))
    return right / NUM_HALVINGS / max(1, len(cells_n))


def _best_names(counts_kk: Counts) -> npt.NDArray[np.int64]:
    """For each class [K] the name that its images are given, one for one."""
    from scipy.optimize import linear_sum_assignment

    return np.asarray(linear_sum_assignment(-counts_kk)[1])
