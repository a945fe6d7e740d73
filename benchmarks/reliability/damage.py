"""R2: the newest checkpoint is truncated, or bits of it are flipped; the one before is used, and nothing is lost."""

import contextlib
import os
import random
import shutil
from pathlib import Path
from typing import Any

import small_comparison
from small_comparison import keep_often

from retop.activations import ActivationStore
from retop.data import Dataset, open_dataset
from retop.errors import StoppedError
from retop.events import Notice
from retop.recipe import DataRecipe
from retop.stopping import Stop
from retop.training import Checkpoints
from small_runs import logits, model_bytes, run_small, saved_epochs, without_clock

SETTINGS = {"views.preset": "standard", "views.count": 2, "head.dropout": 0.3, "stage2.epochs": 4}
KINDS = ("truncated", "one bit", "a block of zeros", "longer", "empty")


class StopAfter(Stop):
    """Somebody who asks to stop after so many steps."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    @property
    def requested(self) -> str | None:  # type: ignore[override]
        """The signal, once it is time."""
        self.left -= 1
        return "Ctrl-C" if self.left < 0 else None


def damage(content: bytes, kind: str, chance: random.Random) -> bytes:
    """Content that is no longer what it was."""
    place = chance.randrange(len(content))
    if kind == "truncated":
        return content[:place]
    if kind == "one bit":
        return content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :]
    if kind == "a block of zeros":
        # A block that is zero already is no damage.
        changed = content[:place] + bytes(min(512, len(content) - place)) + content[place + 512 :]
        return changed if changed != content else damage(content, "one bit", chance)
    return content + b"\0" if kind == "longer" else b""


def damage_checkpoints(work: Path, number: int, finished: int, seed: int = 0) -> dict[str, Any]:
    """Damage the newest of two checkpoints in many ways.

    Args:
        work: an empty folder.
        number: ways.
        finished: how many of the runs are finished, and compared with the uninterrupted one.
        seed: chooses them.

    Returns:
        How often the checkpoint before was used, by kind of damage, and how many finished runs differ.
    """
    keep_often()
    small_comparison.prepare(work)
    dataset = open_dataset(work / "images", DataRecipe())
    expected = _finish(work, work / "whole", dataset)
    stopped = work / "stopped"
    with contextlib.suppress(StoppedError):
        _run(work, stopped, dataset, StopAfter(24))
    files = sorted((stopped / "checkpoints").glob("*.safetensors"))
    chance = random.Random(seed)
    used, different = dict.fromkeys(KINDS, 0), 0
    for i in range(number):
        kind = KINDS[i % len(KINDS)]
        copy = work / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        os.link(files[0], copy / files[0].name)
        (copy / files[1].name).write_bytes(damage(files[1].read_bytes(), kind, chance))
        used[kind] += _uses(copy, files[0])
        if i < finished:
            run = work / "run"
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(copy, run / "checkpoints")
            (run / "checkpoints" / files[1].name).write_bytes(damage(files[1].read_bytes(), kind, chance))
            different += _finish(work, run, dataset) != expected
    return {
        "damaged": number, "the one before was used": sum(used.values()), "by kind": used, "finished": finished,
        "different": different,
    }  # fmt: skip


def _uses(folder: Path, good: Path) -> bool:
    """Whether the good one is used, and the damaged one is named."""
    notices: list[str] = []
    content = _identity(good)
    opened = Checkpoints(
        folder, content["identity"], content["machine"],
        listener=lambda event: notices.append(event.message) if isinstance(event, Notice) else None,
    )  # fmt: skip
    return opened.open() and opened.noted == content["note"] and len(notices) == 1 and "is damaged" in notices[0]


def _identity(path: Path) -> dict[str, Any]:
    import json

    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return json.loads(header["__metadata__"]["retop"])  # type: ignore[no-any-return]


def _run(work: Path, run: Path, dataset: Dataset, stop: Stop | None = None) -> None:
    store = ActivationStore(work / "store")
    run_small(run, dataset, weights=work / "weights", store=store, settings=SETTINGS, stop=stop)


def _finish(work: Path, run: Path, dataset: Dataset) -> tuple[Any, ...]:
    _run(work, run, dataset)
    answers = {key: row.tobytes() for key, row in logits(run).items()}
    return model_bytes(run), answers, [without_clock(epoch) for epoch in saved_epochs(run)]
