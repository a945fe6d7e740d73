"""Stages, the loop, and the device runtime."""

from retop.training.checkpoints import Checkpoints
from retop.training.crops import CroppedInputs
from retop.training.inputs import DecodedInputs, Inputs, StoredInputs
from retop.training.loop import fit
from retop.training.measuring import evaluate_inputs
from retop.training.network import LabelledInputs, LateNetwork
from retop.training.runtime import Runtime, choose_runtime
from retop.training.stages import StageData, StageResult, StageTrainer, training_mode

__all__ = [
    "Checkpoints",
    "CroppedInputs",
    "DecodedInputs",
    "Inputs",
    "LabelledInputs",
    "LateNetwork",
    "Runtime",
    "StageData",
    "StageResult",
    "StageTrainer",
    "StoredInputs",
    "choose_runtime",
    "evaluate_inputs",
    "fit",
    "training_mode",
]
