"""The stages of one run: from stored activations to a trained head and late layers."""

# N images, F features

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import nn

from retop.backbones.head import Head, LinearHead, build_head
from retop.data import Dataset
from retop.events import Notice, PartAdvanced
from retop.pipeline.clock import Clock
from retop.pipeline.frozen import FrozenPart, HeldInputs, SplitInputs, collect_features, feature_batches
from retop.pipeline.prepared import PreparedRun, middle_penalty, only_head
from retop.pipeline.probe import Features, fit_probe
from retop.pipeline.request import RunFolder, Setting
from retop.predictor import Predictor
from retop.predictor.predictor import EVALUATION_BATCH
from retop.recipe import ImbalanceRecipe, StageRecipe
from retop.records import EpochRecord, GroupRecord, IsolationRecord, Predictions, StageRecord
from retop.records.storing import writing
from retop.schema import write_json_lines
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
from retop.training.allowance import Allowance
from retop.training.costs import FIXED_SECONDS, Costs
from retop.training.isolation import isolate
from retop.training.kept import StatisticsToKeep
from retop.training.order import derive_seed, epoch_order
from retop.training.probing import FrozenFeatures
from retop.training.tracking import RunTracks
from retop.training.weighting import class_weights


@dataclass
class Trained:
    """What training leaves: the head on top of the backbone, and the stages' records."""

    head: Head
    stages: tuple[StageRecord, ...]
    validation_accuracy: float


class RunTrainer:
    """The stages of one run."""

    def __init__(
        self,
        prepared: PreparedRun,
        dataset: Dataset,
        setting: Setting,
        clock: Clock,
        folder: RunFolder,
        checkpoints: Checkpoints,
        tracks: RunTracks,
    ) -> None:
        self._prepared = prepared
        self._recipe = prepared.request.recipe
        self._dataset = dataset
        self._setting = setting
        self._stopping = setting.interruptible()
        self._clock = clock
        self._folder = folder
        self._checkpoints = checkpoints
        self._tracks = tracks
        self._stored = prepared.source != "images"
        self._head = build_head(
            self._recipe.head,
            prepared.num_features,
            len(dataset.classes),
            derive_seed("head", prepared.request.seed),
        )
        following = prepared.boundary.parameter_names if prepared.updates_statistics else ()
        self._statistics = StatisticsToKeep(prepared.backbone.network, following)
        for network in (self._head, prepared.network):
            setting.runtime.place(network)

    @cached_property
    def _inputs(self) -> tuple[SplitInputs, SplitInputs]:
        """Of training and validation; nothing is computed for stages that are finished."""
        return FrozenPart(self._prepared, self._dataset, self._stopping, self._clock).inputs()

    def fit(self) -> Trained:
        """Stage 1, then stage 2 where late layers are thawed."""
        results: list[StageResult] = []
        if self._recipe.stage1.epochs > 0:
            # All that stage 1 changes is in the head.
            head = LateNetwork(nn.Identity(), self._head)
            results.append(self._finish("stage 1", head, self._stage1))
        if self._prepared.trains_late_layers:
            # The isolating tests ask for features of the frozen network, which a finished stage 2 would have changed.
            _ = self._inputs
            network = LateNetwork(self._prepared.late_suffix, self._head)
            results.append(self._finish("stage 2", network, lambda: self._stage2(network)))
        self._setting.still_ours()
        with writing(self._folder.path):
            write_json_lines(self._folder.epochs, (epoch for result in results for epoch in result.history))
        stages = tuple(result.record for result in results)
        return Trained(self._head, stages, stages[-1].validation_accuracy)

    def _finish(self, name: str, network: LateNetwork, stage: Callable[[], StageResult]) -> StageResult:
        result = self._checkpoints.once(name, StageResult, network, stage)
        for epoch in result.history:
            self._tracks.log_epoch(epoch)
        return result

    def fit_probe(self) -> Trained:
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
        return Trained(self._head, (record,), accuracy)

    def isolate(
        self,
        predictor: Predictor,
        predictions: Predictions,
        groups: Sequence[GroupRecord],
        stages: Sequence[StageRecord],
    ) -> IsolationRecord | None:
        """Tests that isolate causes, with the saved model and, where they are stored, the frozen network's features."""
        # A baseline is there to be beaten; nobody asks why it did well or badly.
        if not self._recipe.isolating_tests or self._prepared.request.kind != "fine-tuned":
            return None
        prepared, dataset = self._prepared, self._dataset
        stored = self._stored and prepared.needs_features and prepared.features_fit
        costs = Costs(
            groups,
            prepared.backbone.preprocessing,
            accelerated=self._setting.runtime.device.type != "cpu",
        )
        with self._clock.part("isolating tests", None, ""):
            # The other tests change the predictor's batch norms.
            kept = self._statistics.compare(predictor.classifier.image_network.body)
            tests = isolate(
                predictor,
                predictions,
                dataset.train,
                dataset.validation,
                (lambda: FrozenFeatures(*self._collect())) if stored else None,
                frozen=prepared.frozen_groups,
                seed=prepared.request.seed,
                costs=costs,
                allowance=self._allowance(costs, stages),
            )
            return replace(tests, kept_statistics=kept)

    def _allowance(self, costs: Costs, stages: Sequence[StageRecord]) -> Allowance:
        """A share of what the run does with a full store, too: what is stored changes no number."""
        data, recipes = self._dataset, {1: self._recipe.stage1, 2: self._recipe.stage2}
        num_train, num_validation = len(data.train), len(data.validation)
        measured = num_validation + (len(data.test) if data.test else 0)
        sizes = num_train, num_validation + min(num_train, num_validation)
        num_frozen = len(self._prepared.frozen_groups)
        spent = FIXED_SECONDS + costs.passing(measured, EVALUATION_BATCH)
        spent += sum(costs.training(one, num_frozen, sizes, recipes[one.stage].batch_size) for one in stages)
        return Allowance(self._recipe.isolating_share * spent, stop=self._setting.stop)

    def _stage1(self) -> StageResult:
        recipe, suffix = self._recipe.stage1, self._feature_network()
        train, validation = self._inputs
        if self._prepared.holds_features:
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
        # Which of several attempts the stage will hand on is known at its end.
        several = recipe.weight_decay == "auto"
        with self._clock.part(f"stage {number}", None, "epochs") as shown:

            def on_epoch(epoch: EpochRecord) -> None:
                if not several:
                    self._tracks.log_epoch(epoch)
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
