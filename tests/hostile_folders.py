"""Model folders from strangers: a small valid one, and many ways in which one can be wrong or mean harm."""

import base64
import hashlib
import json
import os
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save

from retop.artifact import save_model_folder
from retop.artifact.config import seal as seal_config
from retop.backbones import Backbone
from retop.backbones.operations import WithoutContent
from retop.recipe import HeadRecipe
from retop.records import Preprocessing, TrainedRecord, WeightsRecord

WIDTHS = [4, 4, 4, 4, 4]


@dataclass(frozen=True)
class Files:
    """A model folder as bytes, or as what stands in a file's place.

    Attributes:
        config: of config.json.
        weights: of model.safetensors.
        special: by name: ``link TARGET``, ``pipe``, ``folder``, ``missing``.
    """

    config: bytes
    weights: bytes
    special: tuple[tuple[str, str], ...] = ()

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        special = dict(self.special)
        for name, content in (("config.json", self.config), ("model.safetensors", self.weights)):
            path, kind = folder / name, special.get(name, "")
            if kind.startswith("link "):
                path.symlink_to(kind.removeprefix("link "))
            elif kind == "pipe":
                os.mkfifo(path)
            elif kind == "folder":
                path.mkdir()
            elif kind != "missing":
                path.write_bytes(content)


