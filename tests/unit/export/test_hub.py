"""A model goes to a hub as one commit; the hub here is a stand-in on this machine."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml

from retop.errors import ExportError, UsageError
from retop.export.hub import hub_files, push_model
from retop.predictor import Predictor

TOKEN = "hf_stand_in"


class StandIn(BaseHTTPRequestHandler):
    """The few routes of the hub that a commit of small files takes."""

    received: dict[str, bytes]
    created: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer({"error": "who are you"}, 401)
        elif self.path == "/api/repos/create":
            self.created.append(json.loads(body)["name"])
            self._answer({"url": "http://127.0.0.1/user/model", "name": "user/model", "id": "user/model"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.received[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._answer({"commitUrl": "http://127.0.0.1/user/model/commit/1", "commitOid": "1", "success": True})
        else:
            self._answer({}, 404)

    def _answer(self, content: dict[str, object], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[StandIn]]:
    handler = type("Handler", (StandIn,), {"received": {}, "created": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_what_arrives_is_the_model_folder_with_a_card(hub: type[StandIn], trained_run: Path, tmp_path: Path) -> None:
    predictor = Predictor(trained_run)
    pushed = push_model(predictor, "user/model")
    assert hub.received == pushed.files
    assert hub.created == ["model"]
    for name, content in hub.received.items():
        (tmp_path / name).write_bytes(content)
    assert (tmp_path / "model.safetensors").read_bytes() == (trained_run / "model" / "model.safetensors").read_bytes()
    heading = yaml.safe_load(hub.received["README.md"].decode().split("---")[1])
    assert heading["library_name"] == "retop"
    assert heading["pipeline_tag"] == "image-classification"
    assert Predictor(tmp_path).classes == predictor.classes
    # The weights came from a folder of this machine; the hub hears of its name alone.
    place = predictor.trained.weights.location
    assert Path(place).is_absolute()
    assert not any(place.encode() in content for content in hub.received.values())
    assert Predictor(tmp_path).trained.weights.location == Path(place).name


def test_the_card_says_how_timms_probabilities_become_ours(trained_run: Path, tmp_path: Path) -> None:
    predictor = Predictor(trained_run)
    files = hub_files(predictor, "user/model")
    said = re.search(r"softmax\(logits / ([\d.]+)\)", files["README.md"].decode())
    assert said is not None
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(network.pretrained_cfg[key]).reshape(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        given = torch.softmax(network((images.float() / 255 - mean) / std) / float(said[1]), 1).numpy()
    np.testing.assert_allclose(given, predictor.probabilities(predictor.logits(images)), atol=1e-4)


def test_a_dry_run_sends_nothing(hub: type[StandIn], trained_run: Path) -> None:
    pushed = push_model(Predictor(trained_run), "user/model", dry_run=True)
    assert set(pushed.files) == {"README.md", "config.json", "model.safetensors"}
    assert hub.received == {}
    assert hub.created == []


def test_a_hub_that_refuses_and_a_name_that_is_none_are_told(
    hub: type[StandIn], trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(ExportError, match="does not take the model"):
        push_model(Predictor(trained_run), "user/model")
    for name in ("model", "a/b/c", "user/mo del"):
        with pytest.raises(UsageError, match="USER/NAME"):
            push_model(Predictor(trained_run), name)
