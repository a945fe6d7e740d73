"""The networks that retop knows by short names, and their groups of layers from stem to last stage."""

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Group:
    """Consecutive layers that are frozen or thawed together.

    Attributes:
        name: as ``--thaw`` takes it.
        prefixes: names of the modules (or single parameters) of the network that belong to it, in order.
    """

    name: str
    prefixes: tuple[str, ...]

    def holds(self, parameter_name: str) -> bool:
        """Whether a parameter of the network belongs to this group."""
        return f"{parameter_name}.".startswith(self._beginnings)

    @cached_property
    def _beginnings(self) -> tuple[str, ...]:
        return tuple(f"{prefix}." for prefix in self.prefixes)


@dataclass(frozen=True)
class CatalogueEntry:
    """A network under its short name.

    Attributes:
        name: the short name.
        timm_name: architecture and tag in timm; the tag is what pins the weights.
        groups: from stem to last stage; empty where timm's own grouping is used.
        summary: a few words for the list of networks.
    """

    name: str
    timm_name: str
    groups: tuple[Group, ...]
    summary: str

    @property
    def architecture(self) -> str:
        """The architecture as timm calls it, without the tag."""
        return self.timm_name.partition(".")[0]


def _vgg16_groups() -> tuple[Group, ...]:
    convolutions = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
    return tuple(
        Group(f"block{number}", tuple(f"features.{index}" for index in indices))
        for number, indices in enumerate(convolutions, 1)
    )


def _resnet50_groups() -> tuple[Group, ...]:
    return Group("stem", ("conv1", "bn1")), *(Group(f"layer{n}", (f"layer{n}",)) for n in range(1, 5))


def _inception_v3_groups() -> tuple[Group, ...]:
    return (
        Group("Conv2d_1a", ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")),
        Group("Conv2d_3b", ("Conv2d_3b_1x1", "Conv2d_4a_3x3")),
        Group("Mixed_5b", ("Mixed_5b", "Mixed_5c", "Mixed_5d")),
        Group("Mixed_6a", ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e")),
        Group("Mixed_7a", ("Mixed_7a", "Mixed_7b", "Mixed_7c")),
    )


def _xception_groups() -> tuple[Group, ...]:
    return (
        Group("stem", ("conv1", "bn1", "conv2", "bn2")),
        *(Group(f"block{n}", (f"block{n}",)) for n in range(1, 12)),
        Group("block12", ("block12", "conv3", "bn3", "conv4", "bn4")),
    )


def _pocket_vgg_groups() -> tuple[Group, ...]:
    convolutions = ((0,), (4, 7), (11, 14), (18, 21), (25,))
    return tuple(
        Group(f"block{number}", tuple(f"features.{index + part}" for index in indices for part in (0, 1)))
        for number, indices in enumerate(convolutions, 1)
    )


def _numbered_groups(stem: tuple[str, ...], modules: str, name: str, count: int) -> tuple[Group, ...]:
    return Group("stem", stem), *(Group(f"{name}{n + 1}", (f"{modules}{n}",)) for n in range(count))


_ENTRIES = (
    CatalogueEntry("vgg16", "vgg16.tv_in1k", _vgg16_groups(), "VGG, 2014; without fc6 and fc7"),
    CatalogueEntry("resnet50", "resnet50.tv_in1k", _resnet50_groups(), "ResNet, 2015"),
    CatalogueEntry("inception_v3", "inception_v3.tf_in1k", _inception_v3_groups(), "Inception v3, 2015"),
    CatalogueEntry("xception", "legacy_xception.tf_in1k", _xception_groups(), "Xception, 2016"),
    CatalogueEntry("pocket_vgg", "pocket_vgg", _pocket_vgg_groups(), "VGG at 64 pixels"),
    CatalogueEntry("pocket_resnet", "pocket_resnet", _resnet50_groups(), "ResNet at 64 pixels"),
    CatalogueEntry(
        "pocket_xception",
        "pocket_xception",
        _numbered_groups(("stem",), "blocks.", "block", 7),
        "Xception at 64 pixels",
    ),
    CatalogueEntry(
        "pocket_inception",
        "pocket_inception",
        _numbered_groups(("stem",), "stages.", "stage", 3),
        "Inception at 64 pixels",
    ),
    CatalogueEntry("scratch", "retop_scratch", (), "a small convolutional network, trained from random weights"),
)


def known_backbones() -> tuple[CatalogueEntry, ...]:
    """The networks that have a short name; any timm name is accepted besides.

    Returns:
        The entries, in the order in which they are listed to users.
    """
    return _ENTRIES


def find_entry(name: str) -> CatalogueEntry | None:
    """The entry of a short name, or None where the name is not in the catalogue."""
    return next((entry for entry in _ENTRIES if entry.name == name), None)


def groups_of_architecture(architecture: str) -> tuple[Group, ...]:
    """The group table of a timm architecture; empty where the catalogue has none."""
    return next((entry.groups for entry in _ENTRIES if entry.architecture == architecture), ())
