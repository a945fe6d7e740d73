"""Weights from folders, files and hubs."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch

from retop.backbones import ImageNetwork, build_backbone
from retop.backbones.build import create_network
from retop.backbones.downloads import fetch_from_url
from retop.backbones.pins import pins_file
from retop.backbones.state import read_tensors
from retop.errors import UnknownBackboneError, UsageError, WeightsError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the weights of one small network, classifier included."""
    torch.manual_seed(3)
    network = create_network("test_resnet", {}, num_classes=1000)
    home = tmp_path / "weights" / "test_resnet"
    home.mkdir(parents=True)
    safetensors.torch.save_file(network.state_dict(), home / "model.safetensors")
    write_config(home, architecture="test_resnet", pretrained_cfg={"input_size": [3, 96, 64], "license": "mit"})
    return home


def write_config(home: Path, **config: object) -> None:
    (home / "config.json").write_text(json.dumps(config))


def rewrite(home: Path, **changes: torch.Tensor | None) -> None:
    tensors = safetensors.torch.load_file(home / "model.safetensors")
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del tensors[key]
        else:
            tensors[key] = tensor
    safetensors.torch.save_file(tensors, home / "model.safetensors")


def test_folder_of_folders_one_folder_and_a_file_give_the_same_network(folder: Path) -> None:
    file = folder / "model.safetensors"
    built = [build_backbone("test_resnet", where) for where in (folder.parent, folder, str(file))]
    saved = safetensors.torch.load_file(file)
    for backbone in built:
        state = backbone.network.state_dict()
        assert all(torch.equal(tensor, saved[name]) for name, tensor in state.items())
        assert "fc.weight" not in state
        assert backbone.weights.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [backbone.weights.source for backbone in built] == ["folder", "folder", "file"]


def test_config_in_the_folder_overrides_the_catalogue(folder: Path) -> None:
    backbone = build_backbone("test_resnet", folder)
    assert (backbone.preprocessing.height, backbone.preprocessing.width) == (96, 64)
    assert backbone.weights.license == "mit"
    assert backbone.classifier == "fc"
    json.dumps(backbone.pretrained_cfg)


def test_config_beside_a_weights_file_counts_where_it_is_of_the_same_network(folder: Path) -> None:
    file = folder / "model.safetensors"
    write_config(
        folder,
        architecture="test_resnet",
        model_args={"drop_rate": 0.25},
        pretrained_cfg={"input_size": [3, 96, 64], "mean": [0.25, 0.25, 0.25], "license": "mit"},
    )
    in_folder, alone = build_backbone("test_resnet", folder), build_backbone("test_resnet", file)
    assert alone.preprocessing == in_folder.preprocessing
    assert alone.preprocessing.mean == (0.25, 0.25, 0.25)
    assert alone.model_args == in_folder.model_args == {"drop_rate": 0.25}
    assert (alone.weights.source, alone.weights.license) == ("file", "mit")
    write_config(folder, architecture="test_vit", pretrained_cfg={"mean": [0.25, 0.25, 0.25]})
    assert build_backbone("test_resnet", file).preprocessing.mean != (0.25, 0.25, 0.25)


def test_any_name_can_be_given_to_a_folder(folder: Path) -> None:
    folder.rename(folder.parent / "birds")
    assert build_backbone("birds", folder.parent).architecture == "test_resnet"
    with pytest.raises(UnknownBackboneError, match="bees"):
        build_backbone("bees", folder.parent / "birds")


def test_half_precision_weights_become_float32(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    halves = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    safetensors.torch.save_file(halves, folder / "model.safetensors")
    network = build_backbone("test_resnet", folder).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv1__0__weight": None}, r"1 missing \(conv1\.0\.weight\)"),
        ({"bogus": torch.zeros(1)}, r"1 not part of it \(bogus\)"),
        ({"layer1__0__bn1__weight": torch.ones(3)}, r"1 of another shape \(layer1\.0\.bn1\.weight is \[3\], expected"),
        ({"layer1__0__bn1__weight": "nan"}, r"1 not finite \(layer1\.0\.bn1\.weight\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(folder: Path, changes: dict[str, object], message: str) -> None:
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    fixed = {
        key: torch.full_like(tensors[key.replace("__", ".")], float("nan")) if value == "nan" else value
        for key, value in ((k, v) for k, v in changes.items() if not isinstance(v, torch.Tensor))
    } | {key: value for key, value in changes.items() if isinstance(value, torch.Tensor)}
    rewrite(folder, **fixed)
    with pytest.raises(WeightsError, match=message):
        build_backbone("test_resnet", folder)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2, torch.float8_e4m3fn]
)
def test_one_number_that_is_none_is_found_in_every_precision(folder: Path, dtype: torch.dtype) -> None:
    weight = safetensors.torch.load_file(folder / "model.safetensors")["conv1.0.weight"].to(dtype)
    rewrite(folder, conv1__0__weight=weight)
    build_backbone("test_resnet", folder)
    # The last of these kinds has no infinity.
    for value in (float("nan"), float("inf"), -float("inf"))[: 1 if dtype == torch.float8_e4m3fn else 3]:
        weight.view(-1)[5] = value
        rewrite(folder, conv1__0__weight=weight)
        with pytest.raises(WeightsError, match=r"1 not finite \(conv1\.0\.weight\)"):
            build_backbone("test_resnet", folder)


