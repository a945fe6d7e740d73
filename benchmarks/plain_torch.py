"""The loop that most PyTorch tutorials write: the whole network runs in every epoch.

float32, default memory format, torchvision transforms, ImageFolder and DataLoader, SGD with momentum; `model.train()`
before every training epoch. `Spec.channels_last` and `Spec.autocast` make it the loop of somebody who knows better.

N images of a batch.
"""

import time
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from epochs import Epochs, Pass, PassClock, count_images, time_stage
from spec import SideResult, Spec

NETWORKS = {
    "vgg16": "vgg16",
    "resnet50": "resnet50",
    "inception_v3": "inception_v3",
    "xception": "legacy_xception",
}
LATE_LAYERS = {
    "vgg16": ("features.24", "features.26", "features.28"),
    "resnet50": ("layer4",),
    "inception_v3": ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
    "xception": ("block12", "conv3", "bn3", "conv4", "bn4"),
}
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def run(spec: Spec) -> SideResult:
    started = time.perf_counter()
    loop = _Loop(spec)
    loop.freeze()
    prepared = time.perf_counter() - started
    stages = {"head": time_stage(loop.run_epochs, spec.head_epochs, spec)}
    loop.unfreeze_late_layers()
    stages["late"] = time_stage(loop.run_epochs, spec.late_epochs, spec)
    wall = time.perf_counter() - started
    extrapolated = spec.measure_steps is not None
    return SideResult(
        seconds=prepared + sum(stage.seconds for stage in stages.values()) if extrapolated else wall,
        wall_seconds=wall,
        parts={"build": prepared, **{name: stage.seconds for name, stage in stages.items()}},
        stages=stages,
        extrapolated=extrapolated,
        measured_images=count_images(stages),
        validation_accuracy=None if extrapolated else loop.validation_accuracy,
        trained_parameters=sum(p.numel() for p in loop.model.parameters() if p.requires_grad),
        threads=torch.get_num_threads(),
        versions={"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__},
    )


class _Loop:
    """Model, loaders and optimiser of the two stages."""

    def __init__(self, spec: Spec) -> None:
        torch.manual_seed(0)
        self.spec = spec
        self.device = torch.device(spec.device)
        self.loaders = {split: _loader(spec, split) for split in ("train", "validation")}
        self.model = _model(spec.backbone, len(self.loaders["train"].dataset.classes)).to(self.device)
        if spec.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.criterion = nn.CrossEntropyLoss()
        self.validation_accuracy = 0.0

    def freeze(self) -> None:
        """Only the new head trains."""
        for parameter in self.model[0].parameters():
            parameter.requires_grad = False
        self._optimise(learning_rate=0.01)

    def unfreeze_late_layers(self) -> None:
        """The late layers train too."""
        late = LATE_LAYERS[self.spec.backbone]
        for name, parameter in self.model[0].named_parameters():
            parameter.requires_grad = any(name.startswith(f"{layer}.") for layer in late)
        self._optimise(learning_rate=0.001)

    def run_epochs(self, epochs: int, limit: int | None) -> Epochs:
        """Train and validate."""
        return [(self._train(limit), self._validate(limit)) for _ in range(epochs)]

    def _optimise(self, learning_rate: float) -> None:
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.SGD(trained, lr=learning_rate, momentum=0.9)

    def _train(self, limit: int | None) -> Pass:
        clock = PassClock(limit)
        self.model.train()
        running_loss = 0.0
        for images, labels in self.loaders["train"]:
            images_nchw, labels_n = self._placed(images), labels.to(self.device)
            self.optimiser.zero_grad()
            with self._autocast():
                loss = self.criterion(self.model(images_nchw), labels_n)
            loss.backward()
            self.optimiser.step()
            running_loss += loss.item() * len(labels)
            if clock.tick(len(labels)):
                break
        return clock.stop()

    @torch.no_grad()
    def _validate(self, limit: int | None) -> Pass:
        clock = PassClock(limit)
        self.model.eval()
        right, running_loss, num_images = 0, 0.0, 0
        for images, labels in self.loaders["validation"]:
            labels_n = labels.to(self.device)
            with self._autocast():
                logits_nk = self.model(self._placed(images))
                loss = self.criterion(logits_nk, labels_n)
            running_loss += loss.item() * len(labels)
            right += int((logits_nk.argmax(1) == labels_n).sum())
            num_images += len(labels)
            if clock.tick(len(labels)):
                break
        self.validation_accuracy = right / num_images
        return clock.stop()

    def _placed(self, images_nchw: torch.Tensor) -> torch.Tensor:
        placed = images_nchw.to(self.device, non_blocking=True)
        return placed.contiguous(memory_format=torch.channels_last) if self.spec.channels_last else placed

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.spec.device, torch.bfloat16, enabled=self.spec.autocast)


def _model(backbone: str, num_classes: int) -> nn.Sequential:
    network = timm.create_model(NETWORKS[backbone], pretrained=False, num_classes=0)
    if backbone == "vgg16":
        network.pre_logits = nn.Identity()
    return nn.Sequential(network, nn.Linear(network.num_features, num_classes))


def _loader(spec: Spec, split: str) -> DataLoader:
    size = spec.image_size
    if split == "train" and spec.augments:
        geometry = [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
    else:
        geometry = [transforms.Resize(round(size / 0.875)), transforms.CenterCrop(size)]
    transform = transforms.Compose([*geometry, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    return DataLoader(
        datasets.ImageFolder(str(Path(spec.images) / split), transform),
        batch_size=spec.batch_size,
        shuffle=split == "train",
        num_workers=spec.workers,
        pin_memory=spec.device == "cuda",
    )
