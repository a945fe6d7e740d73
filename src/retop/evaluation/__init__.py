"""Metrics, intervals and paired tests, each number with its n."""

from retop.evaluation.calibration import acceptance_at, calibrate, choose_threshold
from retop.evaluation.intervals import bootstrap_interval, bootstrap_seeds_and_images, wilson_interval
from retop.evaluation.metrics import calibration_error, confusion_matrix, log_softmax, measure, right_answers
from retop.evaluation.paired import (
    SIGNIFICANCE,
    compare_pair,
    correct_pairs,
    exact_mcnemar,
    holm,
    paired_difference_interval,
    smallest_decidable,
)

__all__ = [
    "SIGNIFICANCE",
    "acceptance_at",
    "bootstrap_interval",
    "bootstrap_seeds_and_images",
    "calibrate",
    "calibration_error",
    "choose_threshold",
    "compare_pair",
    "confusion_matrix",
    "correct_pairs",
    "exact_mcnemar",
    "holm",
    "log_softmax",
    "measure",
    "paired_difference_interval",
    "right_answers",
    "smallest_decidable",
    "wilson_interval",
]
