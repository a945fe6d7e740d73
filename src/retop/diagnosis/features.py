"""Rules about the network's features: destroyed, or wrongly normalised."""

from retop.diagnosis.evidence import Evidence
from retop.diagnosis.rule import CERTAIN, Rule, accuracy, standard_error, whole
from retop.records import Finding, SampleResult


class FeaturesDestroyed(Rule):
    """Stage 2 lost what stage 1 had."""

    code, name = "R09", "stage 2 destroyed the features"
    why = "The pretrained layers held more than the few images can teach again; what was overwritten is gone."
    looks_for = (
        "After its first step, most epochs of stage 2 stay below the validation accuracy with which it began, by more "
        "than "
        "three standard errors and 3 points."
    )
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
        "The same images are answered much better with the statistics of their own batch than with the stored ones; "
        "or, "
        "where that was not tested, training as trained is far above training in evaluation mode, or validation stays "
        "near chance while training is nearly perfect."
    )
    fixes = (
        "Keep statistics frozen (--set batch_norm=frozen), and check the weights and their preprocessing (--weights)."
    )
    references = (
        "Ioffe and Szegedy, Batch normalization, ICML 2015, arXiv:1502.03167",
        "keras #9965; Lightning #13902: frozen batch norm that still trains",
    )

    def apply(self, evidence: Evidence) -> Finding | None:
        """See `Rule.apply`."""
        if evidence.isolation and evidence.isolation.batch_statistics:
            return self._tested(evidence.isolation.validation, evidence.isolation.batch_statistics)
        return self._from_curves(evidence)

    def _tested(self, with_stored: SampleResult, with_batch: SampleResult) -> Finding | None:
        own, stored, n = accuracy(with_batch), accuracy(with_stored), with_stored.n
        error = standard_error(own, n, stored, n)
        if own - stored <= max(0.08, CERTAIN * error):
            return None
        return self.found(
            f"{n:,} validation images: {whole(stored)} with the stored statistics, {whole(own)} with those of the "
            f"batch.",
            {"stored": stored, "batch": own, "n": n},
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
        if running is None:
            return None
        if same is not None:
            lost, error = running - same, standard_error(running, n, same, n)
            if lost <= max(0.15, CERTAIN * error):
                return None
            seen = f"Training images: {whole(running)} as trained, {whole(same)} in evaluation mode."
        else:
            values = sorted(epoch.validation_accuracy for epoch in stage[len(stage) // 2 :])
            middle = values[len(values) // 2]
            if running < 0.9 or middle > evidence.chance + 0.15 * (1 - evidence.chance):
                return None
            seen = (
                f"{whole(running)} on training as trained, while validation stays at {whole(middle)} of {n:,} images "
                f"(chance {whole(evidence.chance)}) for half of the epochs. Overfitting that strong, from the first "
                f"epoch "
                f"on, is rare; wrong statistics or wrong preprocessing in evaluation mode look exactly so."
            )
        return self.found(seen, {"train_as_trained": running, "n": n}, suspected=True, isolating_test=test)
