"""Rules about answers: one class, wrong names, classes that are one."""

# N images, K classes

import numpy as np

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, accuracy, standard_error, whole
from retop.evaluation import wilson_interval
from retop.records import Finding, Metrics

FEWER_LEARNED = 3.5
"""Standard errors between regressions of which one has learned from a fifth fewer images."""


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
        "and "
        "at the preprocessing of the images."
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
        "errors and 20 points, to well above chance."
    )
    fixes = "Compare the images of both splits class by class, and put them under the same names."
    references = ("timm #957 and ultralytics #13936: libraries that sort classes differently",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        from scipy.optimize import linear_sum_assignment

        for metrics in (evidence.test, evidence.validation):
            if metrics is None:
                continue
            counts_kk = np.array(metrics.confusion)
            rows, columns = linear_sum_assignment(-counts_kk)
            renamed = float(counts_kk[rows, columns].sum()) / metrics.n
            own = metrics.accuracy.value
            error = standard_error(renamed, metrics.n, own, metrics.n)
            chance = float(counts_kk.sum(axis=1).max()) / metrics.n
            # The best of many namings is better than one of them by chance alone, hence the second condition.
            if renamed - own > max(0.2, CERTAIN * error) and renamed > chance + 0.3 * (1 - chance):
                labels = [one.label for one in metrics.classes]
                moved = [(labels[r], labels[c]) for r, c in zip(rows, columns, strict=True) if r != c]
                shown = ", ".join(f"{true} answered {given}" for true, given in moved[:6])
                return self.found(
                    f"{whole(own)} of {metrics.n:,} {metrics.split} images are right, {whole(renamed)} if classes are "
                    f"renamed: {shown}.",
                    {"accuracy": own, "renamed": renamed, "n": metrics.n, "moved": [list(pair) for pair in moved]},
                )
        return None


class TwinClasses(Rule):
    """Two classes that cannot be told apart."""

    code, name = "R13", "nearly duplicate classes"
    why = "Either they are one class under two names, or the images do not show what tells them apart."
    looks_for = (
        "At least half of the images of two classes of similar size are given one of the two, but which one is chance: "
        "of the answers inside the pair, at most 62 % are right with an interval that reaches below 60 % and not above "
        "75 %; and the other classes are answered better than that."
    )
    fixes = "Merge them into one folder, or look for what tells them apart at a larger input size."

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        metrics = evidence.validation
        if metrics is None or len(metrics.classes) < 3:
            return None
        counts_kk = np.array(metrics.confusion)
        worst: tuple[float, int, int] | None = None
        for a in range(len(counts_kk)):
            for b in range(a + 1, len(counts_kk)):
                share = self._inside(counts_kk, a, b)
                if share is not None and (worst is None or share < worst[0]):
                    worst = share, a, b
        if worst is None:
            return None
        share, a, b = worst
        names = metrics.classes[a].label, metrics.classes[b].label
        n = int(counts_kk[a, [a, b]].sum() + counts_kk[b, [a, b]].sum())
        return self.found(
            f"{names[0]} and {names[1]}: of {n:,} {metrics.split} images answered within the pair, {whole(share)} are "
            f"right; guessing would give 50 %. The other classes have "
            f"{whole(_others(counts_kk, a, b))}.",
            {"first": names[0], "second": names[1], "right_within_pair": share, "n": n},
        )

    def _inside(self, counts_kk: np.ndarray, a: int, b: int) -> float | None:
        pair = counts_kk[np.ix_([a, b], [a, b])]
        n, right = int(pair.sum()), int(np.trace(pair))
        total = int(counts_kk[[a, b]].sum())
        small, large = sorted(counts_kk[[a, b]].sum(axis=1))
        if n < 20 or n < 0.5 * total or large > 2 * small:
            return None
        interval = wilson_interval(right, n)
        if interval.value > 0.62 or interval.low > 0.6 or interval.high > 0.75:
            return None
        return interval.value if _others(counts_kk, a, b) > interval.high else None


class ImbalanceHidden(Rule):
    """Accuracy is carried by the large classes."""

    code, name = "R14", "class imbalance hidden by accuracy"
    why = "The accuracy is that of the frequent classes; the rare ones, often those that matter, are missed."
    looks_for = (
        "Accuracy exceeds balanced accuracy by more than 10 points and its interval, the largest class has at least "
        "three "
        "times the images of the smallest, and a class of at least 5 images is right less than half of the time."
    )
    fixes = (
        "Read balanced accuracy and macro F1; train with --class-weights balanced, or gather images of the rare "
        "classes."
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        for metrics in (evidence.validation, evidence.test):
            seen = self._in_split(metrics) if metrics else None
            if seen:
                return seen
        return None

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


class LabelNoise(Rule):
    """Training labels that the other images contradict."""

    code, name = "R15", "label noise"
    why = (
        "Wrong labels teach the wrong thing, and wrong labels in validation or test make good answers count as errors."
    )
    looks_for = (
        "Logistic regressions on the frozen features, each fitted without the images that it judges: they contradict "
        "more than 4 % of the training labels with a confidence above 80 %, and more than three times as many as "
        "regressions that are right as often as they say would; or they confirm training labels less often than "
        "validation labels, by more than 3.5 standard errors and 10 points: each has learned from fewer images than "
        "the regression that judges validation, and is a little worse for that alone."
    )
    fixes = "Look at the images listed, mend their labels, or leave them out (--exclude FILE)."
    references = ("Northcutt et al., Confident learning, JAIR 2021, arXiv:1911.00068",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        tests = evidence.isolation
        if tests is None or tests.cross_validated is None:
            return None
        n, confirmed = tests.cross_validated.n, accuracy(tests.cross_validated)
        confident = [one for one in tests.suspected_labels if one.confidence > 0.8]
        expected = sum(1 - one.confidence for one in confident)
        certain = len(confident) >= max(5, 0.04 * n, 3 * expected)
        other, other_n = (accuracy(tests.head_refit), tests.head_refit.n) if tests.head_refit else (confirmed, n)
        less = other - confirmed > max(0.1, FEWER_LEARNED * standard_error(confirmed, n, other, other_n))
        # Where most images are contradicted the features say nothing, and the labels need not be at fault.
        if not (certain or less) or max(confirmed, other) < 0.5:
            return None
        listed = confident if certain else tests.suspected_labels
        return self.found(
            f"{whole(confirmed)} of {n:,} training labels are confirmed by models that did not see the image, and "
            f"{whole(other)} of {other_n:,} validation labels; {len(confident):,} training images are taken for "
            f"another class with a confidence above 80 %.",
            {"files": [[one.path] for one in listed[:200]], "suspected": len(listed), "n": n},
            suspected=True,
            isolating_test="Looking at the images listed.",
        )


def _others(counts_kk: np.ndarray, a: int, b: int) -> float:
    keep = [k for k in range(len(counts_kk)) if k not in (a, b)]
    total = int(counts_kk[keep].sum())
    return float(np.trace(counts_kk[np.ix_(keep, keep)])) / total if total else 0.0
