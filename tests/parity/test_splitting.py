"""Prefix and suffix together are the whole network: outputs, gradients, storage."""

from collections.abc import Iterator

import pytest
import timm
import torch
from torch import Tensor, nn

from retop.backbones.boundary import choose_boundary, freeze, set_batch_norm_mode
from retop.backbones.build import Backbone, assemble, create_network
from retop.backbones.network import ImageNetwork
from retop.backbones.sources import random_source
from retop.backbones.splitting import split_network, split_traced
from retop.backbones.tracing import TracedNetwork, trace
from retop.errors import NotTraceableError

Size = tuple[int, int]

# Network, and the side of the images it is tried on; None is its own.
QUICK: list[tuple[str, int | None]] = [
    ("vgg16", 64),
    ("resnet50", 64),
    ("inception_v3", 139),
    ("xception", 96),
    ("vit_tiny_patch16_224", 64),
    ("swin_tiny_patch4_window7_224", 112),
    ("convnext_atto", 64),
    ("densenet121", 64),
    ("efficientnet_b0", 64),
    ("mobilenetv2_100", 64),
    ("mobilenetv3_small_100", 64),
    ("vit_small_patch14_dinov2", 56),
    ("scratch", 64),
    ("pocket_vgg", None),
    ("pocket_resnet", None),
    ("pocket_xception", None),
    ("pocket_inception", None),
]
TIMM_TEST_NETWORKS = list(timm.list_models("test_*"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks on several threads spend their time waiting, and far more so where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(name: str, side: int | None = None) -> tuple[Backbone, Size]:
    """A network with random weights, and batch norms whose statistics are not those of a new network."""
    torch.manual_seed(0)
    resizable = side is not None and name.startswith(("vit_", "swin_"))
    source = random_source(name, 0)
    arguments = {"img_size": side} if resizable else {}
    network = create_network(source.architecture, arguments)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    backbone = assemble(name, source, network)
    own = (backbone.preprocessing.height, backbone.preprocessing.width)
    return backbone, (side, side) if side else own


def draw_images(n: int, size: Size) -> Tensor:
    return torch.randint(0, 256, (n, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def gradients(network: nn.Module, features: Tensor) -> dict[str, Tensor]:
    """Gradients of an arbitrary loss on the features."""
    network.zero_grad()
    weights = torch.linspace(-1, 1, features.shape[1])
    (features * weights).square().mean().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def check_boundary(backbone: Backbone, network: ImageNetwork, traced: TracedNetwork, size: Size, thaw: str) -> None:
    boundary = choose_boundary(backbone, thaw)
    freeze(backbone.network, boundary)
    split = split_traced(traced, network, boundary.parameter_names)
    images = draw_images(2, size)
    whole = network(images)
    assert torch.isfinite(whole).all()
    with torch.no_grad():
        stored = split.prefix(images)
    kept = [value.clone() for value in stored]
    ours = split.suffix(*stored)
    torch.testing.assert_close(ours, whole, rtol=0, atol=0)
    assert [(tuple(v.shape[1:]), v.dtype) for v in stored] == [(c.shape, c.dtype) for c in split.crossings]
    if boundary.parameter_names:
        expected = gradients(network, whole)
        found = gradients(network, ours)
        assert expected.keys() == found.keys() == {f"body.{name}" for name in boundary.parameter_names}
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    assert all(torch.equal(before, after) for before, after in zip(kept, stored, strict=True)), "crossing changed"
    if thaw == backbone.groups[-1].name:
        check_other_inputs(network, split.prefix, split.suffix, size)


def check_other_inputs(network: nn.Module, prefix: nn.Module, suffix: nn.Module, size: Size) -> None:
    with torch.no_grad():
        for images in (draw_images(1, size), draw_images(4, size).to(memory_format=torch.channels_last)):
            torch.testing.assert_close(suffix(*prefix(images)), network(images), rtol=1e-5, atol=1e-6)


def chosen_boundaries(backbone: Backbone, every: bool) -> list[str]:
    names = [group.name for group in backbone.groups]
    return [*names, "all", "none"] if every else [names[len(names) // 2], names[-1]]


@pytest.mark.parametrize(("name", "side"), QUICK)
def test_split_network_equals_whole(name: str, side: int | None) -> None:
    backbone, size = build(name, side)
    network = ImageNetwork(backbone).eval()
    traced = trace(network, size)
    for thaw in chosen_boundaries(backbone, every=False):
        check_boundary(backbone, network, traced, size, thaw)


@pytest.mark.parametrize("name", TIMM_TEST_NETWORKS)
def test_split_of_small_network_equals_whole_at_every_boundary(name: str) -> None:
    backbone, size = build(name)
    network = ImageNetwork(backbone).eval()
    traced = trace(network, size)
    for thaw in chosen_boundaries(backbone, every=True):
        check_boundary(backbone, network, traced, size, thaw)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), QUICK)
def test_split_network_equals_whole_at_every_boundary(name: str, side: int | None) -> None:
    backbone, size = build(name, side)
    network = ImageNetwork(backbone).eval()
    traced = trace(network, size)
    for thaw in chosen_boundaries(backbone, every=True):
        check_boundary(backbone, network, traced, size, thaw)


@pytest.mark.parametrize("name", ["mobilenetv2_100", "test_vit"])
def test_split_of_feature_map_equals_whole(name: str) -> None:
    backbone, _ = build(name)
    size = (backbone.preprocessing.height, backbone.preprocessing.width)
    network = ImageNetwork(backbone, output="map").eval()
    split = split_network(network, choose_boundary(backbone, "last").parameter_names, size)
    images = draw_images(3, size)
    with torch.no_grad():
        whole = network(images)
        torch.testing.assert_close(split.suffix(*split.prefix(images)), whole, rtol=0, atol=0)
    assert whole.ndim == 2


@pytest.mark.parametrize(
    ("name", "group", "kibibytes", "shape"),
    [
        ("vgg16", "block5", 196.0, (512, 14, 14)),
        ("resnet50", "layer4", 392.0, (1024, 14, 14)),
        ("inception_v3", "Mixed_7a", 433.5, (768, 17, 17)),
        ("xception", "block12", 728 * 19 * 19 * 2 / 1024, (728, 19, 19)),
    ],
)
def test_default_boundary_stores_the_expected_bytes(
    name: str, group: str, kibibytes: float, shape: tuple[int, ...]
) -> None:
    backbone, _ = build(name)
    size = (backbone.preprocessing.height, backbone.preprocessing.width)
    boundary = choose_boundary(backbone, "last")
    split = split_network(ImageNetwork(backbone), boundary.parameter_names, size)
    assert boundary.group == group
    assert [crossing.shape for crossing in split.crossings] == [shape]
    assert split.bytes_per_image(torch.bfloat16) == kibibytes * 1024
    assert split.bytes_per_image(torch.float32) == 2 * kibibytes * 1024


def test_everything_thawed_stores_the_8_bit_images() -> None:
    backbone, size = build("scratch")
    split = split_network(ImageNetwork(backbone), choose_boundary(backbone, "all").parameter_names, size)
    images = draw_images(2, size)
    assert [crossing.dtype for crossing in split.crossings] == [torch.uint8]
    assert split.bytes_per_image(torch.bfloat16) == 3 * size[0] * size[1]
    assert torch.equal(split.prefix(images)[0], images)


def test_nothing_thawed_stores_the_features() -> None:
    backbone, size = build("scratch")
    network = ImageNetwork(backbone).eval()
    split = split_network(network, frozenset(), size)
    features = network(draw_images(2, size))
    assert [crossing.shape for crossing in split.crossings] == [(backbone.num_features,)]
    assert torch.equal(split.suffix(features), features)


def test_suffix_layers_are_the_networks_own() -> None:
    backbone, size = build("test_resnet")
    boundary = choose_boundary(backbone, "last")
    split = split_network(ImageNetwork(backbone), boundary.parameter_names, size)
    own = dict(backbone.network.named_parameters())
    inside = {name.removeprefix("body."): parameter for name, parameter in split.suffix.named_parameters()}
    assert boundary.parameter_names <= inside.keys()
    assert all(parameter is own[name] for name, parameter in inside.items())


def test_batch_norm_statistics_update_only_above_the_boundary_and_only_when_asked() -> None:
    backbone, size = build("test_resnet")
    boundary = choose_boundary(backbone, "last")
    freeze(backbone.network, boundary)
    network = ImageNetwork(backbone).eval()
    split = split_network(network, boundary.parameter_names, size)
    before = {name: buffer.clone() for name, buffer in backbone.network.named_buffers()}
    images = draw_images(4, size)

    set_batch_norm_mode(split.suffix, boundary, update=False)
    split.suffix(*split.prefix(images))
    assert all(torch.equal(before[name], buffer) for name, buffer in backbone.network.named_buffers())

    set_batch_norm_mode(split.suffix, boundary, update=True)
    split.suffix(*split.prefix(images))
    changed = {name for name, buffer in backbone.network.named_buffers() if not torch.equal(before[name], buffer)}
    assert changed
    assert all(name.startswith("layer4.") for name in changed)


def test_dropout_and_drop_path_of_the_suffix_still_work_in_training() -> None:
    for name, arguments in (("legacy_xception", {"drop_rate": 0.5}), ("test_convnext", {"drop_path_rate": 0.9})):
        source = random_source(name, 0)
        backbone = assemble(name, source, create_network(source.architecture, arguments))
        split = split_network(ImageNetwork(backbone), choose_boundary(backbone, "last").parameter_names, (96, 96))
        stored = split.prefix(draw_images(4, (96, 96)))
        with torch.no_grad():
            assert torch.equal(split.suffix.eval()(*stored), split.suffix(*stored))
            split.suffix.train()
            set_batch_norm_mode(split.suffix, choose_boundary(backbone, "last"), update=False)
            assert not torch.equal(split.suffix(*stored), split.suffix(*stored))


def test_fingerprint_differs_between_boundaries_and_networks_and_not_between_traces() -> None:
    seen = []
    for name, thaw in (("test_resnet", "last"), ("test_resnet", "2"), ("test_efficientnet", "last")):
        backbone, size = build(name)
        network = ImageNetwork(backbone)
        names = choose_boundary(backbone, thaw).parameter_names
        first, second = (split_network(network, names, size).fingerprint_code for _ in range(2))
        assert first == second
        seen.append(first)
    assert len(set(seen)) == 3


class PreActivated(nn.Module):
    """A block whose shortcut reads what an in-place activation has already changed."""

    def __init__(self) -> None:
        super().__init__()
        self.below = nn.Conv2d(3, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.num_features = 4

    def forward(self, x: Tensor) -> Tensor:
        x = self.below(x)
        early = self.first(x)
        late = self.second(self.activation(x))
        x += early
        return (x + late).mean((2, 3))


class ContentDependent(PreActivated):
    """A network whose path depends on what the image shows."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.below(x)
        if x.mean() > 0:
            x = self.first(x)
        return self.second(x).mean((2, 3))


def wrap(body: nn.Module) -> ImageNetwork:
    backbone, _ = build("scratch")
    backbone.network = body.eval()
    return ImageNetwork(backbone)


def test_in_place_operations_keep_their_meaning() -> None:
    torch.manual_seed(0)
    network = wrap(PreActivated())
    images = draw_images(3, (8, 8))
    with torch.no_grad():
        whole = network(images)
        for trainable in ({"second.weight"}, {"first.weight"}, {"first.weight", "second.weight"}, set()):
            split = split_network(network, trainable, (8, 8))
            stored = split.prefix(images)
            kept = [value.clone() for value in stored]
            for _ in range(2):
                torch.testing.assert_close(split.suffix(*stored), whole, rtol=0, atol=0)
            assert all(torch.equal(before, after) for before, after in zip(kept, stored, strict=True))
            torch.testing.assert_close(network(images), whole, rtol=0, atol=0)


def test_content_dependent_network_is_not_traceable() -> None:
    with pytest.raises(NotTraceableError, match=r"cannot be recorded.*--cache off"):
        split_network(wrap(ContentDependent()), {"second.weight"}, (8, 8))
