"""The end of a run: how far the model's confidence can be believed, stored in its folder."""

from dataclasses import replace
from pathlib import Path

from retop.artifact import store_calibration
from retop.errors import UsageError
from retop.evaluation import calibrate, choose_threshold
from retop.events import Listener, Notice
from retop.recipe import Recipe
from retop.records import Calibration, Predictions


def calibrate_model(folder: Path, validation: Predictions, recipe: Recipe, listener: Listener) -> Calibration:
    """Fit the temperature on validation, choose the threshold that the recipe asks for, and store both.

    Args:
        folder: the model folder.
        validation: what the model said of the validation images.
        recipe: its `reject_below` and `target_accuracy`.
        listener: receives a warning where no threshold reaches the target.

    Returns:
        What was stored.
    """
    calibration = calibrate(validation)
    threshold = recipe.reject_below
    if recipe.target_accuracy is not None:
        try:
            threshold = choose_threshold(calibration, recipe.target_accuracy)
        except UsageError as error:
            listener(Notice("warning", f"{error}. The model refuses nothing"))
    calibration = replace(calibration, reject_below=threshold)
    store_calibration(folder, calibration)
    return calibration
