"""The `retop` key of a model folder's config.json."""

from dataclasses import dataclass

from retop.recipe import HeadRecipe
from retop.records.calibration import Calibration
from retop.records.network import Preprocessing, WeightsRecord

MODEL_FOLDER_VERSION = 2


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
