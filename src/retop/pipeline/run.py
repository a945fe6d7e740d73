"""One run from data to model folder, in reading order."""

# N images, F features

import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import nn

from retop.artifact import save_model_folder
from retop.backbones import describe_groups
from retop.backbones.head import Head, LinearHead, build_head
from retop.data import Dataset
from retop.errors import RunExistsError
from retop.evaluation import measure
from retop.events import Event, Listener, Notice, PartAdvanced
from retop.pipeline.calibrating import calibrate_model
from retop.pipeline.clock import Clock
from retop.pipeline.environment import describe_environment
from retop.pipeline.frozen import FrozenPart, HeldInputs, SplitInputs, collect_features, feature_batches
from retop.pipeline.prepared import PreparedRun, fits_memory, holds_features, middle_penalty, only_head, prepare
from retop.pipeline.probe import Features, fit_probe
from retop.pipeline.request import RunFolder, RunRequest, Setting
from retop.predictor import Predictor
from retop.recipe import ImbalanceRecipe, StageRecipe
from retop.records import (
    Environment,
    EpochRecord,
    IsolationRecord,
    Metrics,
    NetworkRecord,
    Predictions,
    RunRecord,
    StageRecord,
    TrainedRecord,
    write_predictions,
    write_record,
)
from retop.records.storing import writing
from retop.schema import to_plain, write_json_lines
from retop.training import (
    Checkpoints,
    LabelledInputs,
    LateNetwork,
    StageData,
    StageResult,
    StageTrainer,
    evaluate_inputs,
    training_mode,
)
from retop.training.isolation import FrozenFeatures, isolate
from retop.training.order import derive_seed, epoch_order
from retop.training.weighting import class_weights
from retop.version import __version__

CROPS = "all of it trains, on crops drawn anew in every epoch"


