"""Checkpoints of one run: what is finished and what is at work, in one file at a time.

    checkpoints/000017-<SHA-256 of the file>.safetensors

A file is written beside its name, synced and renamed, so it is whole or absent; a file whose content is not what
its name says is passed over for the one before. Its metadata holds, as JSON, what determines the run's numbers, what
is finished, and where the fit at work stands. The newest two are kept. When a save happens depends on the clock; what
training computes does not.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from retop.errors import OutputError, RunExistsError
from retop.events import Listener, Notice, ignore
from retop.schema import differences, from_plain, remove_partial_files, sync_folder, to_plain, write_bytes
from retop.stopping import Stop
from retop.training.state import State, trained_state

T = TypeVar("T")
Plain = dict[str, Any]

CHECKPOINT_VERSION = 1
KEPT = 2
SAVE_EVERY_SECONDS = 120.0
LARGEST_OVERHEAD = 0.05
# Until a save that is large enough to tell has been timed.
ASSUMED_BYTES_PER_SECOND = 200e6
TELLING_BYTES = 2**24


class Resumable(Protocol):
    """Something at work whose whole state fits into plain data and tensors."""

    @property
    def name(self) -> str:
        """Tells it from everything else in its run."""
        ...

    @property
    def num_bytes(self) -> int:
        """Size of the state, roughly."""
        ...

    def capture(self) -> tuple[Plain, State]:
        """The state."""
        ...

    def restore(self, plain: Plain, tensors: State) -> None:
        """Take over a state that `capture` gave."""
        ...


class Checkpoints:
    """Keeps a run's state on disk. Without a folder it keeps nothing.

    A run is repeated from its beginning when it is resumed; what is `once` finished is taken from here instead of
    being computed again, and the fit at work goes on where it was saved.

    Args:
        folder: where to; made when it is needed.
        identity: what determines the run's numbers.
        machine: what may change only their last digits; a change is told, not refused.
        stop: asked after every step.
        listener: receives notices.
        still_ours: asked before every save; raises where the folder is no longer this process's own.
    """

    def __init__(
        self,
        folder: Path | None = None,
        identity: Plain | None = None,
        machine: Plain | None = None,
        stop: Stop | None = None,
        listener: Listener = ignore,
        still_ours: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._identity = identity or {}
        self._machine = machine or {}
        self._stop = stop or Stop()
        self._listener = listener
        self._still_ours = still_ours
        self._damaged: list[Path] = []
        self._is_saved = True
        self._holds_work = False
        self._finished: dict[str, tuple[Plain, State]] = {}
        self._at_work: tuple[str, Plain, State] | None = None
        self._number = 0
        self._began = self._saved_at = time.perf_counter()
        self._spent_seconds = self._last_seconds = 0.0
        self._bytes_per_second = ASSUMED_BYTES_PER_SECOND
        self.note: Callable[[], Plain] = dict
        self.on_saved: Callable[[int], None] = lambda num_bytes: None
        self.noted: Plain = {}

    def open(self) -> bool:
        """Read the newest undamaged checkpoint.

        Returns:
            Whether there was one.

        Raises:
            RunExistsError: it belongs to another run, or was made with another version.
            OutputError: it cannot be read, whatever it holds.
        """
        for path in reversed(self._files()):
            self._number = max(self._number, int(path.name[:6]))
            content = _read_whole(path)
            if content is None:
                self._damaged.append(path)
                continue
            self._tell_damaged("the checkpoint before it is used")
            self._take(path, *content)
            return True
        self._tell_damaged("there is none before it, so the run begins anew")
        return False

    def once(self, name: str, kind: type[T], network: nn.Module | None, action: Callable[[], T]) -> T:
        """Do something, unless it was finished before the run was interrupted.

        Args:
            name: tells it from everything else in the run; a part of it is called ``name/part``.
            kind: dataclass of its result.
            network: what it trains; None for something that only has a result.
            action: does it.

        Returns:
            The result; the network holds what the action left in it.
        """
        if name in self._finished:
            plain, tensors = self._finished[name]
            if network is not None:
                network.load_state_dict(tensors, strict=False)
            return from_plain(kind, plain)
        result = action()
        self._finished = {key: value for key, value in self._finished.items() if not key.startswith(f"{name}/")}
        self._finished[name] = (to_plain(result), {} if network is None else trained_state(network))
        self._at_work = None
        self._is_saved = False
        self._save_if(self._is_affordable(0), None)
        return result

    def resume(self, work: Resumable) -> bool:
        """Let a fit go on where it was saved.

        Args:
            work: as it is before its first step.

        Returns:
            Whether it had been saved.
        """
        if self._at_work is None or self._at_work[0] != work.name:
            return False
        work.restore(*self._at_work[1:])
        self._at_work = None
        return True

    def keep(self, work: Resumable, *, epoch_over: bool) -> None:
        """Save if it is time to.

        That is after every epoch, and every few minutes within one, but all saves together never take more than
        `LARGEST_OVERHEAD` of the time.

        Args:
            work: what is at work.
            epoch_over: whether this is the end of an epoch.

        Raises:
            OutputError: the checkpoint cannot be written.
            StoppedError: somebody asked to stop; everything is saved.
        """
        due = epoch_over or time.perf_counter() - self._saved_at >= SAVE_EVERY_SECONDS
        self._save_if(due and self._is_affordable(work.num_bytes), work)

    def leave_if_asked(self, work: Resumable | None = None) -> None:
        """Between two things that are too short for a save of their own.

        Args:
            work: what is at work; None where that would be lost.

        Raises:
            OutputError: the checkpoint cannot be written.
            StoppedError: somebody asked to stop; everything is saved.
        """
        self._save_if(False, work)

    def keep_finished(self) -> None:
        """Save what was finished since the last save, and the note: somebody asked to stop outside of a fit.

        Raises:
            OutputError: the checkpoint cannot be written.
        """
        # The note tells the time and disk spent since the last save, for the resumed run to count. That alone is worth
        # a save, unless the last one holds a fit at work: this one does not, and would be taken before it.
        only_note_is_new = bool(self._finished) and not self._holds_work and self.note() != self.noted
        if self._folder is not None and (only_note_is_new or not self._is_saved):
            self._save(self._folder, None)

    def remove(self) -> None:
        """Remove all checkpoints: the run is over."""
        self.remove_partial_files()
        for path in self._files():
            with suppress(OSError):
                path.unlink()
        if self._folder is not None:
            with suppress(OSError):
                self._folder.rmdir()

    def remove_partial_files(self) -> None:
        """Remove what saves left that were killed."""
        if self._folder is not None:
            remove_partial_files(self._folder)

    def _is_affordable(self, work_bytes: int) -> bool:
        finished = sum(tensor.nbytes for _, state in self._finished.values() for tensor in state.values())
        expected_seconds = max(self._last_seconds, (finished + work_bytes) / self._bytes_per_second)
        elapsed_seconds = time.perf_counter() - self._began
        return self._spent_seconds + expected_seconds <= LARGEST_OVERHEAD * elapsed_seconds

    def _save_if(self, due: bool, work: Resumable | None) -> None:
        # Asked once: a signal that comes after this finds its save at the next step, not an end without one.
        stopping = self._stop.requested is not None
        if self._folder is not None and (due or stopping):
            started = time.perf_counter()
            num_bytes = self._save(self._folder, work)
            self._saved_at = time.perf_counter()
            self._last_seconds = self._saved_at - started
            self._spent_seconds += self._last_seconds
            if num_bytes >= TELLING_BYTES:
                self._bytes_per_second = num_bytes / self._last_seconds
        if stopping:
            self._stop.check()

    def _tell_damaged(self, consequence: str) -> None:
        for path in self._damaged:
            self._listener(Notice("warning", f"{path} is damaged; {consequence}"))

    def _save(self, folder: Path, work: Resumable | None) -> int:
        self._still_ours()
        self.noted = self.note()
        finished = sorted(self._finished)
        tensors = {
            f"finished/{number}/{key}": tensor
            for number, name in enumerate(finished)
            for key, tensor in self._finished[name][1].items()
        }
        header: Plain = {
            "version": CHECKPOINT_VERSION,
            "identity": self._identity,
            "machine": self._machine,
            "note": self.noted,
            "finished": [[name, self._finished[name][0]] for name in finished],
            "at_work": None,
        }
        if work is not None:
            plain, state = work.capture()
            header["at_work"] = [work.name, plain]
            tensors |= {f"at work/{key}": tensor for key, tensor in state.items()}
        content = save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, {"retop": json.dumps(header)})
        try:
            # The run's own folder is not made again: somebody deleted it.
            if not folder.is_dir():
                folder.mkdir()
                sync_folder(folder.parent)
            name = f"{self._number + 1:06d}-{hashlib.sha256(content).hexdigest()}.safetensors"
            write_bytes(folder / name, content)
        except OSError as error:
            raise OutputError(f"a checkpoint cannot be written to {folder}: {error.strerror or error}") from error
        self._number += 1
        self._is_saved = True
        self._holds_work = work is not None
        with suppress(OSError):
            self.on_saved(sum(path.stat().st_size for path in self._files()))
        sound = [path for path in self._files() if path not in self._damaged]
        for path in (*self._damaged, *sound[:-KEPT]):
            with suppress(OSError):
                path.unlink()
        self._damaged = []
        return len(content)

    def _files(self) -> list[Path]:
        """Checkpoints by number."""
        if self._folder is None or not self._folder.is_dir():
            return []
        found = self._folder.glob(f"{'[0-9]' * 6}*-*.safetensors")
        return sorted(found, key=lambda path: int(path.name.split("-")[0]))

    def _take(self, path: Path, header: Plain, tensors: State) -> None:
        if header["version"] != CHECKPOINT_VERSION:
            raise RunExistsError(
                f"{path} has version {header['version']}; this retop reads version {CHECKPOINT_VERSION}. Go on with "
                f"the retop that wrote it, or begin anew with another --out (out=)"
            )
        if changed := differences(header["identity"], self._identity):
            raise RunExistsError(
                f"{path.parent.parent} holds an unfinished run that this one cannot go on with: {'; '.join(changed)}. "
                f"Go on with what it was begun with, or begin anew with another --out (out=)"
            )
        if changed := differences(header["machine"], self._machine):
            self._listener(
                Notice(
                    "warning",
                    f"{path.parent.parent.name} goes on under other conditions ({'; '.join(changed)}): the last digits "
                    f"of its numbers may differ from those of a run that was never interrupted",
                )
            )
        split: dict[str, State] = {}
        for key, tensor in tensors.items():
            place, _, rest = key.partition("/")
            if place == "finished":
                number, _, rest = rest.partition("/")
                place = f"finished/{number}"
            split.setdefault(place, {})[rest] = tensor
        self._finished = {
            name: (plain, split.get(f"finished/{number}", {}))
            for number, (name, plain) in enumerate(header["finished"])
        }
        if header["at_work"] is not None:
            self._holds_work = True
            name, plain = header["at_work"]
            self._at_work = (name, plain, split.get("at work", {}))
        self.noted = header["note"]


def _read_whole(path: Path) -> tuple[Plain, dict[str, torch.Tensor]] | None:
    """Header and tensors of a checkpoint; None if it is not what it was when it was written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OutputError(
            f"the checkpoint {path} cannot be read: {error.strerror or error}. Try again when it can; or move it away, "
            f"and the one before it is used"
        ) from error
    try:
        if hashlib.sha256(content).hexdigest() != path.stem.partition("-")[2]:
            return None
        length = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["retop"])
        return header, load(content)
    except (ValueError, KeyError, SafetensorError):
        return None
