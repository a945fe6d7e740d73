"""The part of a model that every format holds: resized 8-bit images in, probabilities out."""

# N batch, K classes, H, W

import torch
from torch import nn

from retop.artifact import Classifier, load_model_folder
from retop.predictor import Predictor


class ExportedNetwork(nn.Module):
    """Normalisation, network, temperature and softmax.

    Args:
        classifier: of the model.
        temperature: of the model.
    """

    def __init__(self, classifier: Classifier, temperature: float) -> None:
        super().__init__()
        self.classifier = classifier
        self.temperature = temperature

    def forward(self, images_nchw: torch.Tensor) -> torch.Tensor:
        """Probabilities [N, K] of 8-bit images [N, 3, H, W], resized and cropped."""
        return torch.softmax(self.classifier(images_nchw) / self.temperature, dim=1)


def build_network(predictor: Predictor) -> ExportedNetwork:
    """A fresh copy of a model, in the plain memory layout, on the CPU.

    Args:
        predictor: the model.

    Returns:
        The network in evaluation mode.
    """
    return ExportedNetwork(load_model_folder(predictor.folder).classifier, predictor.temperature).eval()


def example_images(predictor: Predictor) -> torch.Tensor:
    """Two blank images of the network's size, [2, 3, H, W]; one would make the exporter fix the batch."""
    preprocessing = predictor.trained.preprocessing
    return torch.zeros(2, 3, preprocessing.height, preprocessing.width, dtype=torch.uint8)
