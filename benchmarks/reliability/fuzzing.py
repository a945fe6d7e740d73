"""S1 to S3: model folders changed at random, grown from the hostile ones that were written by hand.

hypothesis chooses a folder and a seed; a few changes follow, to bytes, to any value in config.json, to any value in the
head of the weights, to the network and its arguments (often with weights that fit it); most folders get checksums that
fit, so that what lies behind them is reached. While a folder is loaded, pickle, eval, exec, importing what is not
loaded yet, processes, network connections, files elsewhere, 20 s of processor time and 2 GiB more memory raise.
"""

import random
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from fence import Harmed, bounded_memory, bounded_time, nothing_may_run
from folder_changes import change_folder
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as chosen_by
from hypothesis import strategies as st

from hostile_folders import HOSTILE, seal, small_model
from retop.artifact import load_model_folder
from retop.device import is_out_of_memory
from retop.errors import ModelFolderError

CHUNK = 1000


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
        Harmed: something was about to be run, opened, or done without bound.
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
        with bounded_time(), nothing_may_run(folder):
            try:
                load_model_folder(folder)
                found["loaded"] += 1
            except ModelFolderError as error:
                raise_what_is_behind(error)
                found["refused"] += 1
                found[kind_of(str(error))] += 1
        longest = max(longest, time.thread_time() - started)

    for chunk in range(-(-number // CHUNK)):
        test = chosen_by(seed + chunk)(given(st.integers(0, len(bases) - 1), st.integers(0, 2**63))(load_one))
        run = settings(
            max_examples=min(CHUNK, number - chunk * CHUNK), deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(test)  # fmt: skip
        with bounded_memory():
            run()
        done = found["loaded"] + found["refused"]
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        say(
            f"{done} of {number} folders, {found['loaded']} loaded, longest {longest:.2f} s, "
            f"{more / 1024:.0f} MiB more, {time.monotonic() - began:.0f} s"
        )
    totals = {name: found.pop(name) for name in ("refused", "loaded")}
    return totals | {
        "folders": sum(totals.values()), "bases by hand": len(HOSTILE), "reasons": dict(found.most_common()),
        "longest_seconds": round(longest, 3), "memory_mib": round(more / 1024, 1),
    }  # fmt: skip


def raise_what_is_behind(error: BaseException) -> None:
    """Refused because there was no memory for it: then its size was not looked at before.

    Args:
        error: that refuses a folder.

    Raises:
        Harmed: it was made of one that tells of missing memory.
    """
    cause = error.__cause__
    while cause is not None:
        if is_out_of_memory(cause):
            raise Harmed(f"out of memory: {error}") from error
        cause = cause.__cause__


KINDS = (
    "SHA-256 differs", "does not fit", "cannot be built", "cannot be read", "not a safetensors file", "unknown to timm",
    "has version", "no key 'retop'", "should hold a mapping", "does not name an architecture", "is a link",
    "not a model folder", "should be a mapping", "not finite", "are read", "model_args may not hold",
    "in model_args must be", "larger than its", "would compute tables",
)  # fmt: skip


def kind_of(message: str) -> str:
    """The kind of a refusal."""
    return next((kind for kind in KINDS if kind in message), "a value of the record")
