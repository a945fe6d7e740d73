"""ONNX Runtime against PyTorch, images/s, float32 and int8, on the cores of this machine.

python benchmarks/runtimes.py --backbones vgg16,resnet50,inception_v3,xception --seconds 10
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from parity import make_model
from retop.data.reading import available_cores
from retop.export.onnx_files import convert_network, open_onnx, quantise
from retop.predictor import Predictor

BATCH = 16


def images_per_second(answer: Callable[[np.ndarray], object], pixels: np.ndarray, seconds: float) -> float:
    answer(pixels)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        answer(pixels)
        done += len(pixels)
    return done / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", default="vgg16,resnet50,inception_v3,xception")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    threads = available_cores()
    torch.set_num_threads(threads)
    print(f"batch {BATCH}, {threads} threads\n")
    print("| network | PyTorch float32 | ONNX float32 | ONNX int8 |\n|---|---|---|---|")
    for backbone in arguments.backbones.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            predictor = make_model(backbone, Path(scratch) / "model")
            size = predictor.trained.preprocessing
            generator = np.random.default_rng(0)
            pixels = generator.integers(0, 256, (BATCH, 3, size.height, size.width), dtype=np.uint8)

            def plain(images: np.ndarray, predictor: Predictor = predictor) -> object:
                return predictor.logits(torch.from_numpy(images))

            rates = [images_per_second(plain, pixels, arguments.seconds)]
            network = convert_network(predictor)
            for precision, model in (("fp32", network), ("int8", quantise(network, pixels))):
                file = Path(scratch) / f"{precision}.onnx"
                file.write_bytes(model.SerializeToString())
                rates.append(images_per_second(open_onnx(file, "network", threads).answer, pixels, arguments.seconds))
        print(f"| {backbone} | " + " | ".join(f"{rate:.1f}" for rate in rates) + " |", flush=True)


if __name__ == "__main__":
    main()