def test_a_file_is_read_alike_at_once_and_mapped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "model.safetensors"
    at_once = read_tensors(path)
    monkeypatch.setattr("retop.backbones.state._SMALL_BYTES", 0)
    mapped = read_tensors(path)
    assert at_once.keys() == mapped.keys()
    assert all(torch.equal(at_once[name], mapped[name]) for name in mapped)


def test_building_with_random_weights_moves_no_generator(folder: Path) -> None:
    before = torch.get_rng_state()
    build_backbone("test_resnet", "random", seed=7)
    assert torch.equal(torch.get_rng_state(), before)


def test_damaged_file_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 1000)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        build_backbone("test_resnet", folder)


def test_pickle_is_refused_with_the_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pickle.*safetensors\.torch\.save_file"):
        build_backbone("test_resnet", folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "local-dir:/etc"}, "which timm does not have"),
        ({"architecture": "test_resnet", "model_args": {"pretrained": True}}, "may not hold 'pretrained'"),
        ({"architecture": "test_resnet", "model_args": {"nonsense": 1}}, "may not hold 'nonsense'.*a folder may give"),
        ({"architecture": "test_resnet", "model_args": {"depth": 2}}, "cannot build 'test_resnet'"),
        ({"architecture": "test_vit", "model_args": {"depth": 10**6}}, "depth .* whole number from 1 to 64; received"),
        ({"architecture": "test_resnet", "pretrained_cfg": {"std": [0, 1, 1]}}, "std"),
        ({"architecture": "test_vit"}, r"not hold weights of this network \(VisionTransformer\)"),
        (["test_resnet"], "should hold a mapping"),
    ],
)
def test_bad_config_is_refused(folder: Path, config: object, message: str) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        build_backbone("test_resnet", folder)


def test_files_of_any_size_are_refused_without_being_read(folder: Path) -> None:
    """Files with holes: they take no room on the disk."""
    os.truncate(folder / "model.safetensors", 2**42)
    with pytest.raises(WeightsError, match=r"model\.safetensors has 4,398,046,511,104 bytes, and .* MiB are left"):
        build_backbone("test_resnet", folder)
    os.truncate(folder / "config.json", 2**40)
    with pytest.raises(WeightsError, match=r"config\.json is no file of at most 8388608 bytes"):
        build_backbone("test_resnet", folder)
    (folder / "config.json").write_text("[" * 10**6)
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        build_backbone("test_resnet", folder)


def test_missing_backbone_in_a_folder_names_what_is_there(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights of 'vgg16'.*it has test_resnet.*to take them from the hub"):
        build_backbone("vgg16", folder.parent)
    with pytest.raises(WeightsError, match=r"no weights of 'pocket_vgg'.*to take those that come with retop"):
        build_backbone("pocket_vgg", folder.parent)


def test_a_place_that_was_looked_at_is_named_once(folder: Path) -> None:
    looked_for = r"looked for resnet50/config\.json, resnet50\.tv_in1k/config\.json and config\.json"
    with pytest.raises(WeightsError, match=looked_for):
        build_backbone("resnet50", folder.parent)


def test_single_folder_of_another_network_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="holds 'test_resnet', but 'vgg16'"):
        build_backbone("vgg16", folder)


@pytest.mark.parametrize("name", ["mobilenetv2_035", "mobilenetv2_100", "mobilenetv1_100", "inception_v3"])
def test_real_weights_load_and_give_finite_features(shared: Path, name: str) -> None:
    backbone = build_backbone(name, shared / "weights")
    images = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        features = ImageNetwork(backbone)(images)
    assert features.shape == (1, backbone.num_features)
    assert torch.isfinite(features).all()
    assert features.abs().max() > 0


