"""`retop plan`."""

from retop.cli.options import FOUR, BackbonesOption, JsonOption
from retop.cli.reading import read_names
from retop.cli.running import print_plan
from retop.cli.training_options import TrainingOptions, takes_training_options


@takes_training_options
def plan(options: TrainingOptions, backbones: BackbonesOption = None, json: JsonOption = False) -> None:
    """Say what compare would compute, how often and for how long, and train nothing."""
    print_plan(options, read_names(backbones or [FOUR]), json)
