"""model.safetensors of a model folder: backbone and head, under timm's names."""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from retop.artifact.bounds import TensorHeader, largest_weights, read_bounded
from retop.artifact.classifier import Classifier
from retop.artifact.config import CONFIG
from retop.backbones import Backbone
from retop.errors import ModelFolderError
from retop.records import TrainedRecord

WEIGHTS = "model.safetensors"
MLP_PREFIX = "retop_head"
DTYPES = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}


def write_weights(backbone: Backbone, head: nn.Module, trained: TrainedRecord) -> bytes:
    """The file's content.

    Args:
        backbone: with the trained weights in its network.
        head: a plain linear layer, or the mlp head.
        trained: what is known about the model.
    """
    prefix = head_prefix(trained, backbone.classifier)
    named = {**backbone.network.state_dict(), **{f"{prefix}.{name}": t for name, t in head.state_dict().items()}}
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in named.items()})


def head_prefix(trained: TrainedRecord, classifier: str) -> str:
    """What the names of the head's tensors begin with.

    Args:
        trained: tells the kind of the head; a linear one stands where timm looks for it.
        classifier: the name of that place.
    """
    return classifier if trained.head.kind == "linear" else MLP_PREFIX


def read_weights(folder: Path, trained: TrainedRecord) -> bytes:
    """Read model.safetensors of a stranger.

    Args:
        folder: that it lies in.
        trained: holds its checksum.

    Returns:
        All of it; nothing of it has been looked at.

    Raises:
        ModelFolderError: it is missing, no plain file, too large, or not the file that belongs to the config.
    """
    content = read_bounded(folder / WEIGHTS, largest_weights())
    if hashlib.sha256(content).hexdigest() != trained.weights_sha256:
        raise ModelFolderError(
            f"{folder / WEIGHTS} is not the file that {CONFIG} was written for: its SHA-256 differs. Copy the "
            f"folder again from where it was made"
        )
    return content


def check_shapes(classifier: Classifier, prefix: str, announced: dict[str, TensorHeader], folder: Path) -> None:
    """The file must announce exactly the tensors of the network, before any of them is made.

    Args:
        classifier: the network, without content.
        prefix: of the head's names.
        announced: what the head of the file says.
        folder: for messages.

    Raises:
        ModelFolderError: a tensor is missing, is one too many, or has another shape or number format.
    """
    wanted = {
        **classifier.image_network.body.state_dict(),
        **{f"{prefix}.{name}": tensor for name, tensor in classifier.head.state_dict().items()},
    }
    problems = [f"{name} is missing" for name in wanted if name not in announced]
    problems += [f"{name[:60]} is not part of it" for name in announced if name not in wanted]
    for name, tensor in wanted.items():
        expected = TensorHeader(DTYPES[tensor.dtype], tuple(tensor.shape))
        if name in announced and announced[name] != expected:
            problems.append(f"{name} is {_shown(announced[name])}, expected {_shown(expected)}")
    if problems:
        raise ModelFolderError(
            f"{folder / WEIGHTS} does not fit the network of {CONFIG}: {'; '.join(problems[:3])}"
            f"{f' and {len(problems) - 3} more' if len(problems) > 3 else ''}"
        )


def assign(classifier: Classifier, prefix: str, content: bytes, folder: Path) -> None:
    """Put the tensors of a file into a network.

    Args:
        classifier: the network.
        prefix: of the head's names.
        content: the file.
        folder: for messages.

    Raises:
        ModelFolderError: a tensor does not fit, or holds values that are not finite.
    """
    state = _tensors(content, folder)
    head = {name.removeprefix(f"{prefix}."): tensor for name, tensor in state.items() if name.startswith(f"{prefix}.")}
    body = {name: tensor for name, tensor in state.items() if not name.startswith(f"{prefix}.")}
    for module, part in ((classifier.image_network.body, body), (classifier.head, head)):
        try:
            module.load_state_dict(part, strict=True)
        except RuntimeError as error:
            raise ModelFolderError(f"{folder / WEIGHTS} does not fit the network of {CONFIG}: {error}") from error


def _tensors(content: bytes, folder: Path) -> dict[str, torch.Tensor]:
    try:
        state = load(content)
    except SafetensorError as error:
        raise ModelFolderError(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    if broken := [name for name, tensor in state.items() if not torch.isfinite(tensor).all()]:
        raise ModelFolderError(f"{folder / WEIGHTS} holds values that are not finite, in {', '.join(broken[:3])}")
    return state


def _shown(tensor: TensorHeader) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
