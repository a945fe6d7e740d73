"""Rules about labels: some that are wrong, or all that have nothing to do with the images."""

# N images, K classes

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, LIKELY_CHOSEN, Rule, accuracy, standard_error, whole
from retop.evaluation import log_softmax
from retop.records import Finding, Metrics, Predictions, SampleResult, SureAnswers, SuspectedLabel

FEWER_LEARNED = math.sqrt(5 / 4)
"""Ratio of losses of regressions of which one has learned from a fifth fewer images, if losses fall with the root of
their number."""

_ONLY_LOOK = (
    "Look at the images listed and mend their labels; none is contradicted with a confidence above 80 %, so none "
    "should be left out unseen."
)

UNLIKELY = 0.00135
"""Probability of three standard errors, on one side."""


class LabelNoise(Rule):
    """Training labels that the other images contradict."""

    code, name = "R15", "label noise"
    why = (
        "Wrong labels teach the wrong thing, and wrong labels in validation or test make good answers count as errors."
    )
    looks_for = (
        "Logistic regressions on the frozen features, each fitted without the images that it judges: with a "
        "confidence above 80 % they contradict at least five and 4 % of the training labels, and more than all their "
        "answers of such confidence would if they were right as often as they say, by a Poisson test below 0.00135 "
        "(the confidence is the least that agrees, within three standard errors, with how often validation labels are "
        "met), where half of the labels of training or of validation are confirmed; or training labels cost them more "
        "(the log loss) than "
        "validation and test labels cost the regression on all training images, by 12 % of that and four standard "
        "errors: each has learned from a fifth fewer images, and is worse for that alone. The scatter of these losses, "
        "and how test differs from validation, are those of the model's own answers, flattened until they cost as "
        "much on validation; where it is established as better than the regression they scatter no less than they are "
        "large. The images listed are those contradicted; only those with a confidence above 80 % are "
        "written to a list for --exclude."
    )
    fixes = (
        "Look at the images listed, mend their labels, or leave out those contradicted with a confidence above 80 %: "
        "retop diagnose RUN --write-exclusions FILE, then --exclude FILE."
    )
    references = ("Northcutt et al., Confident learning, JAIR 2021, arXiv:1911.00068",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        tests = evidence.isolation
        if tests is None or tests.cross_validated is None:
            return None
        crossed, refit = tests.cross_validated, tests.head_refit or tests.cross_validated
        n, confirmed, other = crossed.n, accuracy(crossed), accuracy(refit)
        sure = tests.sure_answers
        # Where most images are contradicted the features say nothing, and the labels need not be at fault.
        certain = sure is not None and surprising(sure, n) and max(confirmed, other) >= 0.5
        if not certain and (excess_of_training(evidence) or 0.0) <= CERTAIN + 1:
            return None
        confident = [one for one in tests.suspected_labels if one.confidence > 0.8]
        listed = confident if certain else tests.suspected_labels
        contradicted = (
            f"of {sure.n:,} answers with a confidence above 80 % {sure.num_wrong:,} contradict the label, where "
            f"{sure.expected_wrong:.1f} would if they were right as often as they say"
            if sure
            else f"{len(confident):,} training images are taken for another class with a confidence above 80 %"
        )
        return self.found(
            f"{whole(confirmed)} of {n:,} training labels are confirmed by models that did not see the image (log loss "
            f"{crossed.log_loss:.3f}), and {whole(other)} of {refit.n:,} validation labels ({refit.log_loss:.3f}); "
            f"{contradicted}.{_not_seen(evidence.num_train, crossed, tests.suspected_labels)}",
            {
                "files": [[one.path] for one in listed], "n": n,
                "suspected": sure.num_wrong if sure and certain else len(listed),
                "expected": sure.expected_wrong if sure else None,
                # The others may be hard images, which training needs most.
                **({"exclude": [one.path for one in confident]} if confident else {}),
            },
            fix=None if confident else _ONLY_LOOK,
            suspected=True,
            isolating_test="Looking at the images listed.",
        )  # fmt: skip


class UnrelatedLabels(Rule):
    """Labels that have nothing to do with the images."""

    code, name = "R19", "labels unrelated to the images"
    why = (
        "Nothing that is seen in the images tells the classes: labels were mixed up between files, or the classes "
        "differ in what this backbone does not see, or in what its late frozen layers drop. More epochs will not help."
    )
    looks_for = (
        "A logistic regression on the frozen features answers validation images, and the model test images: together "
        "at least 50, and not more of them rightly than the best constant answers by three standard errors, nor by 3.5 "
        "on one of them, nor is the regression above one that learned shuffled labels by as many. Nor do training "
        "images that regressions answer without having seen them raise all together above that, unless they are "
        "answered better than the others, by three standard errors. The model itself may be four standard errors above "
        "on validation, where its best epoch was chosen; its answers are compared with the same, dealt out by chance."
    )
    fixes = (
        "Look at some images of every class beside their labels; then thaw earlier groups (--thaw 3, or all), or try "
        "another backbone or a larger input size (--set image_size=PIXELS)."
    )
    references = ("Ojala and Garriga, Permutation tests for studying classifier performance, JMLR 11, 2010",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        tests, metrics = evidence.isolation, evidence.validation
        refit, shuffled = (tests.head_refit, tests.shuffled_labels) if tests else (None, None)
        if tests is None or metrics is None or refit is None or shuffled is None:
            return None
        chance = evidence.chance
        held_out = [(refit.num_right, refit.n, chance)]
        if evidence.test is not None:
            held_out.append(_beside_unrelated(evidence.test))
        n = sum(one[1] for one in held_out)
        above_shuffled = accuracy(refit) - accuracy(shuffled)
        if (
            n < 50
            or above_chance(*held_out) > CERTAIN
            or max(above_chance(one) for one in held_out) > CERTAIN + 0.5
            or above_chance(_beside_unrelated(metrics)) > CERTAIN + LIKELY_CHOSEN
            or above_shuffled > (CERTAIN + 0.5) * standard_error(accuracy(refit), refit.n, accuracy(shuffled), refit.n)
            or _training_tells(held_out, tests.cross_validated, evidence)
        ):
            return None
        right = sum(one[0] for one in held_out)
        return self.found(
            f"Of {refit.n:,} validation images the model answers {whole(metrics.accuracy.value)} rightly, a regression "
            f"on the frozen features {whole(accuracy(refit))}, one that learned shuffled labels "
            f"{whole(accuracy(shuffled))}; the best constant answer has {whole(chance)}. Of {n:,} images, those that "
            f"the model answers on test included, {whole(right / n)} are right.",
            {"accuracy": metrics.accuracy.value, "refit": accuracy(refit), "shuffled": accuracy(shuffled),
             "chance": chance, "right": right, "n": n},
        )  # fmt: skip


def _not_seen(num_train: int, crossed: SampleResult, listed: Sequence[SuspectedLabel]) -> str:
    """What the list of images leaves out, as sentences; nothing where it is whole."""
    missed = crossed.n - crossed.num_right
    parts = [
        f" Of {num_train:,} training images no more than these {crossed.n:,} were looked at."
        if num_train > crossed.n
        else "",
        f" The list ends at the {len(listed):,} surest of {missed:,} that are contradicted."
        if listed and missed > len(listed)
        else "",
    ]
    return "".join(parts)


def surprising(sure: SureAnswers, n: int) -> bool:
    """Whether sure answers contradict more labels than their confidence allows.

    Args:
        sure: the answers.
        n: training images that were answered, surely or not.
    """
    from scipy.stats import poisson

    return sure.num_wrong >= max(5, 0.04 * n) and poisson.sf(sure.num_wrong - 1, sure.expected_wrong) < UNLIKELY


def above_chance(*splits: tuple[int, int, float]) -> float:
    """Standard errors by which right answers exceed those of constant answers.

    Args:
        splits: right answers, images and the best constant answer's accuracy of each.
    """
    excess = sum(right - n * chance for right, n, chance in splits)
    return excess / math.sqrt(max(sum(n * chance * (1 - chance) for _, n, chance in splits), 0.25))


def _beside_unrelated(metrics: Metrics) -> tuple[int, int, float]:
    """Right answers, images, and the accuracy of the same answers dealt out to the images by chance."""
    counts_kk = np.array(metrics.confusion)
    dealt = float((counts_kk.sum(axis=0) * counts_kk.sum(axis=1)).sum()) / metrics.n**2
    return metrics.num_right, metrics.n, dealt


def _training_tells(held_out: list[tuple[int, int, float]], crossed: SampleResult | None, evidence: Evidence) -> bool:
    """Whether training images show, with the others, that labels can be told."""
    if crossed is None:
        return False
    own = (
        next((one.per_class for one in evidence.record.data.splits if one.name == "train"), ())
        if (evidence.record)
        else ()
    )
    share = max(own) / sum(own) if own else evidence.chance
    right, n = sum(one[0] for one in held_out), sum(one[1] for one in held_out)
    better = accuracy(crossed) - right / n
    alike = better <= CERTAIN * standard_error(accuracy(crossed), crossed.n, right / n, n)
    return alike and above_chance(*held_out, (crossed.num_right, crossed.n, share)) > CERTAIN


def excess_of_training(evidence: Evidence) -> float | None:
    """Standard errors by which training labels cost more than labels of other images do; None where nothing is known.

    The regression on all training images has answered validation images only. What test images would have cost it is
    taken from the model's own answers, flattened until they cost as much on validation.

    Args:
        evidence: of the run.
    """
    tests, predictions = evidence.isolation, evidence.validation_predictions
    crossed, refit = (tests.cross_validated, tests.head_refit) if tests else (None, None)
    if crossed is None or refit is None or predictions is None:
        return None
    if above_chance((refit.num_right, refit.n, evidence.chance)) <= CERTAIN:
        return None
    factor = flattening(predictions, refit.log_loss)
    alike_n = losses(predictions, factor)
    cost, n, scatter = refit.log_loss, refit.n, float(alike_n.std())
    if _is_above(predictions, refit):
        # Answers that are nearly all right cost nearly the same when they are flattened.
        scatter = max(scatter, cost)
    if alike_n.mean() > refit.log_loss:
        # The model is worse than the regression and does not tell; losses scatter no more than they are large.
        scatter = max(scatter, cost)
    elif evidence.test_predictions is not None:
        test_n = losses(evidence.test_predictions, factor)
        cost, n = float((n * cost + test_n.sum()) / (n + len(test_n))), n + len(test_n)
    return (crossed.log_loss - FEWER_LEARNED * cost) / (scatter * math.sqrt(1 / crossed.n + 1 / n))


def _is_above(predictions: Predictions, refit: SampleResult) -> bool:
    """Whether the model is established as better than the regression on the same images."""
    model = float((predictions.logits_nk.argmax(axis=1) == predictions.labels_n).mean())
    return model - accuracy(refit) > CERTAIN * standard_error(
        model, len(predictions.labels_n), accuracy(refit), refit.n
    )


def flattening(predictions: Predictions, mean_loss: float) -> float:
    """The smallest factor of the logits with which answers cost so little; the one of least loss where none does.

    Args:
        predictions: the answers.
        mean_loss: in nats.
    """
    factors = np.geomspace(0.01, 100, 300)
    lowest, best = math.inf, float(factors[0])
    for factor in factors:
        loss = float(losses(predictions, factor).mean())
        if loss >= lowest:
            break
        lowest, best = loss, float(factor)
        if loss <= mean_loss:
            break
    return best


def losses(predictions: Predictions, factor: float) -> npt.NDArray[np.float64]:
    """Log loss of each answer, its logits multiplied.

    Args:
        predictions: the answers.
        factor: of their logits.

    Returns:
        [N] in nats.
    """
    log_nk = log_softmax(predictions.logits_nk.astype(np.float64) * factor)
    return np.asarray(-log_nk[np.arange(len(log_nk)), predictions.labels_n])
