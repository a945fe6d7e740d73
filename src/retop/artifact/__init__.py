"""The model folder: everything that prediction needs, and nothing that can run code."""

from retop.artifact.classifier import Classifier
from retop.artifact.folder import LoadedModel, load_model_folder, save_model_folder, store_calibration

__all__ = ["Classifier", "LoadedModel", "load_model_folder", "save_model_folder", "store_calibration"]
