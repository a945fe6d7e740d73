"""One run from data to model folder, in reading order."""

import shutil
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from retop.artifact import save_model_folder
from retop.backbones.head import LinearHead
from retop.backbones.sources import describe_network
from retop.data import Dataset
from retop.data.views import PIXELS_VERSION
from retop.errors import RetopError, RunExistsError, StoppedError
from retop.evaluation import measure
from retop.events import Event, Listener, Notice
from retop.pipeline.beginning import as_begun
from retop.pipeline.calibrating import calibrate_model
from retop.pipeline.clock import Clock
from retop.pipeline.environment import describe_environment
from retop.pipeline.fitting import RunTrainer
from retop.pipeline.prepared import PreparedRun, prepare
from retop.pipeline.recording import (
    about_run,
    answers_otherwise,
    dtype_name,
    network_record,
    precision_record,
    trained_record,
)
from retop.pipeline.request import RunFolder, RunRequest, Setting
from retop.predictor import Predictor
from retop.records import Environment, Predictions, RunRecord, write_predictions, write_record
from retop.records.storing import writing
from retop.schema import remove_partial_files, to_plain
from retop.training import Checkpoints
from retop.training.tracking import RunTracks


def run_backbone(
    request: RunRequest, dataset: Dataset, setting: Setting, folder: RunFolder, planned: dict[str, float] | None = None
) -> RunRecord:
    """Fine-tune one backbone (or fit its baseline), save the model, and measure it through its own folder.

    A run that was interrupted goes on from its newest checkpoint and gives what it would have given.

    Args:
        request: backbone, recipe and seed.
        dataset: the images.
        setting: device, store and listener.
        folder: where the run is written; created, and must not hold a finished run.
        planned: seconds that the plan gave to each part.

    Returns:
        The run's record, as written to run.json.

    Raises:
        StoppedError: somebody asked to stop; the run can be resumed.
        RunExistsError: the folder holds a finished run, or another unfinished one.
        OutputError: the folder cannot be written.
        MemoryRunError: there is no memory for the run, even with one image at a time.
        RetopError: as the parts raise it.
    """
    if folder.run.exists():
        raise RunExistsError(f"{folder.path} holds a finished run already; choose another folder with --out")
    with writing(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    shown: list[str] = []
    setting = replace(setting, listener=_noting_warnings(shown, setting.listener))
    clock = Clock(request.name, setting.listener, planned)
    environment = describe_environment(setting.runtime, setting.command)
    with clock.part("build", None, ""):
        prepared = prepare(request, dataset, setting)
    checkpoints = _open_checkpoints(folder, request, prepared, dataset, setting, environment, clock, shown)
    prepared, setting = as_begun(prepared, request, dataset, setting, checkpoints)
    # From here on the unfinished run in the folder is known to be this one.
    setting.still_ours()
    with writing(folder.path):
        _clear(folder)
    checkpoints.remove_partial_files()
    _tell_what_is_not_stored(prepared, setting)
    with RunTracks(setting.log, folder.path, about_run(request, dataset), setting.listener) as tracks:
        trainer = RunTrainer(prepared, dataset, setting, clock, folder, checkpoints, tracks)
        try:
            run = _make(trainer, prepared, dataset, setting, clock, folder, environment, shown)
        except StoppedError:
            checkpoints.keep_finished()
            raise
        except Exception:
            # Whatever it was, a stage that is finished need not be made again.
            with suppress(OSError, RetopError):
                checkpoints.keep_finished()
            raise
        tracks.log_result([one for one in (run.validation, run.test) if one is not None])
        setting.still_ours()
        with writing(folder.path):
            write_record(folder.run, run)
    checkpoints.remove()
    return run


def _make(
    trainer: RunTrainer,
    prepared: PreparedRun,
    dataset: Dataset,
    setting: Setting,
    clock: Clock,
    folder: RunFolder,
    environment: Environment,
    shown: list[str],
) -> RunRecord:
    """Train, save, measure through the saved folder, and say how it went."""
    request = prepared.request
    trained = trainer.fit_probe() if request.kind == "probe" else trainer.fit()
    record = trained_record(prepared, dataset, trained)
    head = trained.head.folded() if isinstance(trained.head, LinearHead) else trained.head
    setting.still_ours()
    with writing(folder.path):
        save_model_folder(folder.model, prepared.backbone, head, record)
    predictor, predictions = _evaluate(folder, dataset, setting, clock)
    setting.still_ours()
    with writing(folder.path):
        write_predictions(folder.predictions, predictions)
        calibration = calibrate_model(folder.model, predictions[0], request.recipe, setting.listener)
    metrics = [measure(part, "float32", calibration.temperature) for part in predictions]
    network = network_record(prepared, trained, setting)
    isolation = trainer.isolate(predictor, predictions[0], network.groups, trained.stages)
    if lost := answers_otherwise(trained, metrics[0]):
        setting.listener(Notice("warning", f"{request.name}: {lost}"))
    clock.stored("other", folder.num_bytes())
    return RunRecord(
        name=request.name,
        kind=request.kind,
        seed=request.seed,
        recipe=request.recipe,
        data=dataset.record,
        network=network,
        precision=precision_record(prepared, setting),
        stages=trained.stages,
        validation=metrics[0],
        test=metrics[1] if len(metrics) > 1 else None,
        timings=clock.records(),
        environment=environment,
        warnings=tuple(shown),
        isolation=isolation,
    )


def _clear(folder: RunFolder) -> None:
    """Remove what an interrupted process left of what is made anew."""
    remove_partial_files(folder.path)
    for path in (folder.epochs, folder.predictions):
        path.unlink(missing_ok=True)
    if folder.model.exists():
        shutil.rmtree(folder.model)


def _open_checkpoints(
    folder: RunFolder,
    request: RunRequest,
    prepared: PreparedRun,
    dataset: Dataset,
    setting: Setting,
    environment: Environment,
    clock: Clock,
    shown: list[str],
) -> Checkpoints:
    """The run's checkpoints, with what an earlier process left in them."""
    listener, backbone = setting.listener, prepared.backbone
    identity = {
        "backbone": request.backbone,
        "kind": request.kind,
        "seed": request.seed,
        "recipe": to_plain(request.recipe),
        "data": dataset.record.fingerprint,
        "weights": backbone.weights.sha256,
        "network": describe_network(backbone.architecture, backbone.model_args, backbone.pretrained_cfg),
        "cache": "off" if setting.store is None else "on",
        "arithmetic": [dtype_name(setting.runtime.dtype), dtype_name(setting.runtime.stored), environment.device],
        "versions": {"retop": environment.retop, "pixels": str(PIXELS_VERSION), **environment.packages},
    }
    machine = {name: getattr(environment, name) for name in ("processor", "threads", "accelerator")}
    checkpoints = Checkpoints(folder.checkpoints, identity, machine, setting.stop, listener, setting.still_ours)
    if checkpoints.open():
        shown += [message for message in checkpoints.noted["warnings"] if message not in shown]
        clock.add(checkpoints.noted["seconds"], checkpoints.noted.get("disk", {}))
        listener(Notice("note", f"{request.name} goes on from its newest checkpoint"))
    checkpoints.note = lambda: {"warnings": list(shown), "seconds": clock.so_far(), "disk": clock.disk_so_far()}
    checkpoints.on_saved = clock.held
    return checkpoints


def _evaluate(
    folder: RunFolder, dataset: Dataset, setting: Setting, clock: Clock
) -> tuple[Predictor, tuple[Predictions, ...]]:
    """The saved model, and its logits of validation and test, each image once."""
    sets = [images for images in (dataset.validation, dataset.test) if images is not None]
    with clock.part("evaluation", sum(map(len, sets)), "images") as shown:
        predictor = Predictor(folder.model, setting.runtime.device.type, images_at_once=setting.runtime.images_at_once)
        listener = setting.interruptible().listener
        return predictor, tuple(predictor.evaluate(images, shown, listener) for images in sets)


def _tell_what_is_not_stored(prepared: PreparedRun, setting: Setting) -> None:
    if prepared.reason is None:
        return
    what = "the whole network runs in every epoch" if prepared.trains_late_layers else "nothing is stored"
    # Nobody needs a warning of what was asked for.
    level: Literal["note", "warning"] = "note" if setting.store is None else "warning"
    setting.listener(Notice(level, f"{prepared.request.name}: {what}, {prepared.reason}"))


def _noting_warnings(shown: list[str], listener: Listener) -> Listener:
    """A listener that also keeps what it warns of."""

    def listen(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning" and event.message not in shown:
            shown.append(event.message)
        listener(event)

    return listen
