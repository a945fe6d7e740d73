"""How far a model's confidence can be believed, measured on validation."""

from dataclasses import dataclass

from retop.records.metrics import Interval
from retop.schema import check_range

# `fit_temperature` gives 0.05 to 20.
LEAST_TEMPERATURE, GREATEST_TEMPERATURE = 0.01, 100.0
MOST_IMAGES = 10**12
# A probability is the exponential of a logarithm.
ROUNDING = 1e-9


@dataclass(frozen=True)
class AcceptancePoint:
    """What one threshold would have meant on validation."""

    threshold: float
    """Least confidence, after temperature, at which an answer is given."""

    num_accepted: int
    """Images that would have been answered."""

    num_right: int
    """Right answers among them."""

    gap: float = 0.0
    """Distance from the threshold down to the next lower confidence of an image (to 0 where there is none): every
    threshold within it answers the same images."""

    def __post_init__(self) -> None:
        check_range("calibration.curve: threshold", self.threshold, 0, 1 + ROUNDING)
        check_range("calibration.curve: gap", self.gap, 0, 1 + ROUNDING)
        check_range("calibration.curve: num_accepted", self.num_accepted, 0, MOST_IMAGES)
        check_range("calibration.curve: num_right", self.num_right, 0, self.num_accepted)


@dataclass(frozen=True)
class Calibration:
    """Temperature and threshold of a model. Logits are stored before temperature, everywhere."""

    temperature: float
    """Probabilities are softmax(logits / temperature). It changes no answer, only the confidence."""

    n: int
    """Validation images on which temperature and curve were fitted."""

    log_loss_before: float
    """Log loss on these images before temperature."""

    log_loss_after: float
    """Log loss on the same images, so it flatters the temperature a little; that on test does not."""

    calibration_error_before: float
    """Expected calibration error on these images before temperature."""

    calibration_error_after: float
    """Expected calibration error on the same images."""

    curve: tuple[AcceptancePoint, ...]
    """Thresholds from low to high, at most 200."""

    reject_below: float = 0.0
    """Answers with a lower confidence are refused ("none of these"), unless the user sets another threshold."""

    def __post_init__(self) -> None:
        check_range("calibration.temperature", self.temperature, LEAST_TEMPERATURE, GREATEST_TEMPERATURE)
        check_range("calibration.reject_below", self.reject_below, 0, 1)
        check_range("calibration.n", self.n, 1, MOST_IMAGES)
        for point in self.curve:
            check_range("calibration.curve: num_accepted", point.num_accepted, 1, self.n)


@dataclass(frozen=True)
class Acceptance:
    """What a threshold means, by the validation images."""

    threshold: float
    """Answers with a lower confidence are refused."""

    coverage: Interval
    """Fraction of images that are answered, with its Wilson interval."""

    accuracy: Interval | None
    """Fraction right among the answered; None where none is."""

    n: int
    """Validation images."""

    num_accepted: int
    """Those that are answered."""
