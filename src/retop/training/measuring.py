"""How a network stands after an epoch, under evaluation conditions."""

# N batch, K classes

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from retop.device import in_parts_that_fit
from retop.errors import DivergedError
from retop.records import EpochRecord
from retop.training.network import LabelledInputs, LateNetwork
from retop.training.runtime import Runtime
from retop.training.state import not_finite

EVALUATION_BATCH = 64


def evaluate_inputs(
    network: LateNetwork, data: LabelledInputs, runtime: Runtime, leave_if_asked: Callable[[], None] = lambda: None
) -> tuple[float, float]:
    """Mean loss (nats) and accuracy under evaluation conditions: view 0, no dropout."""
    network.eval()
    views = np.zeros(len(data.rows), dtype=np.int64)
    loss_sum = right = 0.0

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        with runtime.autocast():
            return network(*runtime.placed(inputs)).float()  # type: ignore[no-any-return]

    with torch.inference_mode():
        for rows, crossings in data.inputs.batches(data.rows, views, EVALUATION_BATCH):
            labels_n = torch.from_numpy(data.labels_n[rows]).to(runtime.device)
            (logits_nk,) = in_parts_that_fit(run, crossings, runtime.device, runtime.images_at_once)
            loss_sum += float(functional.cross_entropy(logits_nk, labels_n, reduction="sum"))
            right += float((logits_nk.argmax(1) == labels_n).sum())
            leave_if_asked()
    return loss_sum / len(data.rows), right / len(data.rows)


def measure_epoch(
    network: LateNetwork,
    train_sample: LabelledInputs | None,
    validation: LabelledInputs,
    runtime: Runtime,
    stage: int,
    epoch: int,
    *,
    learning_rate: float = 0.0,
    train_loss: float | None = None,
    train_accuracy: float | None = None,
    gradient_norm: float | None = None,
    seconds_before: float = 0.0,
    leave_if_asked: Callable[[], None] = lambda: None,
) -> EpochRecord:
    """The record of an epoch: validation, and the sample of training images under the same conditions.

    Args:
        network: after the epoch; put into evaluation mode.
        train_sample: training images to evaluate too; None leaves that out.
        validation: images to evaluate.
        runtime: device and arithmetic.
        stage: 1 or 2.
        epoch: counted from 1; 0 stands for before the first step.
        learning_rate: step size at the end of the epoch.
        train_loss: mean over the epoch's steps, in nats.
        train_accuracy: the same.
        gradient_norm: the largest of the epoch, before clipping.
        seconds_before: seconds that the epoch's steps took.
        leave_if_asked: called after every batch; raises where somebody asked to stop.

    Raises:
        DivergedError: weights or validation loss are not finite.
        StoppedError: somebody asked to stop.
    """
    began = time.perf_counter()
    loss, accuracy = evaluate_inputs(network, validation, runtime, leave_if_asked)
    sample = evaluate_inputs(network, train_sample, runtime, leave_if_asked) if train_sample else (None, None)
    broken = next(iter(not_finite(network)), None)
    if broken is not None or not math.isfinite(loss):
        way_out = (
            f"A smaller step size may do: --set stage{stage}.learning_rate={learning_rate / 10:.2g}"
            if epoch
            else "The weights or the images give no finite logits before the first step; check --weights"
        )
        what = "the validation loss is" if broken is None else f"the weights {broken} are"
        raise DivergedError(f"stage {stage}, epoch {epoch}: {what} not finite. {way_out}")
    return EpochRecord(
        stage=2 if stage == 2 else 1,
        epoch=epoch,
        learning_rate=learning_rate,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        train_eval_loss=sample[0],
        train_eval_accuracy=sample[1],
        validation_loss=loss,
        validation_accuracy=accuracy,
        gradient_norm=gradient_norm,
        seconds=seconds_before + time.perf_counter() - began,
    )
