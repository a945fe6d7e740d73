"""The model folder: round trip, timm's own loading, and everything that is refused."""

import dataclasses
import hashlib
import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from example_records import answers
from retop.artifact import Classifier, load_model_folder, save_model_folder
from retop.artifact.card import write_card
from retop.artifact.config import seal as seal_config
from retop.backbones import Backbone, build_backbone
from retop.backbones.head import LinearHead, build_head
from retop.errors import ModelFolderError
from retop.evaluation import calibrate
from retop.recipe import HeadRecipe
from retop.records import TrainedRecord

CLASSES = ("cat", "dog", "owl")


def make_folder(folder: Path, backbone: str = "test_resnet", kind: str = "linear") -> tuple[Classifier, TrainedRecord]:
    """Save a network with random weights; returned as it is in memory."""
    network = build_backbone(backbone, "random")
    recipe = HeadRecipe(kind=kind, hidden=8)  # type: ignore[arg-type]
    size = (network.preprocessing.height, network.preprocessing.width)
    probe = Classifier(network, torch.nn.Identity(), kind).eval()
    with torch.no_grad():
        num_features = probe(torch.zeros(1, 3, *size, dtype=torch.uint8)).shape[1]
    head: torch.nn.Module = build_head(recipe, num_features, len(CLASSES), 0)
    if isinstance(head, LinearHead):
        torch.nn.init.normal_(head.linear.weight)
        head = head.folded()
    trained = dataclasses.replace(some_record(network), head=recipe, head_features=num_features)
    record = save_model_folder(folder, network, head, trained)
    return Classifier(network, head, kind).eval(), record


def some_record(network: Backbone) -> TrainedRecord:
    """A model's record; the head is linear."""
    return TrainedRecord(
        classes=CLASSES,
        preprocessing=network.preprocessing,
        head=HeadRecipe(),
        head_features=network.num_features,
        backbone=network.name,
        boundary=None,
        kind="fine-tuned",
        recipe="default",
        seed=0,
        data_fingerprint="f" * 64,
        num_train=10,
        validation_accuracy=0.5,
        weights=network.weights,
        weights_sha256="",
        retop="0",
    )


def some_images(record: TrainedRecord) -> torch.Tensor:
    size = (record.preprocessing.height, record.preprocessing.width)
    return torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "scratch"])
def test_a_loaded_model_is_the_saved_one(tmp_path: Path, backbone: str, kind: str) -> None:
    classifier, record = make_folder(tmp_path / "model", backbone, kind)
    loaded = load_model_folder(tmp_path / "model")
    assert loaded.trained == record
    images = some_images(record)
    with torch.no_grad():
        assert torch.equal(loaded.classifier(images), classifier(images))


def test_a_run_folder_stands_for_its_model(tmp_path: Path) -> None:
    make_folder(tmp_path / "model")
    assert load_model_folder(tmp_path).folder == tmp_path / "model"


def test_folding_changes_no_logit() -> None:
    torch.manual_seed(0)
    head = LinearHead(40, 3, dropout=0.5).eval()
    torch.nn.init.normal_(head.linear.weight)
    torch.nn.init.normal_(head.linear.bias)
    features_nf = 7 + 30 * torch.randn(64, 40)
    head.calibrate([features_nf[:20], features_nf[20:]])
    torch.testing.assert_close(head.folded()(features_nf), head(features_nf), rtol=1e-5, atol=1e-4)
    assert head.mean_f.mean() == pytest.approx(7, abs=3)
    assert float(head.size) == pytest.approx(30, rel=0.1)


def timm_logits(folder: Path, images: torch.Tensor, record: TrainedRecord) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network)
    assert tuple(config["mean"]) == record.preprocessing.mean
    assert tuple(config["input_size"]) == (3, record.preprocessing.height, record.preprocessing.width)
    mean, std = (torch.tensor(config[name]).reshape(3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        return network((images / 255 - mean) / std)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit", "test_convnext", "mobilenetv2_035", "inception_v3"])
def test_timm_loads_the_folder_and_gives_the_same_logits(tmp_path: Path, backbone: str) -> None:
    classifier, record = make_folder(tmp_path / "model", backbone)
    images = some_images(record)
    with torch.no_grad():
        ours = classifier(images)
    theirs = timm_logits(tmp_path / "model", images, record)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4 * float(ours.abs().max()))


def test_a_model_folder_is_never_overwritten(tmp_path: Path) -> None:
    make_folder(tmp_path / "model")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    with pytest.raises(ModelFolderError, match="never overwritten"):
        make_folder(tmp_path / "model", "test_vit")
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the config, with a checksum that fits."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    sealed = seal_config(config) if "retop" in config else config
    (folder / "config.json").write_text(json.dumps(sealed))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change tensors, with a checksum that fits."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    seal(folder)


def seal(folder: Path) -> None:
    sha256 = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    edit_config(folder, lambda config: config["retop"].update(weights_sha256=sha256))


def flip_bit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-100] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def put_pickle(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps({"weight": print}))
    seal(folder)


