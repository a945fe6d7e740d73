"""One parity table: the same images through every route by which a model answers.

python benchmarks/parity.py --images 200 --out benchmarks/results/parity.md

Weights are random and not trained, which is what numerics need: logits of all sizes. Prints the largest difference of a
probability from `Predictor.evaluate` for each network and route, and exits with 1 where one is above its tolerance.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from odd_images import write_odd_images
from retop.artifact import Classifier, load_model_folder, save_model_folder
from retop.artifact.classifier import plain_head
from retop.backbones import build_backbone
from retop.data import open_evaluation
from retop.export.onnx_files import convert_network, join, open_onnx
from retop.export.openvino_files import open_openvino, write_openvino
from retop.export.sample import decode_for_whole
from retop.export.torch_file import open_torch, write_torch
from retop.predictor import Predictor
from retop.recipe import HeadRecipe
from retop.records import TrainedRecord
from retop.version import __version__

CLASSES = ("a", "b", "c", "d")
TOLERANCE = {"ONNX, whole path": 5e-3, "OpenVINO, whole path": 5e-3}
DEFAULT_TOLERANCE = 1e-4


def make_model(backbone: str, folder: Path) -> Predictor:
    built = build_backbone(backbone, "random", seed=0)
    torch.manual_seed(0)
    head = plain_head(HeadRecipe(), built.num_features, len(CLASSES))
    scale_head(Classifier(built, head, "linear").eval(), head, built.preprocessing.height, built.preprocessing.width)
    record = TrainedRecord(
        classes=CLASSES,
        preprocessing=built.preprocessing,
        head=HeadRecipe(),
        head_features=built.num_features,
        backbone=backbone,
        boundary=None,
        kind="fine-tuned",
        recipe="parity",
        seed=0,
        data_fingerprint="",
        num_train=0,
        validation_accuracy=0.0,
        weights=built.weights,
        weights_sha256="",
        retop=__version__,
    )
    save_model_folder(folder, built, head, record)
    return Predictor(folder)


def scale_head(classifier: Classifier, head: torch.nn.Linear, height: int, width: int) -> None:
    """Logits that differ between images by about 1, so that probabilities are neither all alike nor all 0 and 1."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randint(0, 256, (16, 3, 8, 8), generator=generator).float()
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255).byte()
    with torch.no_grad():
        logits = classifier(images)
        head.weight.div_(logits.std(0).mean().clamp_min(1e-6))
        head.bias.sub_(classifier(images).mean(0))


def through_http(predictor: Predictor, files: list[Path]) -> np.ndarray:
    import httpx

    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from serving import running_server

    rows = []
    with running_server(f"m={predictor.folder}") as server, httpx.Client(timeout=300) as client:
        for first in range(0, len(files), 8):
            chosen = [("images", (file.name, file.read_bytes())) for file in files[first : first + 8]]
            answer = client.post(f"{server.address}/v1/models/m/predict?top={len(CLASSES)}", files=chosen)
            for item in answer.json()["predictions"]:
                given = {entry["label"]: entry["probability"] for entry in item["top"]}
                rows.append([given[name] for name in CLASSES])
    return np.array(rows)


def routes(
    predictor: Predictor, files: list[Path], pixels: np.ndarray, place: Path
) -> dict[str, Callable[[], np.ndarray]]:
    def streamed(batch: int) -> np.ndarray:
        return np.array([[p.probabilities[c] for c in CLASSES] for p in predictor.stream(files, batch)])

    def in_python() -> np.ndarray:
        answers = predictor.predict([file.read_bytes() for file in files])
        return np.array([[p.probabilities[c] for c in CLASSES] for p in answers])

    def in_batches(answer: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.concatenate([answer(pixels[first : first + 16]) for first in range(0, len(pixels), 16)])

    def singly(answer: Callable[..., np.ndarray]) -> np.ndarray:
        prepared = predictor.trained.preprocessing
        inputs = (decode_for_whole(file.read_bytes(), file.name, prepared) for file in files)
        return np.concatenate([answer(*one) for one in inputs])

    def onnx_network() -> np.ndarray:
        network = convert_network(predictor)
        for name, model in (("network", network), ("whole", join(predictor, network))):
            write_openvino(model, place / f"{name}.xml")
            (place / f"{name}.onnx").write_bytes(model.SerializeToString())
        return in_batches(open_onnx(place / "network.onnx", "network").answer)

    def torch_export() -> np.ndarray:
        write_torch(predictor, place / "network.pt2", {})
        return in_batches(open_torch(place / "network.pt2").answer)

    return {
        "predict, batch 1": lambda: streamed(1),
        "predict, batch 7": lambda: streamed(7),
        "predict, batch 64": lambda: streamed(64),
        "Python, bytes": in_python,
        "HTTP": lambda: through_http(predictor, files),
        "ONNX, network": onnx_network,
        "ONNX, whole path": lambda: singly(open_onnx(place / "whole.onnx", "whole").answer),
        "OpenVINO, network": lambda: in_batches(open_openvino(place / "network.xml", "network").answer),
        "OpenVINO, whole path": lambda: singly(open_openvino(place / "whole.xml", "whole").answer),
        "torch.export": torch_export,
    }


def compare_routes(backbone: str, images: Path, place: Path) -> dict[str, float]:
    from retop.predictor.prediction import read_pixels

    predictor = make_model(backbone, place / "model")
    files = sorted(path for path in images.rglob("*") if path.is_file())
    found = open_evaluation(images, CLASSES)
    predictions = predictor.evaluate(found)
    order = {path: row for row, path in enumerate(predictions.paths)}
    rows = [order[file.relative_to(images).as_posix()] for file in files]
    expected = predictor.probabilities(predictions.logits_nk[rows])
    pixels = np.stack([read_pixels(file, predictor.trained.preprocessing) for file in files]).transpose(0, 3, 1, 2)
    measured = {}
    for route, run in routes(predictor, files, np.ascontiguousarray(pixels), place).items():
        measured[route] = float(np.abs(run() - expected).max())
        print(f"{backbone:24} {route:20} {measured[route]:.1e}", flush=True)
    assert load_model_folder(place / "model").trained == predictor.trained
    return measured


def write_table(rows: dict[str, dict[str, float]], n: int) -> str:
    names = list(next(iter(rows.values())))
    lines = [
        f"Largest difference of a probability from validation's route, {n} images, torch {torch.__version__}.",
        "",
        "| network | " + " | ".join(names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    lines += [f"| {b} | " + " | ".join(f"{row[name]:.0e}" for name in names) + " |" for b, row in rows.items()]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    four = "vgg16,resnet50,inception_v3,xception"
    parser.add_argument(
        "--backbones", default=f"{four},mobilenetv2_100,convnext_atto,vit_tiny_patch16_224,pocket_vgg,pocket_resnet"
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with tempfile.TemporaryDirectory() as scratch:
        images = write_odd_images(Path(scratch) / "images", arguments.images, CLASSES)
        rows = {}
        for backbone in arguments.backbones.split(","):
            place = Path(scratch) / backbone
            place.mkdir()
            rows[backbone] = compare_routes(backbone, images, place)
    table = write_table(rows, arguments.images)
    print(table)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(table, encoding="utf-8")
    high = [(b, r) for b, row in rows.items() for r, d in row.items() if d > TOLERANCE.get(r, DEFAULT_TOLERANCE)]
    print(f"above the tolerance: {high}" if high else "all within their tolerances")
    return 1 if high else 0


if __name__ == "__main__":
    sys.exit(main())
