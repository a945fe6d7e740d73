"""Load test of the server: throughput, latency, errors, memory and batch sizes, against a plain handler.

python benchmarks/serving_load.py MODEL --clients 16 --seconds 60

Starts `retop serve` and then a plain FastAPI handler without batching, each with the same model and all cores, and lets
a bounded number of clients ask each for so long, one image a request, as fast as they are answered. Both listen on this
machine only. Prints one JSON object.
"""

import argparse
import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

WARM_SECONDS = 3.0

PLAIN = """
import io, sys
import torch, uvicorn
from fastapi import FastAPI, File, UploadFile
from PIL import Image
from retop.artifact import load_model_folder
from retop.data.views import evaluation_view

loaded = load_model_folder(sys.argv[1])
loaded.classifier.to(memory_format=torch.channels_last)
app = FastAPI()

@app.post("/predict")
def predict(images: UploadFile = File()):
    image = Image.open(io.BytesIO(images.file.read())).convert("RGB")
    pixels = torch.from_numpy(evaluation_view(image, loaded.trained.preprocessing)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        probabilities = torch.softmax(loaded.classifier(pixels), 1)[0]
    return dict(zip(loaded.trained.classes, probabilities.tolist()))

@app.get("/ready")
def ready():
    return {}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def photos(count: int) -> list[bytes]:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        content = io.BytesIO()
        coarse.resize((640, 480), Image.Resampling.BICUBIC).save(content, "JPEG", quality=88)
        found.append(content.getvalue())
    return found


def wait_ready(process: subprocess.Popen[bytes], address: str) -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with code {process.returncode}")
        try:
            if httpx.get(f"{address}/ready").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise TimeoutError(address)


class MemoryWatch:
    """Memory of a process and those it started, looked at once a second; what they share is counted once."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._found: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            all_of_them = [self._process, *self._process.children(recursive=True)]
            self._found.append(sum(one.memory_full_info().pss for one in all_of_them))

    def end(self) -> None:
        """Stop looking."""
        self._stop.set()
        self._thread.join()

    def tenths(self) -> list[int]:
        """MiB, the mean of each tenth of the time."""
        return [round(float(part.mean()) / 2**20) for part in np.array_split(np.array(self._found), 10) if len(part)]


class Load:
    """Clients that ask as fast as they are answered."""

    def __init__(self, url: str, clients: int, images: list[bytes]) -> None:
        self._url, self._clients, self._images = url, clients, images
        self.latencies: list[float] = []
        self.errors = 0
        self._stop = threading.Event()

    def run(self, seconds: float) -> float:
        """Ask for so long; the seconds it took."""
        threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(self._clients)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._stop.set()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=120) as client:
            while not self._stop.is_set():
                content = self._images[number % len(self._images)]
                number += 1
                began = time.perf_counter()
                try:
                    answer = client.post(self._url, files=[("images", ("a.jpg", content, "image/jpeg"))])
                    self.errors += answer.status_code != 200
                except httpx.HTTPError:
                    self.errors += 1
                self.latencies.append(time.perf_counter() - began)


def measure(
    process: subprocess.Popen[bytes], address: str, path: str, clients: int, seconds: float
) -> dict[str, object]:
    wait_ready(process, address)
    images = photos(64)
    Load(address + path, clients, images).run(WARM_SECONDS)
    load = Load(address + path, clients, images)
    watched = MemoryWatch(process.pid)
    taken = load.run(seconds)
    watched.end()
    found: dict[str, object] = {
        "images_per_second": round(len(load.latencies) / taken, 1),
        "p50_ms": round(1000 * float(np.percentile(load.latencies, 50)), 1),
        "p99_ms": round(1000 * float(np.percentile(load.latencies, 99)), 1),
        "requests": len(load.latencies),
        "errors": load.errors,
        "memory_mib": watched.tenths(),
    }
    metrics = httpx.get(f"{address}/metrics")
    if metrics.status_code == 200:
        wanted = r"retop_batch_(images_sum|images_count|seconds_sum)\{[^}]*\} ([\d.e+]+)"
        sums = {m[1]: float(m[2]) for m in re.finditer(wanted, metrics.text)}
        found["mean_batch"] = round(sums["images_sum"] / sums["images_count"], 2)
        found["network_seconds_per_image"] = round(sums["seconds_sum"] / sums["images_sum"], 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--alone", action="store_true", help="leave the plain handler out")
    arguments = parser.parse_args()
    port, plain_port = free_port(), free_port()
    retop = str(Path(sys.executable).with_name("retop"))
    commands = {
        "retop serve": ([retop, "serve", f"m={arguments.model}", "--port", str(port)], port, "/v1/models/m/predict"),
        "plain handler": ([sys.executable, "-c", PLAIN, str(arguments.model), str(plain_port)], plain_port, "/predict"),
    }
    if arguments.alone:
        del commands["plain handler"]
    results: dict[str, object] = {"clients": arguments.clients}
    rates = []
    for name, (command, used, path) in commands.items():
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            found = measure(process, f"http://127.0.0.1:{used}", path, arguments.clients, arguments.seconds)
        finally:
            process.terminate()
            process.wait(60)
        results[name] = found
        rates.append(float(str(found["images_per_second"])))
    if len(rates) > 1:
        results["ratio"] = round(rates[0] / rates[1], 2)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
