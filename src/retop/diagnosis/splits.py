"""Rules about splits: other images, other preprocessing, the same images twice, give-aways."""

from collections.abc import Iterable

import numpy as np

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, LIKELY_CHOSEN, Rule, accuracy, paired_error, standard_error, whole
from retop.evaluation import log_softmax, right_answers
from retop.evaluation.numerals import word
from retop.records import Finding, Predictions

_COLOURS = "Colour and coarse layout suffice: the subjects' own, or a give-away beside them."
_CHOSEN = "Validation chose the epoch, so its images are not new to the model, though it has not learned from them."
_SURROUNDINGS = "Surroundings tell much of the class: as they do in nature, or as a give-away."


class OtherPreprocessing(Rule):
    """The same images, answered otherwise elsewhere."""

    code, name, severity = "R16", "preprocessing differs between two uses", "error"
    why = (
        "Where scale, colour order, size or crop of the images are not those of training, no accuracy measured so "
        "means anything."
    )
    looks_for = (
        "Another program's predictions for images of this run disagree with the run's own on more than 5 % of them "
        "and are "
        "right less often by more than three standard errors. Or, from curves alone: validation is good and test is at "
        "or below chance."
    )
    fixes = "Predict through the model folder (retop predict, or its own preprocessing in config.json)."
    elsewhere = "Give the test images the preprocessing of validation: size, crop, scale of the values, colour order."
    references = ("ultralytics #7069, #23054; teachablemachine #61: prediction disagrees with validation",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        return self._against_own(evidence) if evidence.other_predictions else self._from_accuracies(evidence)

    def _against_own(self, evidence: Evidence) -> Finding | None:
        other = evidence.other_predictions
        for own in (evidence.test_predictions, evidence.validation_predictions):
            if other is None or own is None:
                continue
            places = {path: place for place, path in enumerate(own.paths)}
            both = [(places[path], place) for place, path in enumerate(other.paths) if path in places]
            if len(both) < 10:
                continue
            mine, theirs = (np.array(column) for column in zip(*both, strict=True))
            n, same = len(both), _names(own)[mine] == _names(other)[theirs]
            right, other_right = right_answers(own)[mine].mean(), right_answers(other)[theirs].mean()
            lost, error = float(right - other_right), standard_error(float(right), n, float(other_right), n)
            if same.mean() >= 0.95 or lost <= CERTAIN * error:
                return None
            return self.found(
                f"On the same {n:,} {own.split} images the run answers {whole(float(right))} rightly, the other "
                f"program "
                f"{whole(float(other_right))}; they agree on {whole(float(same.mean()))}.",
                {"own": float(right), "other": float(other_right), "agreement": float(same.mean()), "n": n},
                suspected=True,
                isolating_test="The same images through the model folder where the other program runs: if those "
                "answers are the run's own, its preprocessing is at fault, else its weights or files.",
            )
        return None

    def _from_accuracies(self, evidence: Evidence) -> Finding | None:
        """A run of ours has one preprocessing for all its uses; another tool's need not."""
        validation, test = evidence.usual_validation, evidence.test
        if evidence.record is not None or validation is None or test is None or not evidence.chance:
            return None
        if validation < 0.8 or test.accuracy.value > evidence.chance + 0.1:
            return None
        return self.found(
            f"About {whole(validation)} of {evidence.num_validation:,} validation images are right, and "
            f"{test.num_right} of {test.n:,} test images ({whole(test.accuracy.low)} to {whole(test.accuracy.high)}), "
            f"which is what guessing gives.",
            {"validation": validation, "test": test.accuracy.value, "n": test.n},
            suspected=True,
            isolating_test="The same test images through the preprocessing that validation had.",
        )


class Shift(Rule):
    """Test images are of another kind than validation images."""

    code, name = "R17", "distribution shift between validation and test"
    why = (
        "Validation chose the model for other images than the test holds; which of both is closer to use decides what "
        "the figure is worth."
    )
    looks_for = (
        "Test accuracy lies below validation accuracy, which chose the best epoch, by more than four standard errors "
        "and 5 points, and renaming the classes or a collapse does not explain it. The model's confidence on test is "
        "compared with that on validation."
    )
    elsewhere = "Compare where both come from; split anew, mixed, or collect validation like test."
    fixes = (
        "Compare where both come from; split anew, mixed (--split 70/15/15 on one folder), or collect validation like "
        "test."
    )
    references = ("Rabanser et al., Failing loudly, NeurIPS 2019, arXiv:1810.11953",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        first, second = evidence.validation, evidence.test
        if first is None or second is None:
            return None
        lost = first.accuracy.value - second.accuracy.value
        error = standard_error(first.accuracy.value, first.n, second.accuracy.value, second.n)
        beyond_noise = (CERTAIN + LIKELY_CHOSEN) * error
        if lost <= max(0.05, beyond_noise):
            return None
        sure = [_confidence(one) for one in (evidence.validation_predictions, evidence.test_predictions)]
        about = f" Mean confidence: {whole(sure[0])} and {whole(sure[1])}." if sure[0] and sure[1] else ""
        return self.found(
            f"{whole(first.accuracy.value)} of {first.n:,} validation images, {whole(second.accuracy.value)} of "
            f"{second.n:,} test images: {100 * lost:.1f} points less (noise: up to "
            f"{100 * beyond_noise:.1f}).{about}",
            {"validation": first.accuracy.value, "test": second.accuracy.value, "n": second.n},
            suspected=True,
            isolating_test="The same accuracy on a random part of the test images that joins validation.",
        )


class Leak(Rule):
    """Test or validation images that training has seen."""

    code, name, severity = "R18", "leak between splits", "error"
    why = "Images that were learned by heart are answered rightly for the wrong reason, so the accuracy flatters."
    looks_for = (
        "The audit of the data names copies of training images in validation or test: an error. Images that only look "
        "alike, and test images with copies in validation, which chose the model but taught it nothing, are a warning."
    )
    fixes = "Leave them out: retop check DATA --write-exclusions FILE, then --exclude FILE."
    references = ("Barz and Denzler, Do we train on test data? 2020, arXiv:1902.00423",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        for suspected in (False, True):
            audit = [one for one in evidence.audit if one.suspected == suspected]
            for source in ("train", "validation"):
                named = leaked_from(audit, source)
                for predictions in (evidence.test_predictions, evidence.validation_predictions):
                    seen = self._in_split(predictions, named, source, suspected) if predictions and named else None
                    if seen:
                        return seen
        return None

    def _in_split(
        self, predictions: Predictions, named: frozenset[str], source: str, suspected: bool
    ) -> Finding | None:
        leaked_n = np.array([path in named for path in predictions.paths], dtype=bool)
        leaked, n = int(leaked_n.sum()), len(leaked_n)
        if not leaked:
            return None
        right_n = right_answers(predictions)
        without = None if leaked == n else float(right_n[~leaked_n].mean())
        alike = ("looks like an image", "look like images") if suspected else ("has a copy", "have copies")
        where = "training" if source == "train" else "validation only, which chose the model"
        rest = (
            "No image is left that would tell the accuracy on new ones: this figure says nothing of them"
            if without is None
            else f"Accuracy {whole(float(right_n.mean()))} with them, {whole(without)} on the {n - leaked:,} others"
        )
        return self.found(
            f"{'All ' if without is None and leaked > 1 else ''}{leaked:,} of {n:,} {predictions.split} images "
            f"{word(leaked, *alike)} in {where}. {rest}.",
            {"leaked": leaked, "n": n, "without": without, "copies_in": source},
            why=None if source == "train" else _CHOSEN,
            severity="error" if source == "train" and not suspected else "warning",
            suspected=suspected,
            isolating_test="Looking at the pairs side by side (retop check DATA --page FILE)." if suspected else None,
        )


class GiveAway(Rule):
    """A property beside the subject tells the class."""

    code, name = "R20", "give-away property used"
    why = "The model answers from what is beside the subject, and will fail where that is otherwise."
    looks_for = (
        "Images with the middles of images of other classes are still answered by their own border: more than two "
        "fifths of the lift over chance are left, and more than three standard errors, on 20 images or more; and "
        "answers follow the border oftener than the middle, beyond three standard errors of the difference. Where they "
        "do not it is a note: surroundings go with a class in nature, too. It is one where 85 % of the lift are left "
        "with the picture reduced to 8 pixels and enlarged again: colour and coarse layout suffice, which may be the "
        "subject's own."
    )
    fixes = (
        "Crop the border away, or gather images in which it does not go with the class; retop check DATA names such "
        "properties."
    )
    references = ("Geirhos et al., Shortcut learning in deep neural networks, 2020, arXiv:2004.07780",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        tests = evidence.isolation
        if tests is None:
            return None
        n, chance, plain = tests.border.n, evidence.chance, accuracy(tests.validation)
        if n < 20 or plain - chance < 0.25:
            return None
        border, thumbnail, lift = accuracy(tests.border), accuracy(tests.thumbnail), plain - chance
        told = border - chance > max(0.4 * lift, CERTAIN * standard_error(border, n, chance, n))
        if not told and thumbnail < chance + 0.85 * lift:
            return None
        # Of records that do not say it, what does not follow the border is taken to follow the middle.
        middle = accuracy(tests.middle) if tests.middle else 1 - border
        beside = told and border - middle > CERTAIN * paired_error(border, middle, n)
        return self.found(
            f"Of {tests.validation.n:,} validation images {whole(plain)} are right, {whole(thumbnail)} at 8 pixels; of "
            f"{n:,} with the middle of an image of another class {whole(border)} are answered by their border, "
            f"{whole(middle)} by that middle. Chance is {whole(chance)}.",
            {"whole": plain, "border": border, "middle": middle, "thumbnail": thumbnail, "chance": chance, "n": n},
            why=None if beside else _SURROUNDINGS if told else _COLOURS,
            fix=None if beside else "Nothing, if the classes themselves differ in that; else as for a give-away.",
            severity="warning" if beside else "note",
            suspected=not beside,
            isolating_test=None
            if beside
            else f"Images in which {'surroundings' if told else 'colour and layout'} do not go with the class.",
        )


class SmallTest(Rule):
    """Too few images for the claim."""

    code, name, severity = "R21", "test set too small", "note"
    why = "An accuracy on few images is a wide range, and differences inside it are not evidence."
    looks_for = "The 95 % interval of the reported accuracy is wider than 10 points."
    elsewhere = "Hold back more images, or test over folds."
    fixes = "Hold back more images (--split 60/15/25), or compare over folds (--folds 5)."
    references = ("Wilson, Probable inference, JASA 22, 1927",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        metrics = evidence.test or evidence.validation
        if metrics is None or metrics.accuracy.high - metrics.accuracy.low <= 0.1:
            return None
        one = metrics.accuracy
        return self.found(
            f"{metrics.num_right:,} of {metrics.n:,} {metrics.split} images right means between {whole(one.low)} and "
            f"{whole(one.high)}.",
            {"accuracy": one.value, "low": one.low, "high": one.high, "n": metrics.n},
        )


def leaked_from(audit: Iterable[Finding], source: str) -> frozenset[str]:
    """Images of later splits whose copies a split holds, as the audit names them.

    Args:
        audit: findings of the data.
        source: ``train``, or ``validation`` for copies that are not in training.
    """
    named: set[str] = set()
    for finding in audit:
        if "leaks" in finding.evidence:
            named |= set(finding.evidence["leaks"][source])
        elif source == "train" and "splits" in finding.name and "cop" in finding.name:
            # Audits of before do not say which split the copies are in, and list no more than 1,000 groups.
            named |= {str(path) for group in finding.evidence.get("files", ()) for path in group}
    return frozenset(named)


def _names(predictions: Predictions) -> np.ndarray:
    return np.asarray(np.array(predictions.classes, dtype=object)[predictions.logits_nk.argmax(axis=1)])


def _confidence(predictions: Predictions | None) -> float | None:
    return float(np.exp(log_softmax(predictions.logits_nk).max(axis=1)).mean()) if predictions else None
