"""Rules about the step size and about curves that go up and down."""

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import NormalDist

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, standard_error, whole
from retop.records import EpochRecord, Finding

BY_CHANCE = 0.0025
"""Probability for which the limit of `fluctuation` is computed. The approximation is good to a factor of two: in
simulations of pure sampling noise, 0.4 % of the stages exceed it at most."""


class StepsTooLarge(Rule):
    """The step size throws the network about."""

    code, name = "R05", "learning rate too high"
    why = "Every epoch undoes part of the one before; the best epoch is then a matter of luck, and flatters itself."
    looks_for = (
        "In a stage's second half, validation accuracy goes up and down by more than the choice of the validation "
        "images could explain even if every epoch had been measured on other images: where it turns, the squared "
        "second differences, to which no steady rise or fall contributes, come to more than 2.5 times what those of "
        "pure noise give, and to more than noise reaches in one of 200 stages of as many epochs; or the loss on the "
        "training images themselves, under evaluation conditions, leaps up by half in a third of these epochs, or is "
        "larger at the end than before the first step; or a stage diverged."
    )
    elsewhere = "Use a tenth of it, and let it fall over the epochs."
    fixes = "Use a tenth of it (--set stage2.learning_rate=0.001), or let the range test find it (=auto)."
    references = ("Smith, Cyclical learning rates for training neural networks, WACV 2017",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        for number in (1, 2):
            stage = evidence.stage(number)
            if len(stage) < 2:
                continue
            rate = max(epoch.learning_rate for epoch in stage)
            name, n = evidence.stage_name(number), evidence.num_validation
            seen = self._worse(stage, name) or self._leaps(stage, name) or self._jumps(stage, name, n)
            if seen:
                return self.found(
                    seen,
                    {"stage": number, "learning_rate": rate, "n": n},
                    fix=None
                    if evidence.record is None
                    else f"Use a tenth of it (--set stage{number}.learning_rate={rate / 10:.2g}), or let the range "
                    f"test find it (--set stage{number}.learning_rate=auto).",
                    suspected=evidence.record is None,
                    isolating_test=None if evidence.record else "The same run with a tenth of the learning rate.",
                )
        return None

    def _worse(self, stage: Sequence[EpochRecord], name: str) -> str | None:
        first, last = stage[0].train_eval_loss, stage[-1].train_eval_loss
        if first is None or last is None or last <= 1.2 * first + 0.1:
            return None
        return (
            f"{name.capitalize()} raised the loss on its own training images from {first:.3f} to {last:.3f} under "
            f"evaluation conditions, with steps of {max(epoch.learning_rate for epoch in stage):.3g}."
        )

    def _leaps(self, stage: Sequence[EpochRecord], name: str) -> str | None:
        losses = [one.train_eval_loss for one in stage[max(1, len(stage) // 2) :] if one.train_eval_loss is not None]
        leaps = sum(after > 1.5 * before + 0.05 for before, after in pairwise(losses))
        if len(losses) < 4 or leaps < max(2, (len(losses) - 1) / 3):
            return None
        return (
            f"In the second half of {name} the loss on its own training images, under evaluation "
            f"conditions, leapt up by more than half after {leaps} of {len(losses) - 1} epochs; it moved between "
            f"{min(losses):.3f} and {max(losses):.3f}."
        )

    def _jumps(self, stage: Sequence[EpochRecord], name: str, n: int) -> str | None:
        half = stage[max(1, len(stage) // 2) :]
        if len(half) < 4 or not n:
            return None
        ratio = fluctuation(half, n)
        if ratio <= max(2.5, most_by_chance(len(half))):
            return None
        values = [epoch.validation_accuracy for epoch in half]
        return (
            f"In the second half of {name} validation accuracy moved between {whole(min(values))} and "
            f"{whole(max(values))}, up and down: {ratio:.1f} times the variance that drawing {n:,} other validation "
            f"images for every epoch would give."
        )


class NotANumber(Rule):
    """The loss is not a number any more."""

    code, name, severity = "R25", "loss is not a number", "error"
    why = (
        "From then on the weights are not numbers either: every later epoch is lost, and its accuracy is that of one "
        "constant answer."
    )
    looks_for = (
        "A loss of another tool's history is infinite, or NaN from an epoch to the last one. (A training of retop "
        "stops there and says so.)"
    )
    fixes = (
        "Use a tenth of the learning rate, clip gradients, train in 32 bits, and look for images and labels out of "
        "range."
    )
    references = (
        "Pascanu et al., On the difficulty of training recurrent neural networks, ICML 2013, arXiv:1211.5063",
        "Micikevicius et al., Mixed precision training, ICLR 2018, arXiv:1710.03740",
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        if not evidence.no_numbers:
            return None
        first = min(epoch for _, epoch in evidence.no_numbers)
        shown = "; ".join(f"the {name} from epoch {epoch} on" for name, epoch in evidence.no_numbers)
        return self.found(
            f"Of {len(evidence.epochs):,} epochs: no number (NaN or infinite) is {shown}.",
            {"epoch": first, "losses": [name for name, _ in evidence.no_numbers]},
        )


class StepsTooSmall(Rule):
    """The step size is too small to get anywhere."""

    code, name = "R06", "learning rate too low"
    why = "The epochs ran and next to nothing was learned; the network is not to blame."
    looks_for = (
        "Over the first stage that was trained, the training loss under evaluation conditions fell in nearly every "
        "epoch but by less than a fifth in all, though there was much to learn; and for its step size it fell in the "
        "last third of the epochs at least a third as fast as in the first, so that it is on its way and not at its "
        "end."
    )
    elsewhere = "Use ten times as much."
    fixes = "Let the range test find it (--set stage1.learning_rate=auto), or use ten times as much."
    references = StepsTooLarge.references

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        stage = evidence.stage(1) or evidence.stage(2)
        measured = [(one.learning_rate, one.train_eval_loss) for one in stage if one.train_eval_loss is not None]
        losses = [loss for _, loss in measured]
        if len(losses) < 3 or losses[0] < 0.3:
            return None
        falls = sum(after <= before for before, after in pairwise(losses)) / (len(losses) - 1)
        share = 1 - losses[-1] / losses[0]
        if not -0.01 <= share < 0.2 or falls < 0.7 or not _on_its_way(measured):
            return None
        number, rate = stage[0].stage, max(epoch.learning_rate for epoch in stage)
        return self.found(
            f"{len(losses) - 1} epochs of {evidence.stage_name(number)} with steps of {rate:.3g} lowered the loss on "
            f"training images from {losses[0]:.3f} to {losses[-1]:.3f}, evenly.",
            {"stage": number, "learning_rate": rate, "first_loss": losses[0], "last_loss": losses[-1]},
            fix=f"Let the range test find it (--set stage{number}.learning_rate=auto), or use ten times as much "
            f"(--set stage{number}.learning_rate={10 * rate:.2g}).",
        )


class OnlyNoise(Rule):
    """Curves that go up and down no more than they must."""

    code, name, severity = "R07", "fluctuation is noise", "note"
    why = "Differences of this size between epochs are no evidence; nothing needs to be done about them."
    looks_for = (
        "Validation accuracy moves by a point or more in the stage's second half; how far its lowest and highest lie "
        "apart, and how it goes up and down, are within what sampling explains."
    )
    fixes = "Nothing. To see finer differences, use more validation images."
    references = ("Wilson, Probable inference, JASA 22, 1927",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        stage = evidence.last_stage
        half, n = stage[max(1, len(stage) // 2) :], evidence.num_validation
        if len(half) < 4 or not n:
            return None
        values = [epoch.validation_accuracy for epoch in half]
        spread = max(values) - min(values)
        if spread < 0.01 or spread > _spread_by_chance(half, n) or fluctuation(half, n) > 1:
            return None
        return self.found(
            f"Validation accuracy moved between {whole(min(values))} and {whole(max(values))} in the last {len(half)} "
            f"epochs; {n:,} images alone explain as much.",
            {"spread": spread, "n": n},
        )


class ValidationAboveTraining(Rule):
    """Validation looks better than training."""

    code, name, severity = "R08", "validation above training", "note"
    why = (
        "The usual training curve is an average over the epoch, with augmentation and dropout, of weights that were "
        "still "
        "moving; validation is measured after it, without them. The two are not comparable."
    )
    looks_for = "Validation accuracy above training accuracy as trained, at the end of the last stage."
    fixes = "Compare validation with the training images under evaluation conditions instead."
    references = ("Keras FAQ: Why is my training loss much higher than my testing loss?",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        stage, n = evidence.last_stage, evidence.num_validation
        if len(stage) < 2 or not n:
            return None
        last = stage[-1]
        trained, same = last.train_accuracy, last.train_eval_accuracy
        if trained is None or last.validation_accuracy <= trained + 0.005:
            return None
        numbers = {
            "train_as_trained": trained,
            "train_evaluation": same,
            "validation": last.validation_accuracy,
            "n": n,
        }
        shown = f"{whole(last.validation_accuracy)} on {n:,} validation images, {whole(trained)} on training as trained"
        if same is None:
            return self.found(
                f"{shown}.", numbers, suspected=True,
                isolating_test="The training images in evaluation mode under evaluation preprocessing.",
            )  # fmt: skip
        excess = last.validation_accuracy - same
        error = standard_error(same, n, last.validation_accuracy, n)
        if excess > max(0.05, CERTAIN * error):
            return self.found(
                f"{shown}, and {whole(same)} on training images under the same conditions as validation: augmentation "
                f"and "
                f"dropout do not explain it.",
                numbers, severity="warning",
                fix=f"Look for easier or duplicated images in validation"
                f"{' (retop check DATA)' if evidence.record else ''}, and for wrong training labels.",
            )  # fmt: skip
        return self.found(f"{shown}; under the same conditions training has {whole(same)}, which explains it.", numbers)


def fluctuation(epochs: Sequence[EpochRecord], n: int) -> float:
    """How much validation accuracy goes up and down, over what independent samples of n images would give.

    Counted are second differences where the curve turns: a curve that only rises, or only falls, has none. Epochs are
    measured on the same images, so for a network that stands still this is far below 1.

    Args:
        epochs: at least three, in order.
        n: validation images.

    Returns:
        Sum of squares over its expectation for pure noise, of which turns are the greater part.
    """
    values = [epoch.validation_accuracy for epoch in epochs]
    changes = [after - before for before, after in pairwise(values)]
    turns = [after - before for before, after in pairwise(changes) if before * after < 0]
    # The second difference of independent values has the variance 1 + 4 + 1 times theirs.
    return sum(turn * turn for turn in turns) / (len(changes) - 1) / (6 * _variance(epochs, n))


def most_by_chance(num_epochs: int) -> float:
    """What `fluctuation` of pure noise exceeds with a probability of about `BY_CHANCE`.

    Args:
        num_epochs: of the epochs looked at.
    """
    from scipy.stats import chi2

    m = num_epochs - 2
    # Neighbouring second differences go together, by -4/6 and 1/6, so they count as fewer independent ones.
    squares = m + 2 * (m - 1) * (4 / 6) ** 2 + 2 * max(m - 2, 0) * (1 / 6) ** 2
    freedom = m * m / squares
    return float(chi2.isf(BY_CHANCE, freedom) / freedom)


def _spread_by_chance(epochs: Sequence[EpochRecord], n: int) -> float:
    """How far the accuracies of independent samples of n images lie apart at most, in 99 % of the cases."""
    pairs = len(list(combinations(epochs, 2)))
    return NormalDist().inv_cdf(1 - 0.005 / pairs) * math.sqrt(2 * _variance(epochs, n))


def _variance(epochs: Sequence[EpochRecord], n: int) -> float:
    """Of the accuracy on n images drawn anew."""
    mean = sum(epoch.validation_accuracy for epoch in epochs) / len(epochs)
    centre = (mean * n + 1) / (n + 2)
    return centre * (1 - centre) / n


def _on_its_way(measured: Sequence[tuple[float, float]]) -> bool:
    """Whether the loss falls at the end as at the beginning, and has not come to rest where something holds it.

    Args:
        measured: learning rate and loss of every epoch, at least two; schedules end with small steps.
    """
    third = max(1, (len(measured) - 1) // 3)
    (_, first), (_, early), (_, late), (_, last) = (measured[place] for place in (0, third, -1 - third, -1))
    began, ended = (sum(rate for rate, _ in part) for part in (measured[1 : third + 1], measured[-third:]))
    return (late - last) * began >= (first - early) * ended / 3
