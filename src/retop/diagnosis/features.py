"""Rules about the network's features: destroyed, wrongly normalised, or taken at the wrong depth."""

import math

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, accuracy, standard_error, whole
from retop.evaluation import exact_mcnemar
from retop.records import BATCH_STATISTICS, Finding, KeptStatistics, SampleResult

UNLIKELY = 0.005
"""Probability of a finding where there is nothing: a late group is rarely as poor as an early one, so that far fewer
runs are warned of."""


class FeaturesDestroyed(Rule):
    """Stage 2 lost what stage 1 had."""

    code, name = "R09", "stage 2 destroyed the features"
    why = "The pretrained layers held more than the few images can teach again; what was overwritten is gone."
    looks_for = (
        "After its first step, most epochs of stage 2 stay below the validation accuracy with which it began, by more "
        "than "
        "three standard errors and 3 points."
    )
    elsewhere = "Take smaller steps, thaw fewer layers, or keep the weights from before the layers were thawed."
    fixes = (
        "Take smaller steps (--set stage2.learning_rate=0.0005), thaw less (--thaw 1), or leave stage 2 out (--thaw "
        "none). "
        "The model kept is that of the best epoch, which may be stage 1's."
    )
    references = ("Kumar et al., Fine-tuning can distort pretrained features, ICLR 2022, arXiv:2202.10054",)

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        stage, n = evidence.stage(2), evidence.num_validation
        if len(stage) < 3 or not evidence.stage(1) or not n:
            return None
        before = stage[0].validation_accuracy
        later = sorted(epoch.validation_accuracy for epoch in stage[1:])
        middle = later[len(later) // 2]
        lost, error = before - middle, standard_error(before, n, middle, n)
        if lost <= max(0.03, CERTAIN * error):
            return None
        return self.found(
            f"Stage 2 began at {whole(before)} of {n:,} validation images; half of its epochs stay at or below "
            f"{whole(middle)}, {100 * lost:.1f} points lower (noise: up to {100 * CERTAIN * error:.1f}).",
            {"before": before, "median_after": middle, "standard_error": error, "n": n},
        )


class WrongStatistics(Rule):
    """Batch norm normalises with numbers that are not those of the images."""

    code, name = "R10", "batch-norm statistics wrong for the data"
    severity = "error"
    why = (
        "Every layer behind such a batch norm sees values on another scale than it was trained for: good in training "
        "mode, poor or at chance in evaluation mode, and so in use."
    )
    looks_for = (
        "The saved model answers worse than training measured, and batch norms in it that were to keep their "
        "statistics have others; or the same images are answered much better with the statistics of their own batch "
        "than with the stored ones; or with less than half of their log loss, where that is more than twice the loss "
        "of guessing and the saved model answers worse than training measured (suspected); or, where this was not "
        "tested, training as trained is far above training in evaluation mode, or validation stays near chance while "
        "training is nearly perfect from the first quarter of the epochs on (suspected)."
    )
    elsewhere = "Keep the statistics frozen, and check the weights and their preprocessing."
    fixes = (
        "Keep statistics frozen (--set batch_norm=frozen), and check the weights and their preprocessing (--weights)."
    )
    references = (
        "Ioffe and Szegedy, Batch normalization, ICML 2015, arXiv:1502.03167",
        "keras #9965; Lightning #13902: frozen batch norm that still trains",
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        isolation = evidence.isolation
        if isolation and isolation.kept_statistics and (found := self._changed(isolation.kept_statistics, evidence)):
            return found
        if isolation and isolation.batch_statistics:
            return self._tested(isolation.validation, isolation.batch_statistics, evidence)
        if isolation and BATCH_STATISTICS not in [one.test for one in isolation.skipped]:
            return None  # The network has no batch norm.
        return self._from_curves(evidence)

    def _changed(self, kept: KeptStatistics, evidence: Evidence) -> Finding | None:
        lost = lost_when_saved(evidence)
        if evidence.validation is None or not kept.num_changed or not lost:
            return None
        n, trained = evidence.validation.n, evidence.stages[-1].validation_accuracy
        saved = evidence.validation.accuracy.value
        return self.found(
            f"{n:,} validation images: {whole(trained)} in training, {whole(saved)} by the saved model. Of {kept.n:,} "
            f"batch norms that keep their statistics in training, {kept.num_changed:,} have others in the saved model, "
            f"{kept.first} the first of them.",
            {"in_training": trained, "saved": saved, "changed": kept.num_changed, "kept": kept.n, "n": n},
        )

    def _tested(self, with_stored: SampleResult, with_batch: SampleResult, evidence: Evidence) -> Finding | None:
        own, stored, n = accuracy(with_batch), accuracy(with_stored), with_stored.n
        better = own - stored > max(0.08, CERTAIN * standard_error(own, n, stored, n))
        # What training measured is lost, and outputs are far out of scale; those of the batch bring them nearer.
        wild = with_stored.log_loss > 2 * math.log(max(2, evidence.num_classes))
        nearer = wild and lost_when_saved(evidence) > 0 and with_batch.log_loss < with_stored.log_loss / 2
        if not better and not nearer:
            return None
        return self.found(
            f"{n:,} validation images: {whole(stored)} with the stored statistics (log loss "
            f"{with_stored.log_loss:.2f}), {whole(own)} with those of the batch ({with_batch.log_loss:.2f}).",
            {"stored": stored, "batch": own, "n": n},
            suspected=not better,
            isolating_test=None
            if better
            else "The statistics in the model folder beside those of the weights that training began with.",
        )

    def _from_curves(self, evidence: Evidence) -> Finding | None:
        stage, n = evidence.last_stage, evidence.num_validation
        if len(stage) < 3 or not n:
            return None
        last = stage[-1]
        running, same = last.train_accuracy, last.train_eval_accuracy
        test = (
            "The same images through batch norm on the statistics of their batch, and training images in evaluation "
            "mode."
        )
        early = stage[len(stage) // 4].train_accuracy
        if running is None or early is None or not evidence.chance:
            return None
        if same is not None:
            lost, error = running - same, standard_error(running, n, same, n)
            if lost <= max(0.15, CERTAIN * error):
                return None
            seen = f"Training images: {whole(running)} as trained, {whole(same)} in evaluation mode."
        else:
            values = sorted(epoch.validation_accuracy for epoch in stage[len(stage) // 2 :])
            middle = values[len(values) // 2]
            if min(running, early) < 0.9 or middle > evidence.chance + 0.15 * (1 - evidence.chance):
                return None
            seen = (
                f"{whole(running)} on training as trained, while validation stays at {whole(middle)} of {n:,} images "
                f"(chance {whole(evidence.chance)}) for half of the epochs. Overfitting that strong, so "
                f"early, is rare; wrong statistics or wrong preprocessing in evaluation mode look exactly so."
            )
        return self.found(seen, {"train_as_trained": running, "n": n}, suspected=True, isolating_test=test)


class LostWhenSaved(Rule):
    """The model in the folder is not the one that was trained."""

    code, name, severity = "R27", "saved model is not the trained one", "error"
    why = "Whatever uses the model folder answers worse than training measured; the curves are those of another model."
    looks_for = (
        "The saved model answers validation images worse than training measured after the epoch that it was saved "
        "from, by more than three standard errors and 8 points."
    )
    fixes = (
        "Look at what was changed or lost between training and saving (weights of the head, statistics of batch norms, "
        "preprocessing), and train again into a new folder."
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        lost = lost_when_saved(evidence)
        if evidence.validation is None or not lost:
            return None
        n, trained = evidence.validation.n, evidence.stages[-1].validation_accuracy
        saved = evidence.validation.accuracy.value
        return self.found(
            f"{n:,} validation images: {whole(trained)} in training, {whole(saved)} by the saved model.",
            {"in_training": trained, "saved": saved, "lost": lost, "n": n},
        )


class BoundaryTooDeep(Rule):
    """Frozen layers throw away what earlier ones saw."""

    code, name = "R23", "frozen boundary too deep"
    why = (
        "Late frozen layers keep what told the classes of pretraining apart, and nothing that is trained behind them "
        "can bring back what they drop."
    )
    looks_for = (
        "Logistic regressions on the outputs of the frozen groups, each averaged over the image: one of an earlier "
        "group answers validation images better than one on the network's last features, by 5 points and with a "
        "one-sided exact McNemar test, corrected for the number of depths, below 0.005."
    )
    fixes = "Thaw earlier (--thaw GROUP), or take a backbone that was pretrained on images more like these."
    references = (
        "Yosinski et al., How transferable are features in deep neural networks? NeurIPS 2014, arXiv:1411.1792",
        "Evci et al., Head2Toe, ICML 2022, arXiv:2201.03529",
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        depths = evidence.isolation.depths if evidence.isolation else ()
        # A group whose output is the network's last features has nothing to be compared with.
        tried = sum(one.only_here + one.only_last > 0 for one in depths)
        better = [
            one
            for one in depths
            if one.only_here - one.only_last >= 0.05 * one.result.n
            and exact_mcnemar(one.only_here, one.only_last) / 2 * tried < UNLIKELY
        ]
        if not better:
            return None
        best = max(better, key=lambda one: one.result.num_right)
        names = [one.group for one in depths]
        behind = names[names.index(best.group) + 1 :]
        n, last = best.result.n, best.result.num_right - best.only_here + best.only_last
        return self.found(
            f"Of {n:,} validation images a logistic regression answers {whole(accuracy(best.result))} rightly on the "
            f"output of {best.group}, and {whole(last / n)} on the last features of the frozen network "
            f"({best.only_here} gained, {best.only_last} lost).",
            {"group": best.group, "accuracy": accuracy(best.result), "last": last / n, "n": n},
            fix=f"Thaw earlier (--thaw {behind[0]}), or take a backbone that was pretrained on images more like these."
            if behind
            else None,
        )


class BoundaryTooShallow(Rule):
    """Layers were trained that had nothing to learn."""

    code, name, severity = "R24", "frozen boundary too shallow", "note"
    why = "Every thawed group costs time and storage and can be overfitted; here it bought nothing that can be shown."
    looks_for = (
        "Stage 2 trained two or more groups of layers, and the model answers no more validation images rightly than a "
        "logistic regression on the frozen network's last features."
    )
    fixes = "Thaw less (--thaw last), or leave stage 2 out (--thaw none)."
    references = BoundaryTooDeep.references[:1]

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        refit = evidence.isolation.head_refit if evidence.isolation else None
        if evidence.record is None or evidence.validation is None or refit is None:
            return None
        network = evidence.record.network
        names = [group.name for group in network.groups]
        trained = names[names.index(network.boundary) :] if network.boundary in names else []
        if len(trained) < 2 or evidence.validation.num_right > refit.num_right:
            return None
        return self.found(
            f"{evidence.validation.num_right:,} of {refit.n:,} validation images are right with {', '.join(trained)} "
            f"trained, {refit.num_right:,} with a logistic regression on the frozen network.",
            {"trained_groups": len(trained), "fine_tuned": evidence.validation.num_right, "frozen": refit.num_right,
             "n": refit.n},
        )  # fmt: skip


def lost_when_saved(evidence: Evidence) -> float:
    """Fraction of validation images that training had right and the saved model has not; 0 within the noise.

    Args:
        evidence: of the run.
    """
    if evidence.validation is None or not evidence.stages:
        return 0.0
    n, trained = evidence.validation.n, evidence.stages[-1].validation_accuracy
    saved = evidence.validation.accuracy.value
    lost = trained - saved
    return lost if lost > max(0.08, CERTAIN * standard_error(trained, n, saved, n)) else 0.0
