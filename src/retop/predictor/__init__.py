"""A model folder that predicts: the only way anything is evaluated."""

from retop.predictor.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
