"""What the room on disk and in memory decided when a run began. A resumed run keeps to it, or it would be another."""

from dataclasses import dataclass, replace

from retop.data import Dataset
from retop.errors import RunExistsError
from retop.events import Notice
from retop.pipeline.memory_need import AtOnce, fit_into_memory
from retop.pipeline.prepared import PreparedRun, Source, lengthened
from retop.pipeline.request import RunRequest, Setting
from retop.room import memory_room
from retop.training import Checkpoints


@dataclass(frozen=True)
class Beginning:
    """What was decided.

    Attributes:
        source: as in `PreparedRun`.
        reason: as in `PreparedRun`.
        features_fit: as in `PreparedRun`.
        at_once: images that go through the network at once.
    """

    source: Source
    reason: str | None
    features_fit: bool
    at_once: AtOnce


def as_begun(
    prepared: PreparedRun, asked: RunRequest, dataset: Dataset, setting: Setting, checkpoints: Checkpoints
) -> tuple[PreparedRun, Setting]:
    """A run and its setting as they were when it began; for a run that begins, as they are.

    Args:
        prepared: the run, as it would begin now.
        asked: what it was prepared for.
        dataset: its images.
        setting: device, store and listener.
        checkpoints: of the run, opened.

    Returns:
        Both.

    Raises:
        MemoryRunError: a run that begins does not fit into memory, even with one image at a time.
        RunExistsError: another limit of the store asks for another run than the one that was begun.
    """
    begun = checkpoints.once(
        "beginning",
        Beginning,
        None,
        lambda: Beginning(
            prepared.source,
            prepared.reason,
            prepared.features_fit,
            fit_into_memory(prepared, dataset, setting.runtime, memory_room()),
        ),
    )
    if begun.source != prepared.source:
        _tell_what_changed(prepared, begun, setting)
    if begun.at_once.reason is not None:
        setting.listener(Notice("warning", begun.at_once.reason))
    kept = replace(
        prepared,
        request=lengthened(asked, begun.source, len(dataset.train)),
        source=begun.source,
        reason=begun.reason,
        features_fit=begun.features_fit,
    )
    return kept, setting.with_images_at_once(begun.at_once.images)


def _tell_what_changed(prepared: PreparedRun, begun: Beginning, setting: Setting) -> None:
    """Free disk comes and goes, and the run stays what it is; a limit is what somebody wants."""
    changed = f"{prepared.request.name} was begun with {begun.source} as inputs and would now take {prepared.source}"
    why = f" ({reason})" if (reason := prepared.reason or begun.reason) else ""
    if setting.store is not None and setting.store.limit_is_chosen:
        raise RunExistsError(
            f"{changed}{why}. Go on with the limit of the store that it was begun with (--cache-limit, "
            f"cache_limit_bytes=), or begin anew with another --out (out=)"
        )
    setting.listener(Notice("note", f"{changed}{why}; it goes on as it was begun. Another --out (out=) begins anew"))
