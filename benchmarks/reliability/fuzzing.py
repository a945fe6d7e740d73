"""S1 to S3: model folders changed at random, grown from the hostile ones that were written by hand.

hypothesis chooses a folder and a seed; a few changes follow, to bytes, to any value in config.json, to any value in the
head of the weights; most folders get checksums that fit, so that what lies behind them is reached. While a folder is
loaded, pickle, eval, exec, importing what is not loaded yet, processes and network connections raise.
"""

import builtins
import copy
import importlib
import json
import os
import pickle
import random
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as chosen_by
from hypothesis import strategies as st

from hostile_folders import HOSTILE, Files, join_weights, seal, small_model, split_weights
from retop.artifact import load_model_folder
from retop.errors import ModelFolderError

CHUNK = 1000
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 4, 5, 2**16, 2**31, 2**63, 2**64, 10**30, -(2**63), 0.5, 1e308, -0.0, "", "x",
    "../..", "/etc/passwd", "os.system", "hf-hub:a/b", "\0", "\ud83d\ude00", "a" * 5000, [], [1], [[]], {}, {"a": 1},
    [0] * 100, [2**40] * 3, "retop_scratch", "test_vit", "resnet18", "vgg16", "mlp", "F16", "I64",
)  # fmt: skip


class Harmed(BaseException):
    """Something was about to be run; no handler of errors may swallow this."""


@contextmanager
def nothing_may_run() -> Iterator[None]:
    """Make everything raise that could run what a folder says."""
    importing = builtins.__import__

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise Harmed(str(arguments)[:200])

    def only_loaded(name: str, *arguments: Any) -> Any:
        if name.partition(".")[0] not in sys.modules:
            raise Harmed(f"import {name}")
        return importing(name, *arguments)

    forbidden: list[tuple[Any, str, Any]] = [
        *((pickle, name, refuse) for name in ("load", "loads", "Unpickler")),
        *((builtins, name, refuse) for name in ("eval", "exec", "compile")),
        *((os, name, refuse) for name in ("system", "popen", "execv", "execve", "fork", "posix_spawn")),
        (subprocess, "Popen", refuse),
        (socket, "create_connection", refuse),
        (socket, "socket", refuse),
        (importlib, "import_module", refuse),
        (builtins, "__import__", only_loaded),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in forbidden]
    for where, name, instead in forbidden:
        setattr(where, name, instead)
    try:
        yield
    finally:
        for where, name, function in before:
            setattr(where, name, function)


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


def change_folder(files: Files, chance: random.Random) -> Files:
    """One change of one kind."""
    # What is no JSON any more is refused at once; most changes leave it one.
    kind = chance.choice((0, 0, 0, 0, 2, 2, 2, 3, 4))
    try:
        if kind == 0:
            document = change_value(json.loads(files.config), chance)
            return replace(files, config=json.dumps(document).encode("utf-8", "surrogatepass"))
        if kind == 2:
            header, data = split_weights(files.weights)
            return replace(files, weights=join_weights(json.dumps(change_value(header, chance)).encode(), data))
    except (ValueError, RecursionError, UnicodeError, AttributeError, TypeError, KeyError):
        pass
    if kind == 3:
        return replace(files, config=change_bytes(files.config, chance))
    return replace(files, weights=change_bytes(files.weights, chance))


def fuzz(work: Path, number: int, seed: int = 0, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Load so many changed folders.

    Args:
        work: an empty folder.
        number: of folders.
        seed: of hypothesis.
        say: receives progress.

    Returns:
        How many were refused and loaded, refusals by kind, the longest time and the memory that was taken.

    Raises:
        Harmed: something was about to be run.
        BaseException: anything but our own error.
    """
    valid = small_model(work / "valid")
    # Larger ones cost time to write, and their size is refused before anything else happens.
    bases = [valid] * 20 + [
        files for files in (change(valid) for change in HOSTILE.values()) if len(files.config) < 2**16
    ]
    # What is loaded on first use is loaded here.
    load_model_folder(work / "valid")
    found: Counter[str] = Counter()
    longest = 0.0
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()

    def load_one(base: int, chance_seed: int) -> None:
        nonlocal longest
        chance = random.Random(chance_seed)
        files = bases[base]
        for _ in range(chance.randint(1, 4)):
            files = change_folder(files, chance)
        if chance.random() < 0.7:
            files = seal(files)
        folder = work / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        files.write(folder)
        started = time.thread_time()
        with nothing_may_run():
            try:
                load_model_folder(folder)
                found["loaded"] += 1
            except ModelFolderError as error:
                found["refused"] += 1
                found[kind_of(str(error))] += 1
        longest = max(longest, time.thread_time() - started)

    for chunk in range(-(-number // CHUNK)):
        test = chosen_by(seed + chunk)(given(st.integers(0, len(bases) - 1), st.integers(0, 2**63))(load_one))
        run = settings(
            max_examples=min(CHUNK, number - chunk * CHUNK), deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(test)  # fmt: skip
        run()
        done = found["loaded"] + found["refused"]
        say(f"{done} of {number} folders, {found['loaded']} loaded, {time.monotonic() - began:.0f} s")
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    totals = {name: found.pop(name) for name in ("refused", "loaded")}
    return totals | {
        "folders": sum(totals.values()), "bases by hand": len(HOSTILE), "reasons": dict(found.most_common()),
        "longest_seconds": round(longest, 3), "memory_mib": round(more / 1024, 1),
    }  # fmt: skip


KINDS = (
    "SHA-256 differs", "does not fit", "cannot be built", "cannot be read", "not a safetensors file", "unknown to timm",
    "has version", "no key 'retop'", "should hold a mapping", "does not name an architecture", "is a link",
    "not a model folder", "should be a mapping", "not finite", "are read", "model_args hold", "larger than its",
)  # fmt: skip


def kind_of(message: str) -> str:
    """The kind of a refusal."""
    return next((kind for kind in KINDS if kind in message), "a value of the record")
