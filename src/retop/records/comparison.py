"""comparison.json: the ranking and what supports it."""

from dataclasses import dataclass
from typing import Literal

from retop.recipe import Recipe
from retop.records.metrics import Interval, Metrics, SeedSummary
from retop.records.run import DataRecord, Environment

COMPARISON_VERSION = 1


@dataclass(frozen=True)
class ComparisonRow:
    """One contender: a backbone or a baseline, over all its seeds."""

    name: str
    """``vgg16``, ``scratch``, ``probe-vgg16``."""

    kind: Literal["fine-tuned", "scratch", "probe"]
    """As in run.json."""

    rank: int
    """1 + the number of contenders established as better."""

    tied_with: tuple[str, ...]
    """Contenders of the same rank from which this one could not be told apart."""

    runs: tuple[str, ...]
    """Folders of its runs, one per seed, relative to comparison.json."""

    input_size: tuple[int, int]
    """Height and width in pixels."""

    parameters_trained: int
    """Parameters trained in the last stage."""

    metrics: Metrics
    """Quality of its first seed on the ranked split."""

    seeds: SeedSummary
    """Accuracy over its seeds on the ranked split."""

    validation_accuracy: float
    """Mean over seeds; what the recommendation is chosen by."""

    stage1_accuracy: float | None
    """Validation accuracy after stage 1, mean over seeds; None for baselines."""

    stage2_accuracy: float | None
    """Validation accuracy after stage 2, mean over seeds; None where there was no stage 2."""

    seconds: dict[str, float]
    """Mean seconds over seeds: ``prefix``, ``stage 1``, ``stage 2``, ``evaluation``, ``total``."""

    recipe_differs: bool
    """Whether a backbone's recipe is not the comparison's; never of a baseline, which has one of its own."""

    without_leaks: Interval | None = None
    """Fraction right of the ranked images without those that the audit found copies of in other splits, first seed,
    with its Wilson interval; None where there are no such copies, or nothing else."""

    num_without_leaks: int | None = None
    """Images that `without_leaks` speaks of; 0 where all have copies, None where none has."""


@dataclass(frozen=True)
class PairedComparison:
    """Two contenders on the same images."""

    first: str
    """A contender's name."""

    second: str
    """Another's."""

    n: int
    """Images that both answered."""

    only_first_right: float
    """Images that only the first answered rightly (mean over seeds)."""

    only_second_right: float
    """Images that only the second answered rightly (mean over seeds)."""

    difference: Interval
    """Accuracy of the first minus that of the second, with its paired interval."""

    test: Literal["exact McNemar", "bootstrap over seeds and images"]
    """How p was computed."""

    p: float
    """Two-sided p-value."""

    p_holm: float
    """The same after Holm's correction over the pairs of its family: backbones among themselves, or pairs with a
    baseline."""

    established: bool
    """Whether p_holm is below 0.05."""


@dataclass(frozen=True)
class FailedRun:
    """A run that did not finish."""

    name: str
    """Folder of the run."""

    error: str
    """Why."""


@dataclass(frozen=True)
class ComparisonRecord:
    """comparison.json."""

    name: str
    """Name of the comparison's folder."""

    data: DataRecord
    """The data, the same for all."""

    recipe: Recipe
    """The recipe, the same for all unless a row says otherwise."""

    seeds: tuple[int, ...]
    """Seeds of every backbone."""

    ranked_on: Literal["test", "validation"]
    """Split of the ranking. Selection has touched validation; a ranking on it is labelled so."""

    rows: tuple[ComparisonRow, ...]
    """Best first."""

    pairs: tuple[PairedComparison, ...]
    """Every pair of contenders."""

    recommended: str | None
    """The fine-tuned contender with the best validation accuracy; None if none finished."""

    statements: tuple[str, ...]
    """What the numbers can and cannot show, in sentences."""

    failed: tuple[FailedRun, ...]
    """Runs that did not finish."""

    environment: Environment
    """Where and with what."""

    version: int = COMPARISON_VERSION
    """Version of this record."""
