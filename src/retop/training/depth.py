"""The probe at several depths: which of the frozen groups of layers tells the classes apart best.

N images, F features.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from retop.backbones import Group
from retop.predictor import Predictor
from retop.records import DepthResult
from retop.training.probing import Floats, FrozenFeatures, Labels, count_right, fit_logits


def probe_depths(
    predictor: Predictor,
    frozen: Sequence[Group],
    train_nchw: Sequence[torch.Tensor],
    validation_nchw: Sequence[torch.Tensor],
    last: FrozenFeatures,
    labels: tuple[Labels, Labels],
) -> tuple[DepthResult, ...]:
    """Fit a logistic regression on the output of every frozen group, and on the last features of the frozen network.

    Args:
        predictor: the saved model, whose frozen groups are those of the pretrained network.
        frozen: groups that the run did not train, from the stem on.
        train_nchw: batches of training images, [N, 3, H, W] uint8.
        validation_nchw: batches of validation images.
        last: features of the same images at the end of the network as it was before stage 2.
        labels: of the training and of the validation images.

    Returns:
        One result per group.
    """
    names = [group.name for group in frozen]
    with group_outputs(predictor.classifier.image_network.body, frozen) as pooled:
        split_features = [run_batches(predictor, batches, pooled, names) for batches in (train_nchw, validation_nchw)]
    learned_n, asked_n = labels
    num_classes = len(predictor.classes)

    def answer(features: FrozenFeatures) -> np.ndarray:
        scaled = features.scaled()
        return fit_logits(scaled.train_nf, learned_n, scaled.validation_nf, num_classes)

    last_right_n = answer(last).argmax(axis=1) == asked_n
    results = []
    for name in names:
        logits_nk = answer(FrozenFeatures(*(features[name] for features in split_features)))
        right_n = logits_nk.argmax(axis=1) == asked_n
        results.append(
            DepthResult(
                name,
                count_right(logits_nk, asked_n),
                int((right_n & ~last_right_n).sum()),
                int((last_right_n & ~right_n).sum()),
            )
        )
    return tuple(results)


def run_batches(
    predictor: Predictor, batches: Sequence[torch.Tensor], pooled: dict[str, torch.Tensor], names: Sequence[str]
) -> dict[str, Floats]:
    """What each group gives for all images.

    Args:
        predictor: whose network runs.
        batches: [N, 3, H, W] uint8.
        pooled: as `group_outputs` yields it for this network.
        names: of the groups.

    Returns:
        [N, F] by the group's name.
    """

    def outputs(images_nchw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        predictor.classifier.image_network(images_nchw)
        return tuple(pooled[name] for name in names)

    # Read inside of what is run in parts: each pass leaves only its own images' outputs.
    passes = [predictor.run(outputs, batch_nchw) for batch_nchw in batches]
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*passes, strict=True), strict=True)}


@contextmanager
def group_outputs(body: nn.Module, groups: Sequence[Group]) -> Iterator[dict[str, torch.Tensor]]:
    """Keep what each group of a network gives in the latest pass, averaged over each image.

    Args:
        body: the network.
        groups: of its layers.

    Yields:
        [N, F] by the group's name.
    """
    pooled: dict[str, torch.Tensor] = {}
    swin, width = getattr(body, "output_fmt", "NCHW") == "NHWC", getattr(body, "embed_dim", None)
    modules = dict(body.named_modules())

    def keep(name: str, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.ndim in (2, 3, 4):
            # Maps [N, C, H, W] or [N, H, W, C], tokens [N, T, C]. The last layer of a group to answer counts.
            channels_last = swin or output.shape[-1] == width
            places = {2: (), 3: (1,), 4: (1, 2) if channels_last else (2, 3)}[output.ndim]
            pooled[name] = (output.float().mean(dim=places) if places else output.float()).cpu()

    def hook_for(name: str) -> Callable[[nn.Module, object, object], None]:
        return lambda module, inputs, output: keep(name, output)

    hooks = [
        modules[prefix].register_forward_hook(hook_for(group.name))
        for group in groups
        for prefix in group.prefixes
        if prefix in modules
    ]
    try:
        yield pooled
    finally:
        for hook in hooks:
            hook.remove()
