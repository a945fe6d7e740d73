"""Predictions from a model folder."""

# N images, K classes, H, W

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch

from retop.artifact import LoadedModel, load_model_folder
from retop.data import ImageSet
from retop.data.batches import decode_batches
from retop.data.colour import to_rgb
from retop.data.folders import read_regular_file
from retop.data.orientation import read_orientation, turn_upright
from retop.data.views import evaluation_view, preprocess_bytes
from retop.device import choose_device, full_float32
from retop.errors import UnreadableImageError, UsageError
from retop.events import Listener, PartAdvanced, ignore
from retop.recipe import ViewsRecipe
from retop.records import Predictions, Preprocessing, TrainedRecord

EVALUATION_BATCH = 32
NO_AUGMENTATION = ViewsRecipe(preset="none", count=1)

Image = str | Path | bytes | PIL.Image.Image | npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Prediction:
    """The model's answer for one image.

    Attributes:
        path: the image's path, or a description of what was given.
        label: the most probable class; None where the image cannot be read.
        confidence: its probability; None where the image cannot be read.
        probabilities: of every class by name; empty where the image cannot be read.
        error: why the image cannot be read; None where it can.
    """

    path: str
    label: str | None
    confidence: float | None
    probabilities: dict[str, float]
    error: str | None = None

    def _repr_html_(self) -> str:
        from html import escape

        if self.error is not None:
            return f"<p>{escape(self.path)}: {escape(self.error)}</p>"
        ordered = sorted(self.probabilities.items(), key=lambda item: -item[1])[:5]
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{100 * p:.1f} %</td></tr>" for name, p in ordered)
        return f"<table><caption>{escape(self.path)}</caption>{rows}</table>"


