"""The Hugging Face hub: a model folder in the form in which the hub shows models."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from retop.artifact.config import read_config, seal
from retop.backbones import has_plain_timm
from retop.errors import ExportError, UsageError
from retop.predictor import Predictor

_TIMM = """
timm loads the network, too: `timm.create_model("hf-hub:{repository}", pretrained=True)`. Its logits come without
temperature and threshold: probabilities are softmax(logits / {temperature:.4f}).
"""


@dataclass(frozen=True)
class Pushed:
    """What was sent, or would be.

    Attributes:
        files: contents by name.
        address: of the repository.
    """

    files: dict[str, bytes]
    address: str


def push_model(predictor: Predictor, repository: str, private: bool = False, dry_run: bool = False) -> Pushed:
    """Send a model to the hub as one commit; the repository is made where it does not exist.

    Args:
        predictor: the model.
        repository: ``user/name``.
        private: make a new repository private.
        dry_run: send nothing.

    Returns:
        The files and the address.

    Raises:
        UsageError: the name is no repository's.
        ExportError: the hub refuses, or cannot be reached.
    """
    import httpx
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UsageError(f"{repository!r} is no name of a repository; give USER/NAME ({error})") from error
    if repository.count("/") != 1:
        raise UsageError(f"{repository!r} is no name of a repository; give USER/NAME")
    api = HfApi()
    pushed = Pushed(hub_files(predictor, repository), f"{api.endpoint}/{repository}")
    if dry_run:
        return pushed
    operations = [CommitOperationAdd(name, content) for name, content in pushed.files.items()]
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.create_commit(repository, operations, commit_message="Model trained with retop")
    except (HfHubHTTPError, LocalTokenNotFoundError, httpx.HTTPError, OSError) as error:
        raise ExportError(
            f"{pushed.address} does not take the model: {str(error)[:300]}. Log in with 'hf auth login' (or set "
            f"HF_TOKEN) and check the name"
        ) from error
    return pushed


def hub_files(predictor: Predictor, repository: str) -> dict[str, bytes]:
    """The files of the repository.

    Args:
        predictor: the model.
        repository: ``user/name``, for the card.

    Returns:
        Contents by name: the model folder, its card as README.md under the hub's heading.
    """
    folder = predictor.folder
    config = read_config(folder)
    place = predictor.trained.weights.location
    public = place
    if predictor.trained.weights.source in ("folder", "file"):
        # A path of this machine is nobody else's business, and of no use to them.
        public = Path(place).name
        weights = config["retop"]["weights"] | {"location": public}
        config = seal(config | {"retop": config["retop"] | {"weights": weights}})
    return {
        "README.md": _card(predictor, repository, config["architecture"]).replace(place, public).encode(),
        "config.json": (json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode(),
        "model.safetensors": (folder / "model.safetensors").read_bytes(),
    }


def _card(predictor: Predictor, repository: str, architecture: str) -> str:
    trained = predictor.trained
    heading: dict[str, object] = {
        "library_name": "retop",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "retop", trained.backbone],
    }
    if trained.weights.source == "hub":
        heading["base_model"] = trained.weights.location
    if trained.weights.license:
        heading["license"] = trained.weights.license
    card = (predictor.folder / "card.md").read_text(encoding="utf-8").replace("<this folder>", "FOLDER")
    use = f"\n    hf download {repository} --local-dir FOLDER\n"
    if trained.head.kind == "linear" and has_plain_timm(architecture):
        use += _TIMM.format(repository=repository, temperature=predictor.temperature)
    return f"---\n{yaml.safe_dump(heading, sort_keys=False, allow_unicode=True)}---\n\n{card.rstrip()}\n{use}"
