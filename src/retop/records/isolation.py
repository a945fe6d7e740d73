"""What training measured to isolate causes: small experiments with the finished network."""

from dataclasses import dataclass

BATCH_STATISTICS = "statistics of the batch"
"""What the test with batch norm on the statistics of its batch is called among those that were left out."""


@dataclass(frozen=True)
class SampleResult:
    """Answers on a sample of images."""

    n: int
    """Images."""

    num_right: int
    """Right answers."""

    log_loss: float
    """Mean negative log-probability of the right class, in nats."""


@dataclass(frozen=True)
class SuspectedLabel:
    """A training image that a model trained on the others takes for another class."""

    path: str
    """The image, as its source names it."""

    label: str
    """Class that the data gives."""

    predicted: str
    """Class that the other images suggest."""

    confidence: float
    """Probability of that class."""


@dataclass(frozen=True)
class SureAnswers:
    """Answers of the cross-validation with a confidence above 80 %, all of them.

    The confidence is the least that answers of the regression on all training images allow on validation, within three
    standard errors: a regression that has learned wrong labels says less than it knows.
    """

    n: int
    """Images that are answered so."""

    num_wrong: int
    """Those whose label is another."""

    expected_wrong: float
    """How many that would be if answers were right as often as they say: the sum of one less the confidence."""


@dataclass(frozen=True)
class DepthResult:
    """A logistic regression on features of one depth of the frozen part, beside one on the network's last features.

    Both are fitted to the same training images and answer the same validation images.
    """

    group: str
    """Group of layers whose output, averaged over each image, is the features."""

    result: SampleResult
    """On validation images."""

    only_here: int
    """Images that are right here and wrong with the last features."""

    only_last: int
    """Images that are wrong here and right with the last features."""


@dataclass(frozen=True)
class SkippedTest:
    """A test that would have exceeded its share of the run's time, or could not be made."""

    test: str
    """The test, in words."""

    reason: str
    """Its seconds, told from counts, and those that were left, or what stood against it; and the way out."""


@dataclass(frozen=True)
class KeptStatistics:
    """Batch norms whose statistics training was to keep, beside those of the saved model."""

    n: int
    """Batch norms that were to keep the statistics of the weights that training began with."""

    num_changed: int
    """Those with other statistics in the saved model, by a single bit."""

    first: str | None
    """The first of them, from the stem on, by the name of its layer; null where there is none."""


@dataclass(frozen=True)
class IsolationRecord:
    """Isolating tests of one run.

    One more, training images under evaluation conditions, is made after every epoch: ``train_eval_accuracy`` in
    metrics.jsonl.
    """

    validation: SampleResult
    """The saved model on a sample of validation images: what the next three are compared with."""

    batch_statistics: SampleResult | None
    """The same images with batch norm on the statistics of their batch; None for networks without batch norm."""

    border: SampleResult
    """The same images with the middles of images of other classes; right are the answers that follow the border."""

    thumbnail: SampleResult
    """The same images reduced to 8 pixels and enlarged again."""

    head_refit: SampleResult | None
    """A logistic regression on the features of the frozen network as it was before stage 2, on validation; None,
    like the rest, where these features were not stored."""

    shuffled_labels: SampleResult | None
    """The same fitted to shuffled training labels: what can be had without knowing anything."""

    cross_validated: SampleResult | None
    """The same in five-fold cross-validation over training images."""

    suspected_labels: tuple[SuspectedLabel, ...]
    """Training images that the cross-validation takes for another class, the most confident first; at most 200."""

    depths: tuple[DepthResult, ...] = ()
    """Regressions on features of the frozen groups, from stem to boundary; empty where the last features of the
    frozen network were not stored."""

    middle: SampleResult | None = None
    """The images of ``border`` again; right are the answers that follow the middle. None in records of before."""

    sure_answers: SureAnswers | None = None
    """Sure answers of the cross-validation, right and wrong ones; None without one, and in records of before."""

    kept_statistics: KeptStatistics | None = None
    """Whether batch norms that were to keep their statistics did; None in records of before."""

    skipped: tuple[SkippedTest, ...] = ()
    """Tests that were not made, because they would have exceeded ``isolating_share`` or lacked something; their fields
    above hold no images, or nothing."""
