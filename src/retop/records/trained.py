"""The `retop` key of a model folder's config.json."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from retop.errors import SchemaError
from retop.recipe import HeadRecipe
from retop.records.calibration import Calibration
from retop.records.weights import Preprocessing, WeightsRecord

MODEL_FOLDER_VERSION = 2
MOST_CLASSES = 100_000
# As long as the longest path of a folder.
LONGEST_CLASS_NAME = 4096


@dataclass(frozen=True)
class TrainedRecord:
    """What prediction needs beyond timm's own keys, and where the model came from."""

    classes: tuple[str, ...]
    """Class names; logit k belongs to classes[k]."""

    preprocessing: Preprocessing
    """How images become the network's input."""

    head: HeadRecipe
    """The head on top."""

    head_features: int
    """F, the number of values that enter the head."""

    backbone: str
    """Name under which the backbone was asked for."""

    boundary: str | None
    """First thawed group; None where only the head was trained."""

    kind: str
    """``fine-tuned``, ``scratch`` or ``probe``."""

    recipe: str
    """Name of the recipe."""

    seed: int
    """Seed of the run."""

    data_fingerprint: str
    """Fingerprint of the data it was trained on."""

    num_train: int
    """Training images."""

    validation_accuracy: float
    """On validation, measured in training. Temperature changes no accuracy."""

    weights: WeightsRecord
    """Where the pretrained weights came from."""

    weights_sha256: str
    """SHA-256 of model.safetensors, hexadecimal."""

    retop: str
    """Version of retop that wrote the folder."""

    calibration: Calibration | None = None
    """Temperature and threshold; None in folders that have none: their temperature is 1, and nothing is refused."""

    config_sha256: str = ""
    """SHA-256 of config.json, this value aside: of its JSON with sorted keys and without spaces. Empty in version 1."""

    version: int = MODEL_FOLDER_VERSION
    """Version of the model folder's form."""

    def __post_init__(self) -> None:
        if problem := problem_of_classes(self.classes):
            raise SchemaError(f"classes: {problem}")


def problem_of_classes(classes: Sequence[str]) -> str | None:
    """Why no model may have these classes.

    Names may be all that a user's folders may be called: of any script, with spaces, line breaks and direction marks.

    Args:
        classes: their names.

    Returns:
        What is wrong, what was received and the bound; None where nothing is.
    """
    if not 1 <= len(classes) <= MOST_CLASSES:
        return f"a model has 1 to {MOST_CLASSES:,} classes; received {len(classes):,}"
    if longest := next((name for name in classes if not 1 <= len(name) <= LONGEST_CLASS_NAME), None):
        return (
            f"a name has 1 to {LONGEST_CLASS_NAME:,} characters; received one of {len(longest):,}: {longest[:60]!r}..."
        )
    if "" in classes:
        return f"a name has 1 to {LONGEST_CLASS_NAME:,} characters; received an empty one"
    if any("\ud800" <= character <= "\udfff" for name in classes for character in name):
        return "a name is Unicode; received one with half a character (a surrogate)"
    name, times = Counter(classes).most_common(1)[0]
    return f"each name stands once; received {name[:60]!r} {times} times" if times > 1 else None
