"""Measured numbers, each with its n."""

from dataclasses import dataclass

from retop.records.html_table import html_table


@dataclass(frozen=True)
class Interval:
    """A number with a 95 % interval."""

    value: float
    """The estimate."""

    low: float
    """Lower end."""

    high: float
    """Upper end."""


@dataclass(frozen=True)
class ClassMetrics:
    """One class's share."""

    label: str
    """Class name."""

    n: int
    """Images of this class."""

    precision: float | None
    """Right answers among the images that were given this class; None if there were none."""

    recall: float | None
    """Right answers among this class's images; None if there were none."""

    f1: float | None
    """Harmonic mean of precision and recall; None if the class neither occurred nor was answered."""


@dataclass(frozen=True)
class MissedImage:
    """One wrong answer."""

    path: str
    """The image, as its source names it; a member of an archive is ``archive::member``."""

    label: str
    """Class that the folder gives."""

    predicted: str
    """Class that the model gave."""

    confidence: float
    """Probability the model gave to its answer, after temperature where it has one."""


@dataclass(frozen=True)
class CalibratedMetrics:
    """What the temperature changes: probabilities, but no answer."""

    temperature: float
    """Fitted on validation; on validation itself these numbers are therefore a little too good."""

    log_loss: float
    """Mean negative log-probability of the right class after temperature, in nats."""

    calibration_error: float
    """Expected calibration error after temperature."""


@dataclass(frozen=True)
class Metrics:
    """Quality on one split, each image counted exactly once."""

    split: str
    """``test``, or ``validation`` where there is no test split (and then selection has touched it). Of `retop
    evaluate` also ``train`` or ``all``, where the images have no split: the model may have been trained on them."""

    n: int
    """Number of images."""

    num_right: int
    """Number of right answers."""

    accuracy: Interval
    """Fraction right, with its Wilson interval."""

    balanced_accuracy: Interval
    """Mean of the classes' recalls, with a bootstrap interval."""

    macro_f1: Interval
    """Mean of the classes' F1, with a bootstrap interval."""

    log_loss: float
    """Mean negative log-probability of the right class, in nats, before temperature."""

    calibration_error: float
    """Expected calibration error before temperature: mean absolute gap between confidence and accuracy over 15 bins of
    equal width."""

    confusion: tuple[tuple[int, ...], ...]
    """Counts [K][K]: row is the true class, column the predicted one, in the order of the class list."""

    classes: tuple[ClassMetrics, ...]
    """Per class, in the order of the class list."""

    missed: tuple[MissedImage, ...]
    """Wrong answers, the most confident first; at most 100."""

    precision: str
    """Arithmetic of the evaluation, e.g. ``float32``."""

    calibrated: CalibratedMetrics | None = None
    """The same after temperature; None where the model has none."""

    @property
    def temperature(self) -> float:
        """What logits are divided by for the probabilities that the model gives."""
        return 1.0 if self.calibrated is None else self.calibrated.temperature

    def _repr_html_(self) -> str:
        accuracy = self.accuracy
        caption = (
            f"{self.split}: {self.num_right:,} of {self.n:,} images right, accuracy {100 * accuracy.value:.1f} % "
            f"({100 * accuracy.low:.1f} to {100 * accuracy.high:.1f} %), log loss {self.log_loss:.3f}"
        )
        rows = (
            (row.label, f"{row.n:,}", *("" if v is None else f"{v:.3f}" for v in (row.precision, row.recall, row.f1)))
            for row in self.classes
        )
        return html_table(caption, ("class", "n", "precision", "recall", "F1"), rows)


@dataclass(frozen=True)
class SeedSummary:
    """Accuracy over several seeds."""

    seeds: tuple[int, ...]
    """The seeds."""

    accuracies: tuple[float, ...]
    """Accuracy of each seed, in the same order."""

    mean: Interval
    """Mean accuracy, with an interval from a bootstrap over seeds and images."""

    standard_deviation: float | None
    """Spread over seeds (n - 1); None for one seed."""