def put_nan(tensors: dict[str, torch.Tensor]) -> None:
    tensors["fc.bias"][1] = float("nan")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit flip": (flip_bit, "SHA-256 differs"),
    "pickle": (put_pickle, "not a safetensors file"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors cannot be read"),
    "no config": (lambda f: (f / "config.json").unlink(), "not a model folder.*vgg16-0/model"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "should hold a mapping"),
    "timm folder": (lambda f: edit_config(f, lambda c: c.pop("retop")), "no key 'retop'.*--weights"),
    "version": (lambda f: edit_config(f, lambda c: c["retop"].update(version=99)), "version 99.*reads up to version 2"),
    "missing key": (lambda f: edit_config(f, lambda c: c["retop"].pop("classes")), "retop.classes is missing"),
    "wrong type": (lambda f: edit_config(f, lambda c: c["retop"].update(classes=3)), "retop.classes should be"),
    "bad head": (lambda f: edit_config(f, lambda c: c["retop"]["head"].update(dropout=2.0)), "head.dropout must be"),
    "huge head": (lambda f: edit_config(f, lambda c: c["retop"].update(head_features=2**50)), "does not fit"),
    "negative head": (lambda f: edit_config(f, lambda c: c["retop"].update(head_features=-1)), "cannot be built"),
    "unknown network": (lambda f: edit_config(f, lambda c: c.update(architecture="nothing")), "unknown to timm"),
    "network elsewhere": (lambda f: edit_config(f, lambda c: c.update(architecture="hf-hub:a/b")), "unknown to timm"),
    "hostile argument": (
        lambda f: edit_config(f, lambda c: c.update(model_args={"pretrained": True})),
        "model_args may not hold 'pretrained'.*a folder may give .*img_size",
    ),
    "arguments": (lambda f: edit_config(f, lambda c: c.update(model_args={"depth": 2})), "cannot be built.*depth"),
    "argument list": (lambda f: edit_config(f, lambda c: c.update(model_args=[1])), "model_args should be"),
    "no mapping": (lambda f: edit_config(f, lambda c: c.update(pretrained_cfg="x")), "pretrained_cfg should be"),
    "other network": (lambda f: edit_config(f, lambda c: c.update(architecture="test_vit")), "does not fit"),
    "class count": (lambda f: edit_config(f, lambda c: c["retop"]["classes"].append("rat")), "does not fit"),
    "NaN": (lambda f: edit_weights(f, put_nan), "not finite, in fc.bias"),
    "missing tensor": (lambda f: edit_weights(f, lambda t: t.pop("conv1.0.weight", t.pop("fc.bias"))), "does not fit"),
    "extra tensor": (lambda f: edit_weights(f, lambda t: t.update(more=torch.zeros(2))), "does not fit"),
    "wrong shape": (lambda f: edit_weights(f, lambda t: t.update({"fc.bias": torch.zeros(5)})), "does not fit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_or_hostile_folder_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    make_folder(folder)
    damage, message = REFUSED[name]
    damage(folder)
    with pytest.raises(ModelFolderError, match=f"(?s){message}"):
        load_model_folder(folder)


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="not a model folder"):
        load_model_folder(tmp_path / "nothing")


def test_keys_of_a_later_version_are_ignored(tmp_path: Path) -> None:
    make_folder(tmp_path / "model")
    edit_config(tmp_path / "model", lambda config: config["retop"].update(later="more"))
    assert load_model_folder(tmp_path / "model").trained.classes == CLASSES


@pytest.mark.parametrize(
    ("mode", "words"), [("center", "shorter side"), ("squash", "whatever their shape"), ("border", "padded")]
)
def test_the_card_describes_the_crop_of_the_network(mode: Any, words: str) -> None:
    network = build_backbone("test_resnet", "random")
    preprocessing = dataclasses.replace(network.preprocessing, crop_mode=mode)
    trained = dataclasses.replace(some_record(network), preprocessing=preprocessing)
    card = write_card(network, trained)
    assert [words in card, card.count("Images are resized")] == [True, 1]


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(ModelFolderError, match="given by its path; received NoneType"):
        load_model_folder(None)  # type: ignore[arg-type]


def test_the_card_names_random_weights_and_the_n_of_its_accuracy() -> None:
    network = build_backbone("test_resnet", "random")
    trained = dataclasses.replace(some_record(network), weights=network.weights, validation_accuracy=1.0)
    assert "| pretrained weights | none: random ones, seed 0 |" in write_card(network, trained)
    assert "| network | test_resnet (timm)," in write_card(network, trained)
    ours = build_backbone("pocket_resnet", "random")
    assert "| network | pocket_resnet, 64" in write_card(ours, some_record(ours))
    calibration = calibrate(answers([True] * 20, split="validation"))
    measured = dataclasses.replace(trained, calibration=calibration)
    assert "| validation accuracy | 100 % of 20 images (84 to 100 %) (it chose" in write_card(network, measured)
