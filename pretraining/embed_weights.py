"""Put a pretrained network into the package: its run's model folder becomes float16 weights, config and card.

python pretraining/embed_weights.py RUN_FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import jinja2
import safetensors.torch
import torch

from retop.backbones.embedded import WEIGHTS_FOLDER
from retop.records import RunRecord, read_record
from retop.schema import write_bytes

MOST_BYTES = 1_000_000
KEPT_KEYS = ("input_size", "pool_size", "crop_pct", "crop_mode", "interpolation", "mean", "std", "first_conv")
LICENSE = "apache-2.0"
TINY_IMAGENET = "524036afc6b28c87"
"""How the fingerprint of the data begins that descriptions and cards tell of."""
TEMPLATE = Path(__file__).with_name("card.md.j2")


def main() -> None:
    """Read the run, write the folder."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run_folder = Path(sys.argv[1])
    run = read_record(RunRecord, run_folder / "run.json")
    if not run.data.fingerprint.startswith(TINY_IMAGENET):
        sys.exit(f"{run_folder} was trained on other images than the cards tell of; write them anew first ({TEMPLATE})")
    config = json.loads((run_folder / "model" / "config.json").read_text(encoding="utf-8"))
    tensors = backbone_tensors(safetensors.torch.load_file(run_folder / "model" / "model.safetensors"), config)
    folder = WEIGHTS_FOLDER / config["architecture"]
    folder.mkdir(parents=True, exist_ok=True)
    weights = safetensors.torch.save(tensors)
    if len(weights) > MOST_BYTES:
        sys.exit(f"{run_folder} holds {len(weights):,} bytes as float16; at most {MOST_BYTES:,} go into the package")
    write_bytes(folder / "model.safetensors", weights)
    described = describe(run, config)
    write_bytes(folder / "config.json", (json.dumps(described, indent=1) + "\n").encode())
    write_bytes(folder / "card.md", write_card(run, described, len(weights)).encode())
    print(f"{folder}: {len(weights):,} bytes, {described['pretrained_cfg']['description']}")


def backbone_tensors(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors without the classifier's, in float16."""
    classifier = config["pretrained_cfg"]["classifier"]
    kept = {
        name: tensor.half()
        for name, tensor in tensors.items()
        if not name.startswith(f"{classifier}.") and not name.endswith("num_batches_tracked")
    }
    if broken := [name for name, tensor in kept.items() if not torch.isfinite(tensor).all()]:
        sys.exit(f"float16 cannot hold {', '.join(broken)}")
    return kept


def describe(run: RunRecord, config: dict[str, Any]) -> dict[str, Any]:
    """config.json, in timm's form."""
    kept = {key: config["pretrained_cfg"][key] for key in KEPT_KEYS if key in config["pretrained_cfg"]}
    accuracy = run.validation.accuracy
    learned, held_out = sum(run.data.splits[0].per_class), run.validation.n
    description = (
        f"pretrained by retop on {learned:,} images of Tiny ImageNet, which carry ImageNet's terms (research and "
        f"education, not commercial); {100 * accuracy.value:.1f} % top-1 on {held_out:,} held out, "
        f"{len(run.data.classes)} classes"
    )
    return {
        "architecture": config["architecture"],
        "num_classes": 0,
        "num_features": config["num_features"],
        "pretrained_cfg": kept | {"num_classes": 0, "license": LICENSE, "description": description},
    }


def write_card(run: RunRecord, described: dict[str, Any], num_bytes: int) -> str:
    """card.md: data, recipe, accuracy, licence, command."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=run, described=described, num_bytes=num_bytes, recipe=run.recipe.stage2, minutes=_minutes(run)
    )


def _minutes(run: RunRecord) -> float:
    return sum(timing.seconds for timing in run.timings) / 60


if __name__ == "__main__":
    main()