@dataclass
class _Trained:
    """What training leaves: the head on top of the backbone, and the stages' records."""

    head: Head
    stages: tuple[StageRecord, ...]
    validation_accuracy: float


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
        RetopError: as the parts raise it.
    """
    with writing(folder.path):
        _make_ready(folder)
    shown: list[str] = []
    setting = replace(setting, listener=_noting_warnings(shown, setting.listener))
    clock = Clock(request.name, setting.listener, planned)
    environment = describe_environment(setting.runtime, setting.command)
    with clock.part("build", None, ""):
        prepared = prepare(request, dataset, setting)
    checkpoints = _open_checkpoints(folder, prepared, dataset, setting, environment, clock, shown)
    _tell_what_is_not_stored(prepared, setting)
    trainer = _Trainer(prepared, dataset, setting, clock, folder, checkpoints)
    trained = trainer.fit_probe() if request.kind == "probe" else trainer.fit()
    record = _trained_record(prepared, dataset, trained)
    head = trained.head.folded() if isinstance(trained.head, LinearHead) else trained.head
    with writing(folder.path):
        save_model_folder(folder.model, prepared.backbone, head, record)
    predictions = _evaluate(folder, dataset, setting, clock)
    with writing(folder.path):
        write_predictions(folder.predictions, predictions)
        calibration = calibrate_model(folder.model, predictions[0], request.recipe, setting.listener)
    metrics = [measure(part, "float32", calibration.temperature) for part in predictions]
    isolation = trainer.isolate(predictions[0])
    if lost := _answers_otherwise(trained, metrics[0]):
        setting.listener(Notice("warning", f"{request.name}: {lost}"))
    run = RunRecord(
        name=request.name,
        kind=request.kind,
        seed=request.seed,
        recipe=request.recipe,
        data=dataset.record,
        network=_network_record(prepared, trained, setting),
        precision={
            "prefix": _name(setting.runtime.dtype),
            "stored": _name(setting.runtime.stored) if prepared.source != "images" else "nothing stored",
            "training": _name(setting.runtime.dtype),
            "evaluation": "float32",
        },
        stages=trained.stages,
        validation=metrics[0],
        test=metrics[1] if len(metrics) > 1 else None,
        timings=clock.records(),
        environment=environment,
        warnings=tuple(shown),
        isolation=isolation,
    )
    with writing(folder.path):
        write_record(folder.run, run)
    checkpoints.remove()
    return run


class _Trainer:
    """The stages of one run."""

    def __init__(
        self,
        prepared: PreparedRun,
        dataset: Dataset,
        setting: Setting,
        clock: Clock,
        folder: RunFolder,
        checkpoints: Checkpoints,
    ) -> None:
        self._prepared = prepared
        self._recipe = prepared.request.recipe
        self._dataset = dataset
        self._setting = setting
        self._stopping = stopping(setting)
        self._clock = clock
        self._folder = folder
        self._checkpoints = checkpoints
        self._stored = prepared.source != "images"
        self._head = build_head(
            self._recipe.head,
            prepared.num_features,
            len(dataset.classes),
            derive_seed("head", prepared.request.seed),
        )
        for network in (self._head, prepared.network):
            setting.runtime.place(network)

    @cached_property
    def _inputs(self) -> tuple[SplitInputs, SplitInputs]:
        """Of training and validation; nothing is computed for stages that are finished."""
        return FrozenPart(self._prepared, self._dataset, self._stopping, self._clock).inputs()

    def fit(self) -> _Trained:
        """Stage 1, then stage 2 where late layers are thawed."""
        results: list[StageResult] = []
        if self._recipe.stage1.epochs > 0:
            # All that stage 1 changes is in the head.
            head = LateNetwork(nn.Identity(), self._head)
            results.append(self._checkpoints.once("stage 1", StageResult, head, self._stage1))
        if self._prepared.trains_late_layers:
            # The isolating tests ask for features of the frozen network, which a finished stage 2 would have changed.
            _ = self._inputs
            network = LateNetwork(self._late_suffix(), self._head)
            results.append(self._checkpoints.once("stage 2", StageResult, network, lambda: self._stage2(network)))
        with writing(self._folder.path):
            write_json_lines(self._folder.epochs, (epoch for result in results for epoch in result.history))
        stages = tuple(result.record for result in results)
        return _Trained(self._head, stages, stages[-1].validation_accuracy)

    def fit_probe(self) -> _Trained:
        """The baseline: logistic regression on the features of view 0."""
        train_nf, validation_nf = self._collect()
        held = LabelledInputs(
            HeldInputs(torch.from_numpy(validation_nf.copy())),
            self._dataset.validation.labels_n,
            np.arange(len(validation_nf)),
        )
        weights_k = self._probe_weights()
        with self._clock.part("stage 1", None, ""):
            head, c = fit_probe(
                train_nf,
                self._dataset.train.labels_n,
                validation_nf,
                self._dataset.validation.labels_n,
                len(self._dataset.classes),
                None if weights_k is None else weights_k.tolist(),
            )
            self._head = head.to(self._setting.runtime.device)
            loss, accuracy = evaluate_inputs(LateNetwork(nn.Identity(), self._head), held, self._setting.runtime)
        record = StageRecord(
            stage=1,
            epochs_run=0,
            best_epoch=0,
            learning_rate=0.0,
            learning_rate_chosen_by="recipe",
            weight_decay=1 / (c * len(self._dataset.train)),
            weight_decay_chosen_by="validation",
            validation_accuracy=accuracy,
            validation_loss=loss,
            stopped="finished",
            parameters_trained=sum(p.numel() for p in head.parameters()),
        )
        return _Trained(self._head, (record,), accuracy)

    def isolate(self, predictions: Predictions) -> IsolationRecord | None:
        """Tests that isolate causes, with the saved model and, where they are stored, the frozen network's features."""
        # A baseline is there to be beaten; nobody asks why it did well or badly.
        if not self._recipe.isolating_tests or self._prepared.request.kind != "fine-tuned":
            return None
        prepared, dataset = self._prepared, self._dataset
        stored = self._stored and prepared.needs_features and fits_memory(prepared, dataset)
        with self._clock.part("isolating tests", None, ""):
            return isolate(
                Predictor(self._folder.model, self._setting.runtime.device.type),
                predictions,
                dataset.train,
                dataset.validation,
                FrozenFeatures(*self._collect()) if stored else None,
                num_views=prepared.num_views,
                seed=prepared.request.seed,
            )

    def _stage1(self) -> StageResult:
        recipe, suffix = self._recipe.stage1, self._feature_network()
        train, validation = self._inputs
        if not self._stored and holds_features(self._prepared, self._dataset):
            collected = [HeldInputs(torch.from_numpy(part_nf)) for part_nf in self._collect()]
            train, validation = (SplitInputs(features, None) for features in collected)
            suffix = nn.Identity()
        elif not self._stored and recipe.weight_decay == "auto":
            recipe = replace(recipe, weight_decay=middle_penalty(len(self._dataset.train)))
            self._setting.listener(
                Notice(
                    "warning",
                    f"{self._prepared.request.name}: the whole network runs in every epoch of stage 1, so only one "
                    f"penalty is tried, {recipe.weight_decay:.2g}. The store (--cache DIR) or a penalty of your own "
                    f"(--set stage1.weight_decay=0.001) would do",
                )
            )
        network = LateNetwork(suffix, self._head)
        if isinstance(self._head, LinearHead):
            self._head.calibrate(feature_batches(train.features, suffix, self._setting))
        with only_head(self._prepared):
            return self._stage(1, recipe, network, train, validation, "features")

    def _collect(self) -> tuple[Features, Features]:
        """Features of both splits in memory; a part of its own only where it runs the network."""
        network, num_features = self._feature_network(), self._prepared.num_features
        train, validation = self._inputs
        total = len(train.features) + len(validation.features)
        with self._clock.part("stage 1" if self._stored else "features", total, "images") as shown:
            train_nf, validation_nf = (
                collect_features(part.features, network, num_features, self._stopping, shown)
                for part in (train, validation)
            )
        return train_nf, validation_nf

    def _stage2(self, network: LateNetwork) -> StageResult:
        return self._stage(2, self._recipe.stage2, network, *self._inputs, "late")

    def _late_suffix(self) -> nn.Module:
        split = self._prepared.split
        from_store = split is not None and self._prepared.source == "activations"
        return split.suffix if split is not None and from_store else self._prepared.network

    def _stage(
        self,
        number: int,
        recipe: StageRecipe,
        network: LateNetwork,
        train: SplitInputs,
        validation: SplitInputs,
        which: str,
    ) -> StageResult:
        labels_n = self._dataset.train.labels_n
        learned = replace(
            self._labelled(train, which, labels_n),
            class_weights_k=self._class_weights(),
            balanced=self._recipe.imbalance.sampling == "balanced",
        )
        seed = self._prepared.request.seed
        sample = epoch_order(seed, 0, 0, len(labels_n))[: len(self._dataset.validation)]
        data = StageData(
            learned,
            LabelledInputs(learned.inputs, labels_n, np.sort(sample)),
            self._labelled(validation, which, self._dataset.validation.labels_n),
        )
        with self._clock.part(f"stage {number}", None, "epochs") as shown:

            def on_epoch(epoch: EpochRecord) -> None:
                self._setting.listener(
                    PartAdvanced(shown, min(1, epoch.epoch), f"validation {100 * epoch.validation_accuracy:.1f} %")
                )

            return StageTrainer(
                network,
                training_mode(network, self._prepared.boundary, number == 2 and self._prepared.updates_statistics),
                data,
                recipe,
                stage=number,
                seed=seed,
                runtime=self._setting.runtime,
                listener=self._setting.listener,
                on_epoch=on_epoch,
                checkpoints=self._checkpoints,
            ).run()

    def _class_weights(self) -> torch.Tensor | None:
        return class_weights(self._recipe.imbalance, self._dataset.train.labels_n, self._dataset.classes)

    def _probe_weights(self) -> torch.Tensor | None:
        """Equal shares of the classes are, for a fit on all images at once, weights."""
        imbalance = self._recipe.imbalance
        if imbalance.sampling == "balanced":
            imbalance = ImbalanceRecipe(class_weights="balanced")
        return class_weights(imbalance, self._dataset.train.labels_n, self._dataset.classes)

    def _feature_network(self) -> nn.Module:
        return nn.Identity() if self._stored else self._prepared.network

    def _labelled(self, split: SplitInputs, which: str, labels_n: np.ndarray) -> LabelledInputs:
        inputs = split.late if which == "late" and split.late is not None else split.features
        return LabelledInputs(inputs, labels_n, np.arange(len(labels_n)))