class Predictor:
    """A trained model, ready to answer. Arithmetic is float32, on CUDA without TensorFloat-32.

    Args:
        model: a loaded model folder, or its path.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for a GPU if there is one.

    Raises:
        ModelFolderError: the folder cannot be loaded.
        UsageError: the device is not there.
    """

    def __init__(self, model: LoadedModel | str | Path, device: str = "cpu") -> None:
        self.device = torch.device(choose_device(device))
        loaded = model if isinstance(model, LoadedModel) else load_model_folder(model)
        self.trained: TrainedRecord = loaded.trained
        self._classifier = loaded.classifier.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; logit k belongs to classes[k]."""
        return self.trained.classes

    @property
    def precision(self) -> str:
        """Arithmetic, as records name it."""
        return "float32"

    def logits(self, images_nchw: torch.Tensor) -> npt.NDArray[np.float32]:
        """Logits of a batch.

        Args:
            images_nchw: [N, 3, H, W] uint8, resized and cropped.

        Returns:
            [N, K] float32.
        """
        with torch.inference_mode(), full_float32(self.device):
            logits_nk = self._classifier(images_nchw.to(self.device).contiguous(memory_format=torch.channels_last))
        return logits_nk.float().cpu().numpy()  # type: ignore[no-any-return]

    def evaluate(self, images: ImageSet, part: str = "", listener: Listener = ignore) -> Predictions:
        """Logits of every image of a split, each exactly once, in the set's order.

        Args:
            images: N images; their classes must be the model's.
            part: name of the running part for progress events, in images.
            listener: receives progress.

        Returns:
            The predictions.

        Raises:
            UsageError: the classes differ from the model's.
            UnreadableImageError: an image vanished or changed since it was indexed.
        """
        if images.classes != self.classes:
            raise UsageError(
                f"the data's classes ({', '.join(images.classes)}) are not the model's ({', '.join(self.classes)})"
            )
        rows = np.arange(len(images))
        batches = decode_batches(
            images, rows, np.zeros_like(rows), self.trained.preprocessing, NO_AUGMENTATION, EVALUATION_BATCH
        )
        logits = []
        for batch in batches:
            logits.append(self.logits(batch))
            listener(PartAdvanced(part, len(batch)))
        paths = tuple(images.path(row) for row in range(len(images)))
        return Predictions(images.split, paths, self.classes, images.labels_n, np.concatenate(logits))

    def predict(self, images: Image | list[Image]) -> Prediction | list[Prediction]:
        """Classify one image or several.

        Args:
            images: a path, the bytes of an image file, a PIL image, an array [H, W, 3] or [H, W] uint8; or a list
                of such.

        Returns:
            One prediction for one image, a list for a list. An image that cannot be read gives a prediction with
            its `error`.

        Raises:
            UsageError: something that is no image was given.
        """
        if isinstance(images, list):
            return list(self.stream(images))
        return next(self.stream([images]))

    def stream(self, images: Sequence[Image], batch_size: int = EVALUATION_BATCH) -> Iterator[Prediction]:
        """Classify any number of images in bounded memory, in their order."""
        for first in range(0, len(images), batch_size):
            yield from self._predict_batch(images[first : first + batch_size])

    def _predict_batch(self, images: Sequence[Image]) -> Iterator[Prediction]:
        named = [_described(image) for image in images]
        pixels: list[npt.NDArray[np.uint8] | UnreadableImageError] = []
        for image, name in zip(images, named, strict=True):
            try:
                pixels.append(_pixels(image, name, self.trained.preprocessing))
            except UnreadableImageError as error:
                pixels.append(error)
        readable = [item for item in pixels if not isinstance(item, UnreadableImageError)]
        logits = iter(self.logits(torch.from_numpy(np.stack(readable)).permute(0, 3, 1, 2)) if readable else ())
        for item, name in zip(pixels, named, strict=True):
            if isinstance(item, UnreadableImageError):
                yield Prediction(name, None, None, {}, item.reason)
            else:
                yield self._answer(name, next(logits))

    def _answer(self, name: str, logits_k: npt.NDArray[np.float32]) -> Prediction:
        wide_k = logits_k.astype(np.float64)
        exponentials_k = np.exp(wide_k - wide_k.max())
        probabilities_k = exponentials_k / exponentials_k.sum()
        best = int(probabilities_k.argmax())
        named = {label: float(p) for label, p in zip(self.classes, probabilities_k, strict=True)}
        return Prediction(name, self.classes[best], named[self.classes[best]], named)


def _described(image: Image) -> str:
    if isinstance(image, str | Path):
        return str(image)
    if isinstance(image, bytes):
        return f"{len(image)} bytes"
    return f"{type(image).__name__}"


def _pixels(image: Image, name: str, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """The evaluation view [H, W, 3]; files take the path that evaluation takes."""
    if isinstance(image, str | Path):
        try:
            return preprocess_bytes(read_regular_file(Path(image), name), name, preprocessing)
        except OSError as error:
            raise UnreadableImageError(name, error.strerror or str(error)) from error
    if isinstance(image, bytes):
        return preprocess_bytes(image, name, preprocessing)
    if isinstance(image, PIL.Image.Image):
        try:
            image.load()
            return evaluation_view(turn_upright(to_rgb(image), read_orientation(image)), preprocessing)
        except (OSError, SyntaxError, ValueError) as error:
            raise UnreadableImageError(name, str(error)) from error
    if isinstance(image, np.ndarray) and _holds_pixels(image):
        return evaluation_view(to_rgb(PIL.Image.fromarray(image)), preprocessing)
    raise UsageError(
        f"expected a path, bytes, a PIL image or an array [H, W, 3] of uint8; received {type(image).__name__}"
        f"{f' {image.shape} {image.dtype}' if isinstance(image, np.ndarray) else ''}"
    )


def _holds_pixels(array: npt.NDArray[np.uint8]) -> bool:
    """Whether an array is grey [H, W], or [H, W, 3] or [H, W, 4] with transparency."""
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    return shaped and array.dtype == np.uint8 and array.size > 0
