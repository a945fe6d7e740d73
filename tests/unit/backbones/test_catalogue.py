"""Names, groups and descriptions of networks."""

import pytest
import timm
import torch

from retop.backbones import (
    build_backbone,
    choose_boundary,
    describe_backbone,
    describe_groups,
    freeze,
    known_backbones,
)
from retop.backbones.build import assemble, create_network
from retop.backbones.operations import WithoutContent
from retop.backbones.sources import random_source
from retop.errors import UnknownBackboneError, UsageError

FAMILIES = [
    *("vgg16", "resnet50", "inception_v3", "xception", "scratch", "vgg11_bn", "resnet18", "densenet121"),
    *("efficientnet_b0", "mobilenetv2_100", "mobilenetv3_small_100", "convnext_atto", "regnety_002"),
    *("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "vit_small_patch14_dinov2", "inception_v4"),
    *("xception41", "deit_tiny_distilled_patch16_224", "ghostnet_100", "hrnet_w18_small", "dla34", "mixer_s32_224"),
    *(
        "poolformer_s12",
        "levit_128s",
        "mobilevit_xxs",
        "nfnet_f0",
        "repvgg_a0",
        "cait_xxs24_224",
        "fastvit_t8",
        "rdnet_tiny",
    ),
    *("pocket_vgg", "pocket_resnet", "pocket_xception", "pocket_inception"),
    *timm.list_models("test_*"),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_belongs_to_exactly_one_group(name: str) -> None:
    source = random_source(name, 0)
    with WithoutContent():
        backbone = assemble(name, source, create_network(source.architecture, {}))
    for parameter, _ in backbone.network.named_parameters():
        assert sum(group.holds(parameter) for group in backbone.groups) == 1, parameter
    names = [group.name for group in backbone.groups]
    assert len(set(names)) == len(names)
    assert len(names) >= 2


@pytest.mark.parametrize(
    ("name", "first", "last", "count"),
    [
        ("vgg16", "block1", "block5", 5),
        ("resnet50", "stem", "layer4", 5),
        ("inception_v3", "Conv2d_1a", "Mixed_7a", 5),
        ("xception", "stem", "block12", 13),
        ("pocket_vgg", "block1", "block5", 5),
        ("pocket_resnet", "stem", "layer4", 5),
        ("pocket_xception", "stem", "block7", 8),
        ("pocket_inception", "stem", "stage3", 4),
        ("mobilenetv2_100", "stem", "blocks.6", 8),
        ("vit_tiny_patch16_224", "stem", "blocks.11", 13),
        ("convnext_atto", "stem", "stages.3", 5),
        ("vgg11_bn", "block1", "block5", 5),
    ],
)
def test_groups_run_from_stem_to_last_stage(name: str, first: str, last: str, count: int) -> None:
    groups = describe_backbone(name).groups
    assert (groups[0].name, groups[-1].name, len(groups)) == (first, last, count)


@pytest.mark.parametrize(
    ("name", "parameters", "last_parameters", "gigaflops"),
    [
        ("vgg16", 14_714_688, 7_079_424, 30.69),
        ("resnet50", 23_508_032, 14_964_736, 8.17),
        ("inception_v3", 21_785_568, 12_819_712, 11.42),
        ("xception", 20_806_952, 6_788_384, 16.71),
    ],
)
def test_size_of_the_four(name: str, parameters: int, last_parameters: int, gigaflops: float) -> None:
    description = describe_backbone(name)
    assert description.parameters == parameters
    assert description.groups[-1].parameters == last_parameters
    assert sum(group.flops for group in description.groups) / 1e9 == pytest.approx(gigaflops, abs=0.01)
    assert description.not_traceable is None


def test_description_without_weights_equals_that_of_the_built_network() -> None:
    assert describe_backbone("test_resnet").groups == describe_groups(build_backbone("test_resnet", "random"))


@pytest.mark.parametrize(
    ("name", "size", "crop", "interpolation"),
    [
        ("vgg16", 224, 0.875, "bilinear"),
        ("resnet50", 224, 0.875, "bilinear"),
        ("inception_v3", 299, 0.875, "bicubic"),
        ("xception", 299, 0.8975, "bicubic"),
        ("scratch", 128, 1.0, "bicubic"),
    ],
)
def test_preprocessing_comes_with_the_network(name: str, size: int, crop: float, interpolation: str) -> None:
    found = describe_backbone(name).preprocessing
    assert (found.height, found.width, found.crop_fraction, found.interpolation) == (size, size, crop, interpolation)


def test_unknown_name_is_answered_with_close_ones() -> None:
    with pytest.raises(UnknownBackboneError, match=r"'resnet5O'.*resnet50.*retop backbones"):
        build_backbone("resnet5O", "random")


def test_unknown_tag_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownBackboneError, match=r"tag 'tv_in2k'.*vgg16\.tv_in1k"):
        build_backbone("vgg16.tv_in2k", "random")


def test_catalogue_names_exist_in_timm() -> None:
    assert [entry.name for entry in known_backbones()][:4] == ["vgg16", "resnet50", "inception_v3", "xception"]
    for entry in known_backbones():
        assert describe_backbone(entry.name).architecture == entry.architecture


@pytest.mark.parametrize(
    ("thaw", "group"),
    [("last", "layer4"), ("1", "layer4"), ("2", "layer3"), ("layer2", "layer2"), ("all", "stem"), ("none", None)],
)
def test_thaw_names_the_first_trainable_group(thaw: str, group: str | None) -> None:
    backbone = build_backbone("test_resnet", "random")
    assert choose_boundary(backbone, thaw).group == group


@pytest.mark.parametrize("thaw", ["layer9", "6", "-1", ""])
def test_impossible_thaw_lists_the_groups(thaw: str) -> None:
    with pytest.raises(UsageError, match=r"stem, layer1, layer2, layer3, layer4"):
        choose_boundary(build_backbone("test_resnet", "random"), thaw)


def test_freezing_leaves_only_the_boundary_trainable() -> None:
    backbone = build_backbone("test_resnet", "random")
    boundary = choose_boundary(backbone, "2")
    freeze(backbone.network.train(), boundary)
    trainable = {name for name, parameter in backbone.network.named_parameters() if parameter.requires_grad}
    assert trainable == boundary.parameter_names
    assert {name.partition(".")[0] for name in trainable} == {"layer3", "layer4"}
    assert not any(module.training for module in backbone.network.modules())


@pytest.mark.parametrize("name", ["vgg16", "scratch", "test_vit", "mobilenetv3_small_100"])
def test_same_seed_gives_the_same_random_weights_and_leaves_the_generator_alone(name: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build_backbone(name, "random", seed=seed).network.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
    assert all(torch.isfinite(tensor).all() for tensor in first.values())
    assert first["features.0.weight"].std() > 0.01 if name == "vgg16" else True


def test_scratch_learns_from_few_images() -> None:
    torch.manual_seed(0)
    network = timm.create_model("retop_scratch", num_classes=2)
    assert 0.8e6 < sum(parameter.numel() for parameter in network.parameters()) < 1.5e6
    labels = torch.arange(32) % 2
    images = torch.randn(32, 3, 64, 64) * 0.3
    images[labels == 1, :, :32] += 0.3
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(15):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimiser.step()
    fresh = torch.randn(32, 3, 64, 64) * 0.3
    fresh[labels == 1, :, :32] += 0.3
    assert (network(fresh).argmax(1) == labels).float().mean() > 0.9