def _make_ready(folder: RunFolder) -> None:
    """An empty folder; what an unfinished run of ours left in it goes."""
    if folder.run.exists():
        raise RunExistsError(f"{folder.path} holds a finished run already; choose another folder with --out")
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.epochs.unlink(missing_ok=True)
    folder.predictions.unlink(missing_ok=True)
    if folder.model.exists():
        shutil.rmtree(folder.model)


def _open_checkpoints(
    folder: RunFolder,
    prepared: PreparedRun,
    dataset: Dataset,
    setting: Setting,
    environment: Environment,
    clock: Clock,
    shown: list[str],
) -> Checkpoints:
    """The run's checkpoints, with what an earlier process left in them."""
    request, listener = prepared.request, setting.listener
    identity = {
        "backbone": request.backbone,
        "kind": request.kind,
        "seed": request.seed,
        "recipe": to_plain(request.recipe),
        "data": dataset.record.fingerprint,
        "weights": prepared.backbone.weights.sha256,
        "inputs": prepared.source,
        "arithmetic": [_name(setting.runtime.dtype), _name(setting.runtime.stored), environment.device],
        "versions": {"retop": environment.retop, **environment.packages},
    }
    machine = {name: getattr(environment, name) for name in ("processor", "threads", "accelerator")}
    checkpoints = Checkpoints(folder.checkpoints, identity, machine, setting.stop, listener)
    if checkpoints.open():
        shown += [message for message in checkpoints.noted["warnings"] if message not in shown]
        clock.add(checkpoints.noted["seconds"])
        listener(Notice("note", f"{request.name} goes on from its newest checkpoint"))
    checkpoints.note = lambda: {"warnings": list(shown), "seconds": clock.so_far()}
    return checkpoints


