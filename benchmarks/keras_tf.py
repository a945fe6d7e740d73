"""Keras 3 on TensorFlow, written as Keras' guide "Transfer learning & fine-tuning" does it.

The base model is called with ``training=False``, so its batch norms keep their statistics; images are resized as they
are read, cached in memory after decoding, augmented in the tf.data pipeline, and prefetched; Adam throughout.
Runs in its own environment (requirements-keras.txt).
"""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import time
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from epochs import Epochs, Pass, PassClock, count_images, time_stage
from spec import SideResult, Spec

NETWORKS = {
    "vgg16": keras.applications.VGG16,
    "resnet50": keras.applications.ResNet50,
    "inception_v3": keras.applications.InceptionV3,
    "xception": keras.applications.Xception,
}
FIRST_LATE_LAYER = {
    "vgg16": "block5_conv1",
    "resnet50": "conv5_block1_1_conv",
    "inception_v3": "mixed7",
    "xception": "block13_sepconv1_act",
}
"""The first layer that trains in stage 2, in the order of ``base_model.layers``: the boundary of the other sides.
``mixed7`` itself has no weights; all after it belong to the last three blocks."""


def run(spec: Spec) -> SideResult:
    started = time.perf_counter()
    keras.utils.set_random_seed(0)
    loop = _Loop(spec)
    loop.compile(keras.optimizers.Adam())
    filling = loop.fill_caches() if spec.measure_steps is not None else 0.0
    prepared = time.perf_counter() - started - filling
    stages = {"head": time_stage(loop.run_epochs, spec.head_epochs, spec)}
    between = time.perf_counter()
    loop.unfreeze_late_layers()
    loop.compile(keras.optimizers.Adam(1e-5))
    prepared += time.perf_counter() - between
    stages["late"] = time_stage(loop.run_epochs, spec.late_epochs, spec)
    wall = time.perf_counter() - started
    extrapolated = spec.measure_steps is not None
    return SideResult(
        seconds=prepared + sum(stage.seconds for stage in stages.values()) if extrapolated else wall,
        wall_seconds=wall,
        parts={"build": prepared, **{name: stage.seconds for name, stage in stages.items()}},
        stages=stages,
        extrapolated=extrapolated,
        measured_images=count_images(stages),
        validation_accuracy=None if extrapolated else loop.validation_accuracy,
        trained_parameters=sum(int(tf.size(weight.value)) for weight in loop.model.trainable_weights),
        threads=os.cpu_count() or 1,
        versions={"keras": keras.__version__, "tensorflow": tf.__version__},
        notes=["decoding, cached in the first epoch, is not counted"] if extrapolated else [],
    )


class _Loop:
    """Model and datasets of the two stages."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._decoded = {split: _decoded(spec, split) for split in ("train", "validation")}
        self.base = NETWORKS[spec.backbone](
            weights=None, include_top=False, input_shape=(spec.image_size, spec.image_size, 3)
        )
        self.base.trainable = False
        self.model = _with_new_head(self.base, spec.image_size)
        self.validation_accuracy = 0.0

    def compile(self, optimiser: keras.optimizers.Optimizer) -> None:
        """As the guide: binary cross-entropy on logits."""
        self.model.compile(
            optimizer=optimiser,
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)],
        )

    def unfreeze_late_layers(self) -> None:
        """Train the layers from the boundary on."""
        self.base.trainable = True
        first = [layer.name for layer in self.base.layers].index(FIRST_LATE_LAYER[self.spec.backbone])
        for layer in self.base.layers[:first]:
            layer.trainable = False

    def fill_caches(self) -> float:
        """Decode everything once, since a few steps leave the cache unfilled; returns the seconds."""
        started = time.perf_counter()
        for dataset in self._decoded.values():
            for _ in dataset:
                pass
        return time.perf_counter() - started

    def run_epochs(self, epochs: int, limit: int | None) -> Epochs:
        """Train and validate."""
        clock = _StepClock(self.spec)
        history = self.model.fit(
            self._prefetched("train", limit),
            epochs=epochs,
            validation_data=self._prefetched("validation", limit),
            callbacks=[clock],
            verbose=0,
        )
        self.validation_accuracy = float(history.history["val_binary_accuracy"][-1])
        return clock.passes

    def _prefetched(self, split: str, limit: int | None) -> tf.data.Dataset:
        dataset = self._decoded[split]
        if limit is not None:
            dataset = dataset.take(limit)
        if split == "train" and self.spec.augments:
            dataset = dataset.map(_augment(), num_parallel_calls=tf.data.AUTOTUNE)
        return dataset.prefetch(tf.data.AUTOTUNE)


def _decoded(spec: Spec, split: str) -> tf.data.Dataset:
    return keras.utils.image_dataset_from_directory(
        str(Path(spec.images) / split),
        label_mode="binary",
        image_size=(spec.image_size, spec.image_size),
        batch_size=spec.batch_size,
        shuffle=split == "train",
        seed=0,
        verbose=False,
    ).cache()


def _augment() -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    layers = [keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)]

    def augment(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for layer in layers:
            images = layer(images)
        return images, labels

    return augment


def _with_new_head(base: keras.Model, image_size: int) -> keras.Model:
    inputs = keras.Input(shape=(image_size, image_size, 3))
    x = keras.layers.Rescaling(scale=1 / 127.5, offset=-1)(inputs)
    x = base(x, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x))


class _StepClock(keras.callbacks.Callback):
    """Times the steps of `fit`."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.passes: Epochs = []
        self._sizes = {
            "train": (spec.num_train, spec.batch_size),
            "validation": (spec.num_validation, spec.batch_size),
        }

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """A training pass begins."""
        self._clock = PassClock(None)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """A training step is done."""
        self._clock.tick(self._images("train", batch))

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Training is over, validation begins."""
        self._train: Pass = self._clock.stop()
        self._clock = PassClock(None)

    def on_test_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """A validation step is done."""
        self._clock.tick(self._images("validation", batch))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Both passes are over."""
        self.passes.append((self._train, self._clock.stop()))

    def _images(self, split: str, batch: int) -> int:
        total, size = self._sizes[split]
        return min(size, total - batch * size)
