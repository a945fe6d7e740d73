"""card.md of a model folder: what people should know of the model."""

from importlib import resources

import jinja2

from retop.backbones import Backbone, has_plain_timm
from retop.evaluation import wilson_interval
from retop.evaluation.numerals import percent, percent_range
from retop.records import TrainedRecord

CARD = "card.md"


def write_card(backbone: Backbone, trained: TrainedRecord) -> str:
    """The card's text, in Markdown.

    Args:
        backbone: its network; weights are not looked at.
        trained: what is known about the model.
    """
    template = (resources.files("retop.artifact") / "card.md.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = environment.from_string(template)
    of_timm = has_plain_timm(backbone.architecture)
    return text.render(backbone=backbone, of_timm=of_timm, trained=trained, accuracy=_accuracy(trained))


def _accuracy(trained: TrainedRecord) -> str:
    if trained.calibration is None:
        return f"{100 * trained.validation_accuracy:.1f} %"
    n = trained.calibration.n
    interval = wilson_interval(trained.validation_accuracy * n, n)
    return f"{percent(interval.value, n)} of {n:,} images ({percent_range(interval, n)})"
