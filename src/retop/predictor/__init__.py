"""A model folder that answers: the only way anything is evaluated."""

from retop.predictor.prediction import Image, Prediction
from retop.predictor.predictor import Predictor

__all__ = ["Image", "Prediction", "Predictor"]
