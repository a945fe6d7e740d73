"""Answers in a file: written as they come, so that an interrupted prediction goes on where it was.

The answers are gathered in ``.NAME.partial`` beside the file, one JSON object a line under a first line that says whose
answers they are. When all are there, the file is written from it, whole, and the gathering goes. One process at a time
does so, and a file that appeared under the name in the meantime is not touched.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from retop.data.sources.names import shown
from retop.errors import UsageError
from retop.events import Listener, ignore
from retop.predictor.prediction import Prediction
from retop.predictor.predictor import Predictor
from retop.predictor.rows import WRITERS, Row, as_line, as_row, columns
from retop.records.lock import only_process_at
from retop.records.storing import writing
from retop.schema import PARTIAL, sync_folder
from retop.version import __version__

SUFFIXES = tuple(WRITERS)
OPTION = "--output"


class PredictionFile:
    """One file of answers; use it as a context, which keeps other processes away.

    Args:
        path: ``.csv``, ``.jsonl`` or ``.parquet``.
        predictor: whose answers it holds.
        top: classes in each row.
        listener: receives a warning where the file system knows no locks.

    Attributes:
        partial: where answers are gathered.
        num_done: answers that are gathered.
        num_unreadable: those among them that say why an image cannot be read.

    Raises:
        UsageError: the file exists, or its name has another ending.
    """

    def __init__(self, path: Path, predictor: Predictor, top: int, listener: Listener = ignore) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(f"{OPTION} must end in {', '.join(SUFFIXES)}; received {path}")
        self._path = path
        self._refuse_existing()
        self._top = top
        self.partial = path.with_name(f".{path.name}{PARTIAL}")
        trained = predictor.trained
        self._header: Row = {
            "weights_sha256": trained.weights_sha256,
            "temperature": predictor.temperature,
            "reject_below": predictor.reject_below,
            "top": top,
            "retop": __version__,
        }
        self.num_done = self.num_unreadable = 0
        self._listener = listener
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Take the file for this process and find the answers that are there.

        Raises:
            UsageError: the file exists, or the answers are another model's.
            RunBusyError: another process is writing it.
            OutputError: its folder cannot be written.
        """
        command = " ".join([Path(sys.argv[0]).name, *map(shown, sys.argv[1:])])
        with ExitStack() as held:
            held.enter_context(only_process_at(self._path, OPTION, command, self._listener))
            # Another process may have finished it before it was ours.
            self._refuse_existing()
            with self._writing():
                self._recover()
            self._held = held.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def remaining(self, paths: Iterable[str]) -> Iterator[str]:
        """The images that have no answer yet.

        Args:
            paths: all images, in the same order as before.

        Yields:
            Those after the last answer.

        Raises:
            UsageError: the images differ from those that have answers.
        """
        coming = iter(paths)
        for number, row in enumerate(self._rows(), 1):
            path = next(coming, None)
            if path is None or shown(path) != row["path"]:
                raise UsageError(
                    f"{self.partial} holds answers for other images: number {number} was {row['path']}, now it is "
                    f"{path and shown(path)}. Name the same images in the same order, choose another {OPTION}, or "
                    f"delete that file"
                )
        yield from coming

    def gather(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Write answers down as they pass.

        Args:
            predictions: for the remaining images.

        Yields:
            The same.

        Raises:
            OutputError: they cannot be written.
        """
        # Begun with the first answer: a command that ends before it leaves nothing.
        opened: IO[str] | None = None
        try:
            for prediction in predictions:
                with self._writing():
                    opened = opened or self._begin()
                    opened.write(as_line(as_row(prediction, self._top)))
                    opened.flush()
                self.num_done += 1
                self.num_unreadable += prediction.error is not None
                yield prediction
        finally:
            if opened is not None:
                with self._writing():
                    os.fsync(opened.fileno())
                    opened.close()

    def finish(self) -> None:
        """Write the file and let the gathering go.

        Raises:
            UsageError: a file of this name appeared in the meantime; the answers stay in `partial`.
            OutputError: it cannot be written.
        """
        whole = self._path.with_name(f".{self._path.name}.whole")
        with self._writing():
            WRITERS[self._path.suffix.lower()](whole, self._rows(), columns(self._top))
            with whole.open("rb+") as file:
                os.fsync(file.fileno())
            self._publish(whole)
            sync_folder(self._path.parent)
            self.partial.unlink(missing_ok=True)

    def _publish(self, whole: Path) -> None:
        """Give a file its name, unless something has it: a second name, then the first one goes."""
        try:
            os.link(whole, self._path)
        except FileExistsError:
            whole.unlink()
            self._refuse_existing(f"; all answers are in {self.partial}: move {self._path.name} away and repeat")
        except OSError:
            # A file system without second names.
            self._refuse_existing()
            whole.rename(self._path)
            return
        whole.unlink()

    def _refuse_existing(self, way_out: str = f"; choose another {OPTION}") -> None:
        if os.path.lexists(self._path):
            raise UsageError(f"{self._path} exists already, and nothing is overwritten{way_out}")

    def _writing(self) -> Any:
        return writing(self._path.parent, OPTION)

    def _begin(self) -> IO[str]:
        # Whatever is there without an answer may be another command's.
        mode = "a" if self.num_done else "w"
        opened = self.partial.open(mode, encoding="utf-8")
        if not self.num_done:
            opened.write(as_line(self._header))
        return opened

    def _recover(self) -> None:
        """Count the answers that are there; what a process left half written is answered again."""
        if not self.partial.exists():
            return
        with self.partial.open("rb") as file:
            first = file.readline()
            kept = len(first)
            for line in file:
                row = _parse(line)
                if row is None:
                    break
                kept += len(line)
                self.num_done += 1
                self.num_unreadable += row.get("error") is not None
        if self.num_done and _parse(first) != self._header:
            raise UsageError(
                f"{self.partial} holds answers of another model, threshold, --top or version; choose another "
                f"{OPTION}, or delete that file"
            )
        if self.num_done:
            os.truncate(self.partial, kept)

    def _rows(self) -> Iterator[Row]:
        if self.num_done == 0:
            return
        with self.partial.open(encoding="utf-8") as file:
            next(file, None)
            for line in file:
                yield json.loads(line)


def _parse(line: bytes) -> Row | None:
    """An object on a whole line; None for anything else."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if line.endswith(b"\n") and isinstance(row, dict) else None
