"""Changes of a model folder, drawn at random: of bytes, of any value in JSON, of the network and its arguments."""

import copy
import json
import random
from dataclasses import replace
from typing import Any

from hostile_folders import (
    CALIBRATION,
    NETWORKS,
    Files,
    join_weights,
    seal,
    split_weights,
    with_fitting_weights,
    with_network,
)
from retop.backbones.arguments import ALLOWED

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 4, 5, 2**16, 2**31, 2**63, 2**64, 10**30, -(2**63), 0.5, 1e308, -0.0, "", "x",
    "../..", "/etc/passwd", "os.system", "hf-hub:a/b", "\0", "\ud83d\ude00", "a" * 5000, [], [1], [[]], {}, {"a": 1},
    [0] * 100, [2**40] * 3, "retop_scratch", "test_vit", "resnet18", "vgg16", "mlp", "F16", "I64",
)  # fmt: skip
SIZES: tuple[Any, ...] = (
    0, 1, 2, 4, 7, 16, 63, 64, 256, 1024, 1025, 4096, 2**16, 2**31, -1, 0.5, 1e-6, True, None, "", "map", "gelu",
    3, 32, 128, 224, "same", "avg", "silu", False, [1, 1024], [1024, 1024], [7] * 4, [256] * 3,
    [7, 30000, 7, 7], [2**16] * 4,
)  # fmt: skip
# Written into the record, where they are numbers that may or may not be, and names.
EXTREMES: tuple[Any, ...] = (
    0, -1, 1, 2, 0.5, 1e-3, -0.0, 5e-324, 1e-320, 1e-300, 1e-9, 1e-4, 1e4, 1e9, 1e38, 1e300, 1.7e308, 31, 33, 64, 256,
    2048, 4096, 4097, 10**6, 2**31, 2**53, 2**63, 10**30, 10**400, -(10**400), float("inf"), float("nan"),
)  # fmt: skip
NAMES = (
    "", " ", "cat", "dog", "\n", "a\tb", "\x1b[2J", "\u202ecat", "\ud800", "\x00", "a/b", "猫", "🐈",
    "a" * 4096, "a" * 4097,
)  # fmt: skip
# Those that a folder may give, and others that networks with tables take.
ARGUMENTS = (
    *ALLOWED, "window_size", "window_sizes", "resolution", "window_ratio", "depths", "embed_dims", "layers", "dims",
    "pos_embed", "rope_theta", "ref_feat_shape", "grid_size", "block", "norm_layer", "pretrained", "checkpoint_path",
)  # fmt: skip
# Small ones, of which tables grow with the arguments all the same.
SMALL = ("test_vit", "beit_base_patch16_224", "eva02_tiny_patch14_224")
ARCHITECTURES = tuple(sorted({architecture for architecture, _ in NETWORKS.values()}))


def change_bytes(content: bytes, chance: random.Random) -> bytes:
    """Flip, cut, insert or repeat."""
    place = chance.randrange(len(content) + 1)
    kind = chance.randrange(4)
    if kind == 0 and place < len(content):
        return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
    if kind == 1:
        return content[:place]
    if kind == 2:
        return content[:place] + chance.randbytes(chance.randint(1, 16)) + content[place:]
    return content[:place] + content[place // 2 : place] + content[place:]


def change_value(document: Any, chance: random.Random) -> Any:
    """Replace, remove or double any value of a JSON document."""
    document = copy.deepcopy(document)
    places: list[tuple[Any, Any]] = []
    left = [document]
    while left:
        node = left.pop()
        items = (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        )
        places += [(node, key) for key, _ in items]
        left += [item for _, item in items]
    if not places:
        return chance.choice(VALUES)
    node, key = chance.choice(places)
    kind = chance.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1:
        other, name = chance.choice(places)
        # The place may lie in what was changed already.
        node[key] = copy.deepcopy(other[name])
    elif kind == 2 and isinstance(node[key], int | float):
        node[key] = node[key] + chance.choice((-1, 1, 7))
    else:
        node[key] = copy.deepcopy(chance.choice(VALUES))
    return document


def change_record(files: Files, chance: random.Random) -> Files:
    """A few extremes among the numbers and names of the record: of preprocessing, calibration and classes."""
    config = json.loads(files.config)
    record = config["retop"]
    record["calibration"] = record.get("calibration") or copy.deepcopy(CALIBRATION)
    for _ in range(chance.randint(1, 2)):
        place: Any = chance.choice((record["preprocessing"], record["calibration"], record["calibration"]["curve"][0]))
        key = chance.choice([key for key, value in place.items() if not isinstance(value, str)])
        if isinstance(place[key], list) and key != "curve":
            place, key = place[key], chance.randrange(3)
        if key != "curve":
            place[key] = chance.choice(EXTREMES)
    if chance.random() < 0.3:
        record["classes"][chance.randrange(len(record["classes"]))] = chance.choice(NAMES)
    # Python writes `Infinity`, which no reader takes, where other writers write a number that is too large.
    return seal(replace(files, config=json.dumps(config).replace("Infinity", "1e999").encode()))


def change_network(files: Files, chance: random.Random) -> Files:
    """Another network, or other arguments; mostly such as a folder may give, and often with weights that fit."""
    kind = chance.randrange(4)
    if kind == 0:
        architecture, arguments = chance.choice(list(NETWORKS.values()))
        return with_network(architecture, **{**arguments, chance.choice(ARGUMENTS): chance.choice(SIZES)})(files)
    names = chance.sample(sorted(ALLOWED), chance.randint(0, 3))
    arguments = {name: chance.choice([size for size in SIZES if ALLOWED[name].fits(size)] or [0]) for name in names}
    if kind == 1:
        return with_network(chance.choice(ARCHITECTURES), **arguments)(files)
    arguments = {"embed_dim": 16, "depth": 1, "num_heads": 1, "patch_size": chance.choice((1, 4, 16))} | arguments
    try:
        return with_fitting_weights(chance.choice(SMALL), **arguments)(files)
    # It cannot be built, or is not small at all.
    except (TypeError, ValueError, RuntimeError, AssertionError, ArithmeticError, LookupError):
        return with_network(SMALL[0], **arguments)(files)


def change_folder(files: Files, chance: random.Random) -> Files:
    """One change of one kind."""
    # What is no JSON any more is refused at once; most changes leave it one.
    kind = chance.choice((0, 0, 0, 0, 1, 2, 2, 2, 3, 4, 5, 5))
    try:
        if kind == 5:
            return change_record(files, chance)
        if kind == 1:
            return change_network(files, chance)
        if kind == 0:
            document = change_value(json.loads(files.config), chance)
            return replace(files, config=json.dumps(document).encode("utf-8", "surrogatepass"))
        if kind == 2:
            header, data = split_weights(files.weights)
            return replace(files, weights=join_weights(json.dumps(change_value(header, chance)).encode(), data))
    except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
        pass
    if kind == 3:
        return replace(files, config=change_bytes(files.config, chance))
    return replace(files, weights=change_bytes(files.weights, chance))
