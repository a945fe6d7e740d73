"""`retop compare`."""

from retop.cli.options import FOUR, BackbonesOption, JsonOption, LogOption, OutOption
from retop.cli.reading import read_names
from retop.cli.running import run_comparison
from retop.cli.training_options import TrainingOptions, takes_training_options


@takes_training_options
def compare(
    options: TrainingOptions,
    backbones: BackbonesOption = None,
    log: LogOption = None,
    out: OutOption = None,
    json: JsonOption = False,
) -> None:
    """Fine-tune several networks on the same images and rank them."""
    run_comparison(options, read_names(backbones or [FOUR]), out, json, log)