def small_model(folder: Path, widths: Sequence[int] = WIDTHS) -> Files:
    """A valid folder of a network with 3 classes and some hundred numbers, if nothing else is asked for."""
    torch.manual_seed(0)
    widths = list(widths)
    network = timm.create_model("retop_scratch", num_classes=0, widths=widths)
    preprocessing = Preprocessing(32, 32, 1.0, "center", "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    weights = WeightsRecord("random", "0", None, None, None, None)
    backbone = Backbone(
        "scratch", "retop_scratch", {"widths": widths}, network, preprocessing, weights, "head.fc", widths[-1], (),
        {"classifier": "head.fc", "input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3},
    )  # fmt: skip
    trained = TrainedRecord(
        classes=("cat", "dog", "owl"), preprocessing=preprocessing, head=HeadRecipe(), head_features=widths[-1],
        backbone="scratch", boundary=None, kind="scratch", recipe="default", seed=0, data_fingerprint="f" * 64,
        num_train=10, validation_accuracy=0.5, weights=weights, weights_sha256="", retop="0",
    )  # fmt: skip
    save_model_folder(folder, backbone, torch.nn.Linear(widths[-1], 3), trained)
    return Files((folder / "config.json").read_bytes(), (folder / "model.safetensors").read_bytes())


def seal(files: Files) -> Files:
    """The same with checksums that fit, so that what lies behind them is reached."""
    try:
        config = json.loads(files.config)
        config["retop"]["weights_sha256"] = hashlib.sha256(files.weights).hexdigest()
        return replace(files, config=json.dumps(seal_config(config)).encode())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return files


def with_config(change: Callable[[dict[str, Any]], object]) -> Callable[[Files], Files]:
    def changed(files: Files) -> Files:
        config = json.loads(files.config)
        change(config)
        return seal(replace(files, config=json.dumps(config).encode()))

    return changed


def with_retop(**values: Any) -> Callable[[Files], Files]:
    return with_config(lambda config: config["retop"].update(values))


def with_preprocessing(**values: Any) -> Callable[[Files], Files]:
    return with_config(lambda config: config["retop"]["preprocessing"].update(values))


def with_calibration(**values: Any) -> Callable[[Files], Files]:
    return with_retop(calibration=CALIBRATION | values)


def with_number(number: str) -> Callable[[Files], Files]:
    """Another number as a mean, as JSON spells it; Python's own JSON cannot write all that it reads."""

    def changed(files: Files) -> Files:
        content = with_preprocessing(mean=[0.123456789] * 3)(files).config
        return replace(files, config=content.replace(b"0.123456789", number.encode()))

    return changed


def with_arguments(**values: Any) -> Callable[[Files], Files]:
    return with_config(lambda config: config.update(model_args=values))


def with_network(architecture: str, **values: Any) -> Callable[[Files], Files]:
    return with_config(lambda config: config.update(architecture=architecture, model_args=values))


def split_weights(weights: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(weights[:8], "little")
    return json.loads(weights[8 : 8 + length]), weights[8 + length :]


def join_weights(header: bytes, data: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def with_header(change: Callable[[dict[str, Any]], object]) -> Callable[[Files], Files]:
    def changed(files: Files) -> Files:
        header, data = split_weights(files.weights)
        change(header)
        return seal(replace(files, weights=join_weights(json.dumps(header).encode(), data)))

    return changed


def with_weights(content: bytes | Callable[[bytes], bytes]) -> Callable[[Files], Files]:
    return lambda files: seal(replace(files, weights=content if isinstance(content, bytes) else content(files.weights)))


def with_special(name: str, kind: str) -> Callable[[Files], Files]:
    return lambda files: replace(files, special=((name, kind),))


def raw_config(content: bytes) -> Callable[[Files], Files]:
    return lambda files: replace(files, config=content)


def change_tensor(**values: Any) -> Callable[[Files], Files]:
    return with_header(lambda header: header["head.fc.weight"].update(values))


def with_fitting_weights(architecture: str, **values: Any) -> Callable[[Files], Files]:
    """Another network, with weights of zeros that fit it; a ValueError where they are more than 4 MiB."""

    def changed(files: Files) -> Files:
        config = json.loads(files.config)
        with WithoutContent():
            network = timm.create_model(architecture, num_classes=0, **values)
        if sum(like.nbytes for like in network.state_dict().values()) > 2**22:
            raise ValueError(f"{architecture} is too large")
        num_features = int(network.num_features)
        tensors = {name: torch.zeros(like.shape, dtype=like.dtype) for name, like in network.state_dict().items()}
        tensors |= {"head.fc.weight": torch.zeros(3, num_features), "head.fc.bias": torch.zeros(3)}
        config.update(architecture=architecture, model_args=values)
        config["retop"]["head_features"] = num_features
        return seal(replace(files, config=json.dumps(config).encode(), weights=save(tensors)))

    return changed


class Harm:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/retop-was-harmed",)


PICKLE = pickle.dumps(Harm())
NAN = struct.pack("<f", float("nan"))

CALIBRATION: dict[str, Any] = {
    "temperature": 1.5, "n": 10, "log_loss_before": 1.0, "log_loss_after": 0.9, "calibration_error_before": 0.2,
    "calibration_error_after": 0.1, "reject_below": 0.0,
    "curve": [{"threshold": 0.5, "num_accepted": 10, "num_right": 9, "gap": 0.5}],
}  # fmt: skip

# Networks of which timm computes tables in plain Python, before there is a parameter to count; and others that grow.
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "large windows and images": ("efficientvit_m0", {"img_size": 4096, "window_size": [256, 256, 256]}),
    "windows of 30000": ("tiny_vit_5m_224", {"window_sizes": [7, 30000, 7, 7]}),
    "a large image of levit": ("levit_128s", {"img_size": 16384}),
    "a large window of swin": ("swin_tiny_patch4_window7_224", {"img_size": 8192, "window_size": 2048}),
    "a large image of beit": ("beit_base_patch16_224", {"img_size": 32768, "patch_size": 1}),
    "the largest image of beit": ("beit_base_patch16_224", {"img_size": 1024, "patch_size": 1}),
    "a large image of maxvit": ("maxvit_tiny_rw_224", {"img_size": 32768}),
    "a large image of eva": ("eva02_tiny_patch14_224", {"img_size": 65536, "patch_size": 1}),
    "a large image of efficientformer": ("efficientformerv2_s0", {"img_size": 65536, "resolution": 4096}),
    "a large grid of gcvit": ("gcvit_xxtiny", {"img_size": 65536, "window_size": [4096] * 4}),
    "a deep vision transformer": ("test_vit", {"depth": 65536}),
    "lists of layers": ("convnext_atto", {"depths": [65536] * 4, "dims": [1] * 4}),
    "a resnet without end": ("resnet18", {"layers": [2**16] * 4}),
    "a block by name": ("resnet18", {"block": "os.system"}),
    "a path as argument": ("test_vit", {"pos_embed": "/etc/passwd"}),
}

HOSTILE: dict[str, Callable[[Files], Files]] = {
    # Files that are not files.
    "weights are a link": with_special("model.safetensors", "link /etc/passwd"),
    "weights are a link upwards": with_special("model.safetensors", "link ../../../../etc/hostname"),
    "weights are a link to itself": with_special("model.safetensors", "link model.safetensors"),
    "weights are a device": with_special("model.safetensors", "link /dev/zero"),
    "weights are a pipe": with_special("model.safetensors", "pipe"),
    "weights are a folder": with_special("model.safetensors", "folder"),
    "weights are missing": with_special("model.safetensors", "missing"),
    "config is a link": with_special("config.json", "link /etc/passwd"),
    "config is an endless device": with_special("config.json", "link /dev/zero"),
    "config is missing": with_special("config.json", "missing"),
    # JSON.
    "config is empty": raw_config(b""),
    "config is a pickle": raw_config(PICKLE),
    "config is not UTF-8": raw_config(b'{"architecture": "\xff\xfe"}'),
    "config is deep": raw_config(b"[" * 100_000),
    "config is deep and closed": raw_config(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "config is a list": raw_config(b"[1, 2]"),
    "config is a huge number": raw_config(b'{"architecture": 1' + b"0" * 100_000 + b"}"),
    "config has a key twice": raw_config(b'{"architecture": "resnet18", "architecture": "retop_scratch"}'),
    "config holds NaN": with_retop(validation_accuracy=float("nan")),
    "config holds infinity": with_retop(validation_accuracy=float("inf")),
    "config is compressed": raw_config(zlib.compress(b'{"architecture": "retop_scratch"}')),
    "config is 9 MiB": raw_config(b'{"architecture": "' + b"a" * (9 * 2**20) + b'"}'),
    "config was changed": lambda files: replace(files, config=files.config.replace(b'"cat"', b'"dot"')),
    # What is to be built.
    "no architecture": with_config(lambda config: config.pop("architecture")),
    "an architecture of a hub": with_config(lambda config: config.update(architecture="hf-hub:evil/model")),
    "an architecture in a folder": with_config(lambda config: config.update(architecture="local-dir:/etc")),
    "an architecture by import": with_config(lambda config: config.update(architecture="os.system")),
    "another architecture": with_config(lambda config: config.update(architecture="test_resnet", model_args={})),
    "a larger architecture": with_config(lambda config: config.update(architecture="vgg16", model_args={})),
    "wider": with_arguments(widths=[65536] * 5),
    "far wider": with_arguments(widths=[2**40] * 5),
    "deeper": with_arguments(widths=[1] * 900),
    "far deeper": with_arguments(widths=[1] * 100_000),
    "negative widths": with_arguments(widths=[-4] * 5),
    "no widths": with_arguments(widths=[]),
    "widths of text": with_arguments(widths="__import__('os').system('id')"),
    "pretrained weights": with_arguments(widths=WIDTHS, pretrained=True),
    "a checkpoint elsewhere": with_arguments(widths=WIDTHS, checkpoint_path="/etc/passwd"),
    "another cache": with_arguments(widths=WIDTHS, cache_dir="/tmp"),
    "pretrained_cfg as argument": with_arguments(widths=WIDTHS, pretrained_cfg={"url": "http://127.0.0.1:9/x"}),
    "an overlay as argument": with_arguments(widths=WIDTHS, pretrained_cfg_overlay={"file": "/etc/passwd"}),
    "a scripted network": with_arguments(widths=WIDTHS, scriptable=True),
    "an unknown argument": with_arguments(widths=WIDTHS, eval="1+1"),
    "a mapping as argument": with_arguments(widths={"a": 1}),
    "a long text as argument": with_arguments(global_pool="a" * 1000),
    "a lambda as argument": with_arguments(global_pool="lambda: __import__('os')"),
    "arguments in a list": with_config(lambda config: config.update(model_args=[1])),
    **{name: with_network(architecture, **values) for name, (architecture, values) in NETWORKS.items()},
    "tables that no file holds": with_fitting_weights(
        "beit_base_patch16_224", img_size=128, patch_size=1, depth=1, embed_dim=4, num_heads=1
    ),
    "pretrained_cfg is a text": with_config(lambda config: config.update(pretrained_cfg="http://127.0.0.1:9")),
    "a classifier elsewhere": with_config(lambda config: config["pretrained_cfg"].update(classifier="__class__")),
    # The record.
    "an unknown version": with_retop(version=99),
    "a version of text": with_retop(version="1"),
    "a version of true": with_retop(version=True),
    "a negative version": with_retop(version=-1),
    "no record": with_config(lambda config: config.pop("retop")),
    "a record of text": with_config(lambda config: config.update(retop="x")),
    "no classes": with_retop(classes=[]),
    "one class more": with_retop(classes=["a", "b", "c", "d"]),
    "a million classes": with_retop(classes=["a"] * 300_000),
    "classes that are numbers": with_retop(classes=[1, 2, 3]),
    "a head of 2^50 features": with_retop(head_features=2**50),
    "a head of -1 features": with_retop(head_features=-1),
    "a hidden layer of 2^40": with_retop(head={"kind": "mlp", "dropout": 0.5, "hidden": 2**40}),
    "an unknown head": with_retop(head={"kind": "os.system", "dropout": 0.0, "hidden": 1}),
    "a size of 10^9 pixels": with_retop(preprocessing={"height": 10**9}),
    # Numbers that no training makes.
    "a mean of 400 digits": with_preprocessing(mean=[10**400] * 3),
    "a mean beyond all floats": with_number("1e999"),
    "a mean of 1e300": with_preprocessing(mean=[1e300, 0.5, 0.5]),
    "a std of 0": with_preprocessing(std=[0.5, 0, 0.5]),
    "a negative std": with_preprocessing(std=[-0.5] * 3),
    "a std of 1e-320": with_preprocessing(std=[1e-320] * 3),
    "a std of 1e300": with_preprocessing(std=[1e300] * 3),
    "a height of 0": with_preprocessing(height=0),
    "a negative width": with_preprocessing(width=-32),
    "a height of 10^6": with_preprocessing(height=10**6),
    "20,000 x 20,000 pixels": with_preprocessing(height=20_000, width=20_000),
    "a height of 400 digits": with_preprocessing(height=10**400),
    "a crop of 0": with_preprocessing(crop_fraction=0),
    "a crop of 1e-9": with_preprocessing(crop_fraction=1e-9),
    "a crop of 1e9": with_preprocessing(crop_fraction=1e9),
    "a temperature of 0": with_calibration(temperature=0),
    "a temperature of 1e-320": with_calibration(temperature=1e-320),
    "a negative temperature": with_calibration(temperature=-1.0),
    "a temperature of 1e300": with_calibration(temperature=1e300),
    "a threshold of 2": with_calibration(reject_below=2),
    "a negative threshold": with_calibration(reject_below=-0.1),
    "a calibration of no images": with_calibration(n=0),
    "a curve beyond 1": with_calibration(curve=[CALIBRATION["curve"][0] | {"threshold": 7.0}]),
    "a curve of more images than there are": with_calibration(curve=[CALIBRATION["curve"][0] | {"num_accepted": 11}]),
    "a curve that is righter than right": with_calibration(curve=[CALIBRATION["curve"][0] | {"num_right": 11}]),
    "a curve of 400 digits": with_calibration(curve=[CALIBRATION["curve"][0] | {"num_right": 10**400}]),
    # Names that no folder or table has.
    "a class twice": with_retop(classes=["b", "b", "c"]),
    "a class without a name": with_retop(classes=["", "b", "c"]),
    "half a character": with_retop(classes=["\ud800", "b", "c"]),
    "a name of 3 MB": with_retop(classes=["a" * 3_000_000, "b", "c"]),
    "a checksum of nothing": lambda files: replace(files, config=files.config.replace(b'"weights_sha256"', b'"x"')),
    # Weights.
    "weights are empty": with_weights(b""),
    "weights are a pickle": with_weights(PICKLE),
    "weights are text": with_weights(base64.b64encode(PICKLE)),
    "weights are cut": with_weights(lambda content: content[:-1]),
    "weights are cut in the head": with_weights(lambda content: content[:40]),
    "weights are longer": with_weights(lambda content: content + b"\0"),
    "weights have another bit": lambda files: replace(files, weights=files.weights[:-1] + b"\x7f"),
    "a head of 2^63 bytes": with_weights(lambda content: b"\xff" * 7 + b"\x7f" + content[8:]),
    "a head of 100 MB": with_weights(lambda content: (10**8).to_bytes(8, "little") + content[8:]),
    "a head of 0 bytes": with_weights(bytes(16)),
    "a deep head": with_weights(join_weights(b"[" * 100_000, b"")),
    "a head that is a list": with_weights(join_weights(b"[]", b"")),
    "a head with a key twice": with_weights(join_weights(b'{"a": 1, "a": 2}', b"")),
    "a tensor of text": with_header(lambda header: header.update({"head.fc.weight": "x"})),
    "a tensor without a shape": with_header(lambda header: header["head.fc.weight"].pop("shape")),
    "a negative shape": change_tensor(shape=[-3, -4]),
    "a shape of 2^62": change_tensor(shape=[2**62, 4]),
    "a shape whose product overflows": change_tensor(shape=[2**33, 2**33]),
    "a shape of text": change_tensor(shape="34"),
    "a shape of true": change_tensor(shape=[True, 12]),
    "a shape of a thousand sizes": change_tensor(shape=[1] * 1000),
    "another shape of as many": change_tensor(shape=[4, 3]),
    "an unknown kind": change_tensor(dtype="PICKLE"),
    "another kind": change_tensor(dtype="I32"),
    "offsets that overlap": change_tensor(data_offsets=[0, 48]),
    "offsets beyond the end": change_tensor(data_offsets=[0, 2**40]),
    "offsets backwards": change_tensor(data_offsets=[48, 0]),
    "negative offsets": change_tensor(data_offsets=[-48, 0]),
    "a tensor is missing": with_header(lambda header: header.pop("head.fc.bias")),
    "a tensor too many": with_header(
        lambda header: header.update({"x": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}})
    ),
    "a name that is a path": with_header(lambda header: header.update({"../../x": header.pop("head.fc.bias")})),
    "values that are not finite": with_weights(lambda content: content[:-4] + NAN),
}
