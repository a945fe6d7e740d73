"""Heat maps of the last feature map, for every family of networks."""

# N batch, K classes, C channels, T tokens, H, W

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import nn

from retop.artifact import Classifier
from retop.predictor import Predictor

OPACITY = 0.55


def heat_map(classifier: Classifier, pixels_hwc: npt.NDArray[np.uint8], class_index: int) -> npt.NDArray[np.float32]:
    """Grad-CAM: where the last feature map raises a class's logit.

    Args:
        classifier: in evaluation mode.
        pixels_hwc: the network's input [H, W, 3].
        class_index: number of the class.

    Returns:
        [H, W], 0 to 1; all 0 where nothing speaks for the class.

    Source: R. R. Selvaraju et al., Grad-CAM, ICCV 2017. For networks of tokens the map is taken before the last block,
    because after it only the class token reaches the head.
    """
    device = next(classifier.parameters()).device
    images_nchw = torch.from_numpy(np.array(pixels_hwc)).permute(2, 0, 1)[None].to(device)
    kept: list[torch.Tensor] = []

    def keep(value: torch.Tensor) -> torch.Tensor:
        kept[:] = [value.detach().requires_grad_(True)]
        return kept[0]

    with torch.enable_grad():
        logits_nk = _run(classifier, images_nchw, keep)
        (gradient,) = torch.autograd.grad(logits_nk[0, class_index], kept[0])
    body = classifier.image_network.body
    map_chw, gradient_chw = (_as_map(value[0], body) for value in (kept[0].detach(), gradient))
    weights_c = gradient_chw.mean(dim=(1, 2))
    heat_hw = torch.relu((weights_c[:, None, None] * map_chw).sum(0))
    heat_hw = heat_hw / heat_hw.max().clamp_min(1e-12)
    size = images_nchw.shape[2:]
    smooth = nn.functional.interpolate(heat_hw[None, None].float(), size=size, mode="bilinear", align_corners=False)
    return smooth[0, 0].clamp(0, 1).cpu().numpy()


def overlay(pixels_hwc: npt.NDArray[np.uint8], heat_hw: npt.NDArray[np.float32]) -> Image.Image:
    """The image in grey under its heat map, from blue (nothing) over green to red.

    Args:
        pixels_hwc: the network's input [H, W, 3].
        heat_hw: [H, W], 0 to 1.

    Returns:
        An RGB image.
    """
    grey_hw = pixels_hwc.mean(axis=2)
    levels = np.array([0.0, 0.35, 0.65, 1.0])
    colours = np.array([[48, 60, 140], [40, 150, 160], [240, 200, 70], [220, 50, 40]], np.float64)
    colour_hwc = np.stack([np.interp(heat_hw, levels, colours[:, channel]) for channel in range(3)], axis=2)
    strength_hw1 = (OPACITY * np.sqrt(heat_hw))[..., None]
    mixed_hwc = (1 - strength_hw1) * grey_hw[..., None] + strength_hw1 * colour_hwc
    return Image.fromarray(np.clip(mixed_hwc, 0, 255).astype(np.uint8))


def overlay_of(predictor: Predictor, pixels_hwc: npt.NDArray[np.uint8], label: str | None = None) -> Image.Image:
    """The overlay for one class of a model.

    Args:
        predictor: the model.
        pixels_hwc: the network's input [H, W, 3].
        label: the class; None for the most probable one.

    Returns:
        An RGB image.
    """
    if label is None:
        images_nchw = torch.from_numpy(np.array(pixels_hwc)).permute(2, 0, 1)[None]
        number = int(predictor.logits(images_nchw)[0].argmax())
    else:
        number = predictor.classes.index(label)
    return overlay(pixels_hwc, heat_map(predictor.classifier, pixels_hwc, number))


def _run(
    classifier: Classifier, images_nchw: torch.Tensor, keep: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Logits, with the last map passed through `keep` on the way."""
    network = classifier.image_network
    body = network.body
    blocks = getattr(body, "blocks", None)
    if getattr(body, "num_prefix_tokens", 0) and isinstance(blocks, nn.Sequential):
        hook = blocks[-1].register_forward_pre_hook(lambda module, inputs: (keep(inputs[0]), *inputs[1:]))
        try:
            return classifier(images_nchw)  # type: ignore[no-any-return]
        finally:
            hook.remove()
    features = keep(body.forward_features(network.normalisation(images_nchw)))  # type: ignore[operator]
    pooled = body.forward_head(features) if network.output == "pooled" else features.flatten(1)  # type: ignore[operator]
    return classifier.head(pooled)  # type: ignore[no-any-return]


def _as_map(value: torch.Tensor, body: nn.Module) -> torch.Tensor:
    """[C, H, W] of a map with channels first or last, or of tokens."""
    if value.ndim == 2:
        tokens_tc = value[int(getattr(body, "num_prefix_tokens", 0)) :]
        side = math.isqrt(len(tokens_tc))
        return tokens_tc[: side * side].T.reshape(-1, side, side)
    channels = int(getattr(body, "num_features", value.shape[0]))
    return value if value.shape[0] == channels else value.permute(2, 0, 1)
