"""``make bench-gpu``: the same comparison on a CUDA device: more images, and an opponent that knows its hardware."""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict
from datetime import date
from pathlib import Path

import torch

from bench import Job, Settings, run_jobs, some_of
from hardware import describe_hardware
from images import make_images
from processes import HERE
from results import Results
from spec import IMAGE_SIZES

SIDES: dict[str, tuple[str, dict[str, object]]] = {
    "prefix": ("prefix", {}),
    "ours": ("ours", {}),
    "plain_torch": ("plain_torch", {}),
    "plain_torch_tuned": ("plain_torch", {"channels_last": True, "autocast": True}),
}
"""``plain_torch_tuned`` is bfloat16 autocast in channels_last: what somebody who knows GPUs writes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", type=some_of(IMAGE_SIZES), default=list(IMAGE_SIZES))
    parser.add_argument("--sides", type=some_of(SIDES), default=list(SIDES), help=f"some of {','.join(SIDES)}")
    parser.add_argument("--views", type=int, help="only with this number of views; default: 1 and 4")
    parser.add_argument("--images", type=int, default=4096, help="training images; a quarter as many for validation")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of each stage, all run; default: 10")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one measurement; default: 3600")
    parser.add_argument("--out", type=Path, help="results file; one that exists is continued")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            "there is no CUDA device here (torch.cuda.is_available() is False), so there is nothing to measure; "
            "make bench measures on the CPU"
        )
    hardware = describe_hardware()
    with tempfile.TemporaryDirectory(prefix="retop-bench-images-") as name:
        folder = Path(name) / "images"
        num_train, num_validation = chosen.images - chosen.images % 2, chosen.images // 8 * 2
        settings = Settings(
            quick=False,
            device="cuda",
            num_train=num_train,
            num_validation=num_validation,
            head_epochs=chosen.epochs,
            late_epochs=chosen.epochs,
            batch_size=32,
            views=[chosen.views] if chosen.views else [1, 4],
            measure_steps=None,
            workers=min(16, os.cpu_count() or 1),
            images=make_images(folder, num_train, num_validation),
            order=list(IMAGE_SIZES),
        )
        jobs = [
            Job(backbone, side, views)
            for backbone in chosen.backbones
            for views in settings.views
            for side in chosen.sides
            if views == 1 or side != "prefix"
        ]
        path = chosen.out or HERE / "results" / f"{date.today()}-{hardware.slug}.json"
        run_jobs(jobs, settings, folder, Results(path, hardware, asdict(settings)), chosen.limit, SIDES)


if __name__ == "__main__":
    main()
