"""Rules about answers: one class, wrong names."""

import numpy as np

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, standard_error, whole
from retop.records import Finding


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
