"""Runs that are finished in the folder of a comparison: whole, or named with the way out."""

from retop.artifact.config import CONFIG
from retop.artifact.weights import WEIGHTS
from retop.data import Dataset
from retop.errors import DamagedError, RunError
from retop.pipeline import RunFolder, RunRequest
from retop.pipeline.prepared import Source, lengthened
from retop.records import FinishedRun, PlannedRun, RunRecord, read_finished_run, read_record
from retop.schema import differences, to_plain

SOURCES: tuple[Source, ...] = ("images", "features", "activations")


def read_whole_run(folder: RunFolder) -> FinishedRun:
    """A finished run, with all that is expected of it.

    Args:
        folder: of the run.

    Returns:
        The run; it has predictions to rank it by.

    Raises:
        DamagedError: a file is gone or cannot be read.
    """
    files = (folder.predictions, folder.model / CONFIG, folder.model / WEIGHTS)
    try:
        run = read_finished_run(folder.path)
        if missing := [path for path in files if not path.is_file()]:
            raise DamagedError(f"{missing[0]} is gone")
        if run.ranked is None:
            raise DamagedError(f"{folder.predictions} has no answers of the split that is ranked")
    except RunError as error:
        raise DamagedError(f"{error}. Delete {folder.path}, and the same command makes the run again") from error
    return run


def differs_from(folder: RunFolder, run: RunRequest, planned: PlannedRun, dataset: Dataset) -> list[str]:
    """How a finished run differs from what is asked for, in words; a run.json that is damaged says nothing.

    Args:
        folder: of the run.
        run: what is asked for.
        planned: the same, as plan.json has it.
        dataset: the images, of the run's fold.
    """
    try:
        record = read_record(RunRecord, folder.run)
    except DamagedError:
        return []
    found = [] if record.data.fingerprint == dataset.record.fingerprint else [f"the images of {run.name} differ"]
    made = {"kind": record.kind, "seed": record.seed, "weights": record.network.weights.sha256}
    changed = differences(made, {"kind": run.kind, "seed": run.seed, "weights": planned.weights_sha256})
    # A run may have had as many epochs as its steps asked for.
    recipes = [lengthened(run, source, len(dataset.train)).recipe for source in SOURCES]
    before = to_plain(record.recipe)
    by_source = [differences(before, to_plain(recipe), "recipe") for recipe in recipes]
    least = min(by_source, key=len)
    return found + [f"{run.name}: {each}" for each in (*changed, *least)]