def stopping(setting: Setting) -> Setting:
    """The setting for work that is lost as a whole if it does not end, and can end whenever it reports progress."""

    def listen(event: Event) -> None:
        setting.listener(event)
        if isinstance(event, PartAdvanced):
            setting.stop.check()

    return replace(setting, listener=listen)


def _evaluate(folder: RunFolder, dataset: Dataset, setting: Setting, clock: Clock) -> tuple[Predictions, ...]:
    """Logits of validation and test, from the saved folder, each image once."""
    sets = [images for images in (dataset.validation, dataset.test) if images is not None]
    with clock.part("evaluation", sum(map(len, sets)), "images") as shown:
        predictor = Predictor(folder.model, setting.runtime.device.type)
        listener = stopping(setting).listener
        return tuple(predictor.evaluate(images, shown, listener) for images in sets)


def _trained_record(prepared: PreparedRun, dataset: Dataset, trained: _Trained) -> TrainedRecord:
    request = prepared.request
    return TrainedRecord(
        classes=dataset.classes,
        preprocessing=prepared.backbone.preprocessing,
        head=request.recipe.head,
        head_features=prepared.num_features,
        backbone=request.backbone,
        boundary=prepared.boundary.group if prepared.trains_late_layers else None,
        kind=request.kind,
        recipe=request.recipe.name,
        seed=request.seed,
        data_fingerprint=dataset.record.fingerprint,
        num_train=len(dataset.train),
        validation_accuracy=trained.validation_accuracy,
        weights=prepared.backbone.weights,
        weights_sha256="",
        retop=__version__,
    )


def _tell_what_is_not_stored(prepared: PreparedRun, setting: Setting) -> None:
    if prepared.reason is None:
        return
    what = "the whole network runs in every epoch" if prepared.trains_late_layers else "nothing is stored"
    # Nobody needs a warning of what was asked for.
    level: Literal["note", "warning"] = "note" if setting.store is None else "warning"
    setting.listener(Notice(level, f"{prepared.request.name}: {what}, {prepared.reason}"))


def _network_record(prepared: PreparedRun, trained: _Trained, setting: Setting) -> NetworkRecord:
    parameters = sum(p.numel() for p in prepared.network.parameters()) + sum(
        p.numel() for p in trained.head.parameters()
    )
    from_store = prepared.source == "activations" or (prepared.source == "features" and not prepared.trains_late_layers)
    stored = prepared.split.bytes_per_image(setting.runtime.stored) if prepared.split else 0
    return NetworkRecord(
        backbone=prepared.request.backbone,
        architecture=prepared.backbone.architecture,
        preprocessing=prepared.backbone.preprocessing,
        weights=prepared.backbone.weights,
        groups=describe_groups(prepared.backbone),
        boundary=prepared.boundary.group if prepared.trains_late_layers else None,
        parameters=parameters,
        parameters_trained=trained.stages[-1].parameters_trained,
        loop="store" if from_store else "whole",
        loop_reason=None if from_store else prepared.reason or CROPS,
        stored_bytes_per_view=stored if prepared.source == "activations" else 0,
    )


def _noting_warnings(shown: list[str], listener: Listener) -> Listener:
    """A listener that also keeps what it warns of."""

    def listen(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning" and event.message not in shown:
            shown.append(event.message)
        listener(event)

    return listen


def _answers_otherwise(trained: _Trained, validation: Metrics) -> str | None:
    """What to tell if the saved model answers otherwise than in training."""
    lost = trained.validation_accuracy - validation.accuracy.value
    if abs(lost) <= max(0.01, 2 / validation.n):
        return None
    return (
        f"the saved model has {100 * validation.accuracy.value:.1f} % on validation, in training it had "
        f"{100 * trained.validation_accuracy:.1f} %; the arithmetic of training was coarser than float32 "
        f"(--precision fp32 tells whether that is why)"
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