def test_offline_error_says_what_is_missing_where_and_the_ways_out() -> None:
    for name, missing in (("resnet50", "timm/resnet50.tv_in1k"), ("xception", "xception-43020ad28.pth")):
        with pytest.raises(WeightsError) as caught:
            build_backbone(name)
        message = str(caught.value)
        assert missing in message
        for part in ("looked in", "--weights FOLDER", "--weights random", "switched off"):
            assert part in message


def test_network_without_published_weights_says_so() -> None:
    with pytest.raises(WeightsError, match="no pretrained weights of 'scratch' are published"):
        build_backbone("scratch")


CHILD = """
import sys, time
from retop.backbones import build_backbone
from retop.errors import WeightsError
import huggingface_hub
start = time.monotonic()
try:
    build_backbone("resnet18")
except WeightsError as error:
    print(time.monotonic() - start)
    print(error)
"""


def test_silent_firewall_is_given_up_on_within_seconds(tmp_path: Path) -> None:
    with socket.socket() as listener:
        # Connections are taken into the queue and never answered.
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environment = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path),
            "RETOP_CACHE": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "PATH": "/usr/bin:/bin",
            "NO_PROXY": "*",
        }
        child = subprocess.run(
            [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, timeout=120, check=True
        )
    seconds, message = child.stdout.split("\n", 1)
    assert float(seconds) < 15
    assert "model.safetensors of timm/resnet18" in message
    assert address in message


class PretendHub(ThreadingHTTPServer):
    """Serves files from memory."""

    files: dict[str, bytes]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = self.server.files.get(self.path)  # type: ignore[attr-defined]
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[PretendHub]:
    hub = PretendHub(("127.0.0.1", 0), Handler)
    hub.files = {}
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield hub
    hub.shutdown()
    thread.join()
    hub.server_close()


def publish(server: PretendHub, tmp_path: Path, content: object) -> str:
    torch.save(content, tmp_path / "weights.pth")
    pickled = (tmp_path / "weights.pth").read_bytes()
    path = f"/tiny-{hashlib.sha256(pickled).hexdigest()[:8]}.pth"
    server.files[path] = pickled
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def test_pickled_weights_are_checked_converted_once_and_pinned(server: PretendHub, tmp_path: Path) -> None:
    url = publish(server, tmp_path, {"b": torch.ones(2), "a": torch.zeros(3)})
    fetched = fetch_from_url("tiny", url, offline=False)
    assert fetched.sha256 == hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    assert torch.equal(safetensors.torch.load_file(fetched.path)["b"], torch.ones(2))

    server.files.clear()
    assert fetch_from_url("tiny", url, offline=True) == fetched

    safetensors.torch.save_file({"a": torch.ones(3)}, fetched.path)
    with pytest.raises(WeightsError, match=r"was recorded in .*pins\.json"):
        fetch_from_url("tiny", url, offline=True)


def test_pickled_weights_of_another_hash_are_refused(server: PretendHub, tmp_path: Path) -> None:
    url = publish(server, tmp_path, {"a": torch.zeros(3)})
    server.files = {path: content + b"\0" for path, content in server.files.items()}
    with pytest.raises(WeightsError, match="its name promises"):
        fetch_from_url("tiny", url, offline=False)
    assert not pins_file().exists()


def test_pickle_that_holds_code_is_refused(server: PretendHub, tmp_path: Path) -> None:
    url = publish(server, tmp_path, {"a": Path("/")})
    with pytest.raises(WeightsError, match="something else than tensors"):
        fetch_from_url("tiny", url, offline=False)


def test_hub_file_in_the_cache_is_used_offline_and_pinned(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    cache = tmp_path / "hub"
    commit = "a" * 40
    home = cache / "models--timm--test_resnet.r160_in1k"
    snapshot = home / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(commit)
    shutil.copy(folder / "model.safetensors", snapshot)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    start = time.monotonic()
    backbone = build_backbone("test_resnet", offline=True)
    assert time.monotonic() - start < 10
    assert (backbone.weights.source, backbone.weights.revision) == ("hub", commit)

    rewrite(
        snapshot, conv1__0__weight=safetensors.torch.load_file(snapshot / "model.safetensors")["conv1.0.weight"] * 2
    )
    with pytest.raises(WeightsError, match="was recorded"):
        build_backbone("test_resnet", offline=True)


def test_a_network_that_takes_images_of_one_size_alone_says_so() -> None:
    with pytest.raises(UsageError, match=r"224 x 224 pixels alone.*image_size=96"):
        build_backbone("vit_tiny_patch16_224", "random", image_size=96)
    assert build_backbone("vit_tiny_patch16_224", "random", image_size=224).preprocessing.height == 224
