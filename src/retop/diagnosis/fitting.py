"""Rules about fit: too much, too little, too short, too long."""

import math

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, standard_error, whole
from retop.records import EpochRecord, Finding

IN_EVALUATION_MODE = "Training images in evaluation mode under evaluation preprocessing, after every epoch."
FEWEST_WRONG = 5
"""Wrong answers on which a mean loss must rest."""


class Overfitting(Rule):
    """The network learns its training images by heart."""

    code, name = "R01", "overfitting"
    why = "What it goes on learning holds for the training images alone; more epochs make other images worse."
    looks_for = (
        "At the stage's last epoch, training images under evaluation conditions are answered better than validation "
        "images, and the validation loss has risen by a quarter above its minimum while the training loss fell or was "
        "small already. Either the gap is larger than three standard errors and 5 points, or the validation loss is "
        "more than four times the training loss and has risen by two fifths and by more than chance explains. Where a "
        "history has no training accuracy: the validation loss is more than twice the training loss, which fell, and "
        "has risen by a quarter and by more than chance explains; then it is suspected, as it is where the training "
        "accuracy is only known as trained. A gap of more than three standard errors and 15 points that has grown by "
        "more than chance explains and 5 points since the validation loss was lowest is a note while that loss has "
        "risen by less: what is learned by heart has cost nothing yet."
    )
    fixes = (
        "Use more views (--views 8), a stronger penalty (--set stage2.weight_decay=0.01), a later boundary (--thaw), "
        "or "
        "stop earlier (--set stage2.patience=3). The model kept is that of the best epoch, not of the last."
    )
    elsewhere = (
        "Augment more, use a stronger penalty, train fewer layers, or stop earlier and keep the best epoch's weights."
    )
    references = ("Prechelt, Early stopping - but when? 1998",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        for number in (2, 1):
            stage = evidence.stage(number)
            if len(stage) >= 4 and (seen := self._in_stage(stage, evidence)):
                return seen
        return None

    def _in_stage(self, stage: tuple[EpochRecord, ...], evidence: Evidence) -> Finding | None:
        last = stage[-1]
        lowest = min(stage, key=lambda epoch: epoch.comparable_loss)
        train, train_loss = _train(last)
        early_loss = _train(lowest)[1]
        n, loss, least = evidence.num_validation, last.validation_loss, lowest.validation_loss
        if train_loss is None or early_loss is None or loss is None or least is None or not n or lowest is last:
            return None
        risen = loss / max(least, 0.02)
        learned_on = train_loss <= max(early_loss, 0.02)
        if train is None:
            return self._by_losses(last, lowest, (early_loss, train_loss), (least, loss), n) if learned_on else None
        gap = train - last.validation_accuracy
        # After every epoch as many training images are looked at as there are validation images, if there are so many.
        error = standard_error(train, min(n, evidence.num_train or n), last.validation_accuracy, n)
        by_loss = last.train_eval_loss is not None and risen > 1 + max(0.4, _chance_rise(last, n))
        clear = gap > max(0.05, CERTAIN * error) or (by_loss and loss > 4 * train_loss)
        costly = risen > 1.25 and clear
        grown = gap - ((_train(lowest)[0] or 0.0) - lowest.validation_accuracy)
        by_heart = gap > max(0.15, CERTAIN * error) and grown > max(0.05, CERTAIN * error)
        if gap <= 0 or not (costly or by_heart) or not learned_on:
            return None
        measured = last.train_eval_accuracy is not None
        return self.found(
            f"{evidence.stage_name(last.stage).capitalize()}, epoch {last.epoch}: {whole(train)} on training images "
            f"{'under evaluation conditions' if measured else 'as trained'}, {whole(last.validation_accuracy)} on "
            f"{n:,} validation images, {100 * gap:.1f} points apart (noise: up to {100 * CERTAIN * error:.1f}). "
            f"Validation loss rose from {least:.3f} at epoch {lowest.epoch} to {loss:.3f}.",
            {
                "stage": last.stage, "gap": gap, "standard_error": error, "n": n,
                "lowest_validation_loss": least, "last_validation_loss": loss,
            },
            suspected=not measured,
            isolating_test=None if measured else IN_EVALUATION_MODE,
            severity=None if costly else "note",
        )  # fmt: skip

    def _by_losses(
        self,
        last: EpochRecord,
        lowest: EpochRecord,
        train_losses: tuple[float, float],
        validation_losses: tuple[float, float],
        n: int,
    ) -> Finding | None:
        """From losses as trained, where nothing is known of how many training images are right."""
        (early, train_loss), (least, loss) = train_losses, validation_losses
        rise = loss / max(least, 0.02) - 1
        if rise <= max(0.25, _chance_rise(last, n)) or loss <= 2 * train_loss:
            return None
        return self.found(
            f"From epoch {lowest.epoch} to {last.epoch} the training loss fell from {early:.3f} to {train_loss:.3f}, "
            f"and the validation loss rose from {least:.3f} to {loss:.3f} "
            f"({n:,} images; chance: up to {least * (1 + _chance_rise(last, n)):.3f}).",
            {
                "stage": last.stage, "n": n, "train_loss": train_loss,
                "lowest_validation_loss": least, "last_validation_loss": loss,
            },
            suspected=True,
            isolating_test=IN_EVALUATION_MODE,
        )  # fmt: skip


class Underfitting(Rule):
    """The network cannot even answer its training images."""

    code, name = "R02", "underfitting"
    why = "What limits accuracy is what the trained part can express or was allowed to learn, not the number of images."
    looks_for = (
        "At the last epoch the training images themselves, under evaluation conditions, are less than half way from "
        "chance to certainty, or cost more than 60 % of what guessing costs (the log loss), where a logistic "
        "regression on the frozen features has less than four fifths of the loss on validation, or was not fitted; "
        "validation is as good as training; and the training loss has stopped falling."
    )
    elsewhere = "Thaw more layers, weaken the penalty, or take a larger network."
    fixes = "Thaw more (--thaw 2), weaken the penalty (--set stage1.weight_decay=0.0001), or take a larger backbone."
    references = ("Goodfellow, Bengio and Courville, Deep learning, 2016, section 5.2",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        stage, n = evidence.last_stage, evidence.num_validation
        if len(stage) < 4 or not n:
            return None
        last = stage[-1]
        # As trained, under augmentation and dropout, a sound network may answer half of its images wrongly.
        train, loss, before = last.train_eval_accuracy, last.train_eval_loss, stage[len(stage) * 2 // 3].train_eval_loss
        if train is None or loss is None or before is None:
            return None
        error = standard_error(train, n, last.validation_accuracy, n)
        # Where the classes are not known, half way is further than this, never nearer.
        half_way = evidence.chance + 0.5 * (1 - evidence.chance)
        wrong = train < half_way - CERTAIN * error / 2
        refit = evidence.isolation.head_refit if evidence.isolation else None
        attainable = refit is None or refit.log_loss < 0.8 * last.comparable_loss
        costly = evidence.num_classes > 1 and loss > 0.6 * math.log(evidence.num_classes) and attainable
        if not (wrong or costly) or train - last.validation_accuracy > CERTAIN * error or loss < 0.95 * before:
            return None
        known = evidence.num_classes > 1
        chance = f" (chance {whole(evidence.chance)})" if evidence.chance else ""
        guessing = f", where guessing has {math.log(evidence.num_classes):.3f}" if known else ""
        return self.found(
            f"{whole(train)} of the training images are right at the end, under evaluation conditions{chance}, and "
            f"{whole(last.validation_accuracy)} of {n:,} validation images; the training loss stands at "
            f"{loss:.3f}{guessing}.",
            {"train_accuracy": train, "validation_accuracy": last.validation_accuracy, "train_loss": loss, "n": n},
        )


class NotConverged(Rule):
    """The epochs were too few."""

    code, name = "R03", "not converged"
    why = "The run ended while it was still learning, so its accuracy says little about what the network can do."
    looks_for = (
        "The last stage's validation loss is lowest at its last epoch, its training loss is not small yet (a quarter "
        "of that of guessing, so the number of classes must be known), and both losses fell by more than 10 % of "
        "themselves over the stage's last third."
    )
    elsewhere = "Train longer, or with larger steps."
    fixes = "Train longer (--epochs 60,30), or find a larger step size (--set stage2.learning_rate=auto)."
    references = ("Li et al., Budgeted training, ICLR 2020, arXiv:1905.04753",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        # A stage 1 that was cut short is made up for by a stage 2 that was not.
        stage = evidence.last_stage
        if len(stage) < 2:
            return None
        last, before = stage[-1], stage[max(0, (len(stage) - 1) * 2 // 3 - (len(stage) < 4))]
        train, earlier = _train(last)[1], _train(before)[1]
        if train is None or earlier is None or last is before:
            return None
        loss, loss_before = last.validation_loss, before.validation_loss
        if loss is None or loss_before is None:
            return None
        # Accuracy of few images goes up and down where the loss still falls.
        best = min(stage, key=lambda epoch: epoch.comparable_loss)
        still = train < 0.9 * earlier and loss < 0.9 * loss_before
        # Whether a loss is small is known from that of guessing alone.
        small = evidence.num_classes < 2 or train < 0.25 * math.log(evidence.num_classes)
        if best is not last or not still or small:
            return None
        name = evidence.stage_name(last.stage).capitalize()
        return self.found(
            f"{name} ended at epoch {last.epoch}, its best by the loss. Over its last third the training loss "
            f"fell from {earlier:.3f} to {train:.3f} and the validation loss from {loss_before:.3f} to "
            f"{loss:.3f}.",
            {"stage": last.stage, "epochs": last.epoch, "train_loss": train, "earlier_train_loss": earlier},
        )


class TooManyEpochs(Rule):
    """Most of the epochs changed nothing for the better."""

    code, name, severity = "R04", "too many epochs", "note"
    why = "The time went into epochs whose weights were thrown away."
    looks_for = "A stage ran at least 10 epochs and kept one from its first quarter."
    fixes = "Stop earlier (--set stage1.patience=5), or plan fewer epochs (--epochs)."
    references = Overfitting.references

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        for stage in evidence.stages:
            if stage.epochs_run >= 10 and stage.best_epoch <= stage.epochs_run / 4:
                return self.found(
                    f"Stage {stage.stage} ran {stage.epochs_run} epochs and kept epoch {stage.best_epoch}.",
                    {"stage": stage.stage, "epochs_run": stage.epochs_run, "best_epoch": stage.best_epoch},
                    fix=f"Stop earlier (--set stage{stage.stage}.patience=5), or plan fewer epochs (--epochs).",
                )
        return None


def _chance_rise(last: EpochRecord, n: int) -> float:
    """Fraction by which chance may raise the loss of n validation images between two epochs."""
    # A mean loss is mostly that of the wrong answers, so their number says how far chance moves it.
    wrong = max(1.0, n * (1 - last.validation_accuracy))
    # Both losses are of the same images, so half as much is beyond chance, unless it hangs on very few of them.
    return CERTAIN / math.sqrt(wrong) / (2 if wrong >= FEWEST_WRONG else 1)


def _train(epoch: EpochRecord) -> tuple[float | None, float | None]:
    """Accuracy and loss on training images: under evaluation conditions where that was measured."""
    if epoch.train_eval_accuracy is not None:
        return epoch.train_eval_accuracy, epoch.train_eval_loss
    return epoch.train_accuracy, epoch.train_loss
