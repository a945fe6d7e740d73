"""Predictions from a model folder."""

# N images, K classes, F features, H, W

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import nn

from retop.artifact import Classifier, LoadedModel, load_model_folder
from retop.backbones.folding import fold_network
from retop.data import ImageSet
from retop.data.batches import decode_batches
from retop.data.reading import available_cores
from retop.device import choose_device, full_float32, in_parts_that_fit, is_out_of_memory
from retop.errors import ModelFolderError, UnreadableImageError, UsageError
from retop.evaluation import acceptance_at, choose_threshold, log_softmax
from retop.events import Listener, PartAdvanced, ignore
from retop.predictor.prediction import Image, Prediction, describe, read_pixels
from retop.recipe import ViewsRecipe
from retop.records import Acceptance, Predictions, TrainedRecord

EVALUATION_BATCH = 32
NO_AUGMENTATION = ViewsRecipe(preset="none", count=1)

Pixels = npt.NDArray[np.uint8]


class Predictor:
    """A trained model, ready to answer. Arithmetic is float32, on CUDA without TensorFloat-32.

    Args:
        model: a loaded model folder, or its path.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"auto"`` for a GPU if there is one.
        reject_below: refuse answers with a lower confidence; None for the threshold in the folder.
        target_accuracy: choose that threshold so that the answers given reach this accuracy on validation.
        images_at_once: that go through the network; None for whole batches, in parts where there is no memory for them.

    Raises:
        ModelFolderError: the folder cannot be loaded.
        UsageError: the device is not there, or the threshold is out of range, cannot be chosen or is given twice.
    """

    def __init__(
        self,
        model: LoadedModel | str | Path,
        device: str = "cpu",
        *,
        reject_below: float | None = None,
        target_accuracy: float | None = None,
        images_at_once: int | None = None,
    ) -> None:
        self.images_at_once = images_at_once
        self.device = torch.device(choose_device(device))
        loaded = model if isinstance(model, LoadedModel) else load_model_folder(model)
        self.trained: TrainedRecord = loaded.trained
        self.folder = loaded.folder
        self.reject_below = find_threshold(loaded.trained, reject_below, target_accuracy)
        self.classifier: Classifier = loaded.classifier.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._image_network: nn.Module = self.classifier.image_network

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; logit k belongs to classes[k]."""
        return self.trained.classes

    @property
    def precision(self) -> str:
        """Arithmetic, as records name it."""
        return "float32"

    @property
    def temperature(self) -> float:
        """Logits are divided by it before they become probabilities."""
        return self.trained.calibration.temperature if self.trained.calibration else 1.0

    @property
    def acceptance(self) -> Acceptance | None:
        """What the threshold means by the validation images; None where the folder does not know."""
        calibration = self.trained.calibration
        return acceptance_at(calibration, self.reject_below) if calibration else None

    def fold(self) -> None:
        """Answer faster from now on: batch norms become part of the convolutions, equal up to rounding.

        It takes up to a second or two and a second copy of the weights: for a process that answers for long.
        """
        size = self.trained.preprocessing
        self._image_network = fold_network(self.classifier.image_network, (size.height, size.width)).to(
            memory_format=torch.channels_last
        )

    def logits(self, images_nchw: torch.Tensor) -> npt.NDArray[np.float32]:
        """Logits of a batch, before temperature.

        Args:
            images_nchw: [N, 3, H, W] uint8, resized and cropped.

        Returns:
            [N, K] float32.
        """
        return self._features_and_logits(images_nchw)[1]

    def run(
        self, compute: Callable[[torch.Tensor], tuple[torch.Tensor, ...]], images_nchw: torch.Tensor
    ) -> tuple[npt.NDArray[np.float32], ...]:
        """Compute something of a batch as answers are computed: on the device, in parts where memory is short.

        Args:
            compute: images [N, 3, H, W] uint8 on the device to tensors [N, ...], image by image.
            images_nchw: [N, 3, H, W] uint8, resized and cropped.

        Returns:
            The tensors of the whole batch, float32.

        Raises:
            ModelFolderError: the network does not take images of the folder's size.
        """
        try:
            with torch.inference_mode(), full_float32(self.device):
                placed_nchw = images_nchw.to(self.device).contiguous(memory_format=torch.channels_last)
                results = in_parts_that_fit(compute, (placed_nchw,), self.device, self.images_at_once)
        except (RuntimeError, AssertionError, ValueError, TypeError, LookupError, ArithmeticError) as error:
            if is_out_of_memory(error):
                raise
            height, width = images_nchw.shape[2:]
            raise ModelFolderError(
                f"{self.folder}: its network does not take the images of {height} x {width} pixels that its "
                f"preprocessing asks for: {error}"
            ) from error
        return tuple(result.float().cpu().numpy() for result in results)

    def probabilities(self, logits_nk: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Probabilities of logits: the one place where the temperature acts.

        Args:
            logits_nk: [N, K] before temperature.

        Returns:
            [N, K], each row adding up to 1.
        """
        return np.exp(log_softmax(logits_nk, self.temperature))

    def evaluate(self, images: ImageSet, part: str = "", listener: Listener = ignore) -> Predictions:
        """Logits of every image of a split, each exactly once, in the set's order.

        Args:
            images: N images; their classes must be the model's.
            part: name of the running part for progress events, in images.
            listener: receives progress.

        Returns:
            The predictions; logits before temperature.

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

    def predict(self, images: Image | list[Image], *, features: bool = False) -> Prediction | list[Prediction]:
        """Classify one image or several.

        Args:
            images: a path, the bytes of an image file, a PIL image, an array [H, W, 3] or [H, W] uint8; or a list
                of such.
            features: also give the values that enter the head.

        Returns:
            One prediction for one image, a list for a list. An image that cannot be read gives a prediction with
            its `error`.

        Raises:
            UsageError: something that is no image was given.
        """
        if isinstance(images, list):
            return list(self.stream(images, features=features))
        return next(self.stream([images], features=features))

    def stream(
        self, images: Iterable[Image], batch_size: int = EVALUATION_BATCH, *, features: bool = False
    ) -> Iterator[Prediction]:
        """Classify any number of images in bounded memory, in their order; decoding runs ahead in threads.

        Args:
            images: see `predict`; read as they are needed.
            batch_size: images that the network sees at once, at least 1.
            features: see `predict`.

        Yields:
            One prediction per image.
        """
        for names, pixels in self._decode(images, batch_size):
            yield from self.answer(names, pixels, features=features)

    def answer(
        self, names: list[str], pixels: list[Pixels | UnreadableImageError], *, features: bool = False
    ) -> Iterator[Prediction]:
        """Answers for a batch of images that are decoded, or could not be.

        Args:
            names: how the answers name the images.
            pixels: the evaluation view [H, W, 3] of each, or why it cannot be read.
            features: see `predict`.

        Yields:
            One prediction per image.
        """
        readable = [item for item in pixels if not isinstance(item, UnreadableImageError)]
        answered: Iterator[Prediction] = iter(())
        if readable:
            known = [n for n, item in zip(names, pixels, strict=True) if not isinstance(item, UnreadableImageError)]
            answered = self._answers(known, np.stack(readable), features)
        for name, item in zip(names, pixels, strict=True):
            if isinstance(item, UnreadableImageError):
                yield Prediction(name, None, None, {}, item.reason)
            else:
                yield next(answered)

    def _answers(self, names: list[str], pixels_nhwc: Pixels, features: bool) -> Iterator[Prediction]:
        features_nf, logits_nk = self._features_and_logits(torch.from_numpy(pixels_nhwc).permute(0, 3, 1, 2))
        for n, (name, probability_k) in enumerate(zip(names, self.probabilities(logits_nk), strict=True)):
            best = int(probability_k.argmax())
            confidence = float(probability_k[best])
            rejected = confidence < self.reject_below
            yield Prediction(
                name,
                None if rejected else self.classes[best],
                confidence,
                dict(zip(self.classes, probability_k.tolist(), strict=True)),
                rejected=rejected,
                features=tuple(features_nf[n].tolist()) if features else None,
            )

    def _features_and_logits(
        self, images_nchw: torch.Tensor
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        def answer(placed_nchw: torch.Tensor) -> tuple[torch.Tensor, ...]:
            features_nf = self._image_network(placed_nchw)
            return features_nf, self.classifier.head(features_nf)

        features_nf, logits_nk = self.run(answer, images_nchw)
        if not np.isfinite(logits_nk).all():
            raise ModelFolderError(
                f"{self.folder}: its network's answers are not finite numbers, so they have no probabilities. Its "
                f"weights are too large for float32; train the model again"
            )
        return features_nf, logits_nk

    def _decode(
        self, images: Iterable[Image], batch_size: int
    ) -> Iterator[tuple[list[str], list[Pixels | UnreadableImageError]]]:
        pending: deque[tuple[list[str], list[Future[Pixels | UnreadableImageError]]]] = deque()
        pool = ThreadPoolExecutor(available_cores(), thread_name_prefix="retop-decode")
        try:
            coming = iter(images)
            while batch := list(islice(coming, batch_size)):
                pending.append(([describe(i) for i in batch], [self._begin(pool, image) for image in batch]))
                if len(pending) > 1:
                    names, futures = pending.popleft()
                    yield names, [future.result() for future in futures]
            while pending:
                names, futures = pending.popleft()
                yield names, [future.result() for future in futures]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, image: Image) -> Future[Pixels | UnreadableImageError]:
        if not isinstance(image, PIL.Image.Image):
            return pool.submit(self._read, image)
        # One that is not loaded yet reads its file here: the caller may have given it twice, or may go on using it.
        done: Future[Pixels | UnreadableImageError] = Future()
        done.set_result(self._read(image))
        return done

    def _read(self, image: Image) -> Pixels | UnreadableImageError:
        try:
            return read_pixels(image, self.trained.preprocessing)
        except UnreadableImageError as error:
            return error


def find_threshold(trained: TrainedRecord, reject_below: float | None, target_accuracy: float | None) -> float:
    """The confidence below which a model refuses.

    Args:
        trained: of the model.
        reject_below: a threshold that was asked for.
        target_accuracy: an accuracy that was asked for.

    Returns:
        The threshold; that of the folder where nothing was asked for.

    Raises:
        UsageError: both were asked for, one is out of range, or the folder does not know how confident it may be.
    """
    calibration = trained.calibration
    if reject_below is not None and target_accuracy is not None:
        raise UsageError("--target-accuracy chooses the threshold; give it or --reject-below, not both")
    if target_accuracy is not None:
        if calibration is None:
            raise UsageError(
                "this model folder holds no calibration, so no threshold can be chosen for --target-accuracy; give "
                "--reject-below, or train the model again"
            )
        return choose_threshold(calibration, target_accuracy)
    if reject_below is not None:
        if not 0 <= reject_below <= 1:
            raise UsageError(f"--reject-below (reject_below) must lie between 0 and 1; received {reject_below}")
        return reject_below
    return calibration.reject_below if calibration else 0.0
