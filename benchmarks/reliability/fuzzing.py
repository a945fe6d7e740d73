"""S1 to S3: model folders changed at random, grown from the hostile ones that were written by hand.

hypothesis chooses a folder and a seed; a few changes follow, to bytes, to any value in config.json, to any value in the
head of the weights, to the network and its arguments (often with weights that fit it); most folders get checksums that
fit, so that what lies behind them is reached. While a folder is loaded, pickle, eval, exec, importing what is not
loaded yet, processes, network connections, files elsewhere, 20 s of processor time and 2 GiB more memory raise.
What loads is then asked about one image, within the same time and memory: it answers with probabilities, or
with our own error.
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

import numpy as np
from fence import Harmed, bounded_memory, bounded_time, nothing_may_run
from folder_changes import change_folder
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as chosen_by
from hypothesis import strategies as st

from hostile_folders import HOSTILE, seal, small_model
from retop.artifact import load_model_folder
from retop.device import is_out_of_memory
from retop.errors import ModelFolderError
from retop.predictor import Predictor
from retop.predictor.prediction import read_pixels

CHUNK = 1000
ENDS = ("refused", "loaded, answered", "loaded, no answer")
SMALL_IMAGE = (np.arange(40 * 30 * 3) * 37 % 251).reshape(40, 30, 3).astype(np.uint8)


def fuzz(work: Path, number: int, seed: int = 0, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Load so many changed folders.

    Args:
        work: an empty folder.
        number: of folders.
        seed: of hypothesis.
        say: receives progress.

    Returns:
        How many were refused, and how many loaded and answered or did not; refusals by kind, the longest time and
        the memory that was taken.

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
    check_answer(Predictor(work / "valid"))
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
        end = "refused"
        with bounded_time():
            try:
                with nothing_may_run(folder):
                    loaded = load_model_folder(folder)
                end = "loaded, no answer"
                check_answer(Predictor(loaded))
                end = "loaded, answered"
            except ModelFolderError as error:
                raise_what_is_behind(error)
                found[kind_of(str(error))] += 1
            found[end] += 1
        longest = max(longest, time.thread_time() - started)

    for chunk in range(-(-number // CHUNK)):
        test = chosen_by(seed + chunk)(given(st.integers(0, len(bases) - 1), st.integers(0, 2**63))(load_one))
        run = settings(
            max_examples=min(CHUNK, number - chunk * CHUNK), deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(test)  # fmt: skip
        with bounded_memory():
            run()
        done = sum(found[end] for end in ENDS)
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        say(
            f"{done} of {number} folders, {done - found['refused']} loaded, longest {longest:.2f} s, "
            f"{more / 1024:.0f} MiB more, {time.monotonic() - began:.0f} s"
        )
    totals = {end: found.pop(end, 0) for end in ENDS}
    return totals | {
        "folders": sum(totals.values()), "bases by hand": len(HOSTILE), "reasons": dict(found.most_common()),
        "longest_seconds": round(longest, 3), "memory_mib": round(more / 1024, 1),
    }  # fmt: skip


def check_answer(predictor: Predictor) -> None:
    """One image must get probabilities, in number and sum.

    Args:
        predictor: of a changed folder that loads.

    Raises:
        Harmed: they are none.
        ModelFolderError: the network does not take such images, or its answers are not finite.
    """
    answer = next(predictor.answer(["small"], [read_pixels(SMALL_IMAGE, predictor.trained.preprocessing)]))
    probabilities = list(answer.probabilities.values())
    sound = all(0 <= probability <= 1 for probability in probabilities) and abs(sum(probabilities) - 1) < 1e-9
    if not sound or len(probabilities) != len(predictor.classes):
        raise Harmed(f"probabilities {probabilities[:10]} of {len(predictor.classes)} classes")


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
    "in model_args must be", "larger than its", "would compute tables", "must lie between", "a name ", "each name",
    "digits", "does not take the images", "answers are not finite",
)  # fmt: skip


def kind_of(message: str) -> str:
    """The kind of a refusal."""
    return next((kind for kind in KINDS if kind in message), "a value of the record")
