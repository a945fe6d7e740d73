"""The two stages: the head on the frozen backbone, then the head and the late layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retop.backbones import Boundary, set_batch_norm_mode
from retop.errors import DivergedError
from retop.events import Listener, Notice
from retop.recipe import StageRecipe
from retop.records import EpochRecord, StageRecord
from retop.training.checkpoints import Checkpoints
from retop.training.loop import Fitted, fit
from retop.training.network import LabelledInputs, LateNetwork, trained_parameters
from retop.training.runtime import Runtime
from retop.training.state import trained_state
from retop.training.step_size import find_learning_rate

PENALTIES_C = (1e-3, 3e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class StageData:
    """What a stage learns from and is judged by.

    Attributes:
        train: training images in all their views.
        train_sample: training images that are evaluated after every epoch, or None.
        validation: validation images.
    """

    train: LabelledInputs
    train_sample: LabelledInputs | None
    validation: LabelledInputs


@dataclass(frozen=True)
class StageResult:
    """How a stage went.

    Attributes:
        record: its summary.
        history: its epochs.
    """

    record: StageRecord
    history: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class _StepSize:
    """What a range test found."""

    learning_rate: float


@dataclass(frozen=True)
class _Attempt:
    """How the fit with one penalty ended: with a result, or with the reason why there is none."""

    fitted: Fitted | None
    diverged: str | None


class StageTrainer:
    """Trains one stage of one network.

    Args:
        network: suffix and head.
        enter_training: puts the network's modules into their training modes.
        data: what the stage learns from.
        recipe: of the stage.
        stage: 1 or 2.
        seed: of the run.
        runtime: device and arithmetic.
        listener: receives warnings.
        on_epoch: receives every epoch of every attempt.
        checkpoints: where the state is kept; None keeps nothing.
    """

    def __init__(
        self,
        network: LateNetwork,
        enter_training: Callable[[], None],
        data: StageData,
        recipe: StageRecipe,
        *,
        stage: int,
        seed: int,
        runtime: Runtime,
        listener: Listener,
        on_epoch: Callable[[EpochRecord], None],
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.network = network
        self._enter_training = enter_training
        self._data = data
        self._recipe = recipe
        self._stage = stage
        self._seed = seed
        self._runtime = runtime
        self._listener = listener
        self._on_epoch = on_epoch
        self._checkpoints = checkpoints or Checkpoints()
        self._start = trained_state(network)

    def run(self) -> StageResult:
        """Train the stage; the network then holds the best epoch.

        Raises:
            DivergedError: it diverged twice with every penalty.
            StoppedError: somebody asked to stop; the state is saved.
        """
        best: tuple[Fitted, float] | None = None
        best_state = self._start
        diverged: str | None = None
        for weight_decay in self._penalties():
            attempt = self._attempt(weight_decay)
            fitted = attempt.fitted
            if fitted is None:
                diverged = attempt.diverged
                continue
            if best is None or fitted.best.comparable_loss < best[0].best.comparable_loss:
                best, best_state = (fitted, weight_decay), trained_state(self.network)
        if best is None:
            raise DivergedError(diverged or f"stage {self._stage} has no penalty to try")
        self.network.load_state_dict(best_state, strict=False)
        return self._result(*best)

    def _penalties(self) -> Sequence[float]:
        """Weight decays to try: the recipe's, or those of a grid of logistic regressions with C = 1 / (N decay)."""
        if self._recipe.weight_decay != "auto":
            return (self._recipe.weight_decay,)
        return tuple(1 / (c * len(self._data.train.rows)) for c in PENALTIES_C)

    def _attempt(self, weight_decay: float) -> _Attempt:
        """The fit with one penalty, from the state that the stage began with."""
        name = f"stage {self._stage}/penalty {weight_decay!r}"
        self.network.load_state_dict(self._start, strict=False)

        def attempt() -> _Attempt:
            found = self._checkpoints.once(f"{name}/step size", _StepSize, None, lambda: self._rate(weight_decay))
            try:
                return _Attempt(self._fit(found.learning_rate, weight_decay), None)
            except DivergedError as error:
                if self._recipe.weight_decay != "auto":
                    raise
                self._listener(Notice("warning", f"{error}. The penalty {weight_decay:.2g} is left out"))
                # What has diverged is never saved.
                self.network.load_state_dict(self._start, strict=False)
                return _Attempt(None, str(error))

        return self._checkpoints.once(name, _Attempt, self.network, attempt)

    def _rate(self, weight_decay: float) -> _StepSize:
        if self._recipe.learning_rate != "auto":
            return _StepSize(self._recipe.learning_rate)
        return _StepSize(
            find_learning_rate(
                self.network,
                self._enter_training,
                self._data.train,
                self._recipe,
                weight_decay=weight_decay,
                seed=self._seed,
                stage=self._stage,
                runtime=self._runtime,
                leave_if_asked=self._checkpoints.leave_if_asked,
            )
        )

    def _fit(self, learning_rate: float, weight_decay: float) -> Fitted:
        return fit(
            self.network,
            self._enter_training,
            self._data.train,
            self._data.train_sample,
            self._data.validation,
            self._recipe,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            seed=self._seed,
            stage=self._stage,
            runtime=self._runtime,
            on_epoch=self._on_epoch,
            checkpoints=self._checkpoints,
            listener=self._listener,
        )

    def _result(self, fitted: Fitted, weight_decay: float) -> StageResult:
        record = StageRecord(
            stage=2 if self._stage == 2 else 1,
            epochs_run=len(fitted.history) - 1,
            best_epoch=fitted.best.epoch,
            learning_rate=fitted.learning_rate,
            learning_rate_chosen_by="range test" if self._recipe.learning_rate == "auto" else "recipe",
            weight_decay=weight_decay,
            weight_decay_chosen_by="validation" if self._recipe.weight_decay == "auto" else "recipe",
            validation_accuracy=fitted.best.validation_accuracy,
            validation_loss=fitted.best.comparable_loss,
            stopped="patience" if fitted.stopped_early else "finished",
            parameters_trained=sum(p.numel() for p in trained_parameters(self.network)),
        )
        return StageResult(record, fitted.history)


def training_mode(network: LateNetwork, boundary: Boundary, update_statistics: bool) -> Callable[[], None]:
    """What puts a network into training mode.

    Dropout acts in the head; the suffix behaves as in evaluation, save that thawed batch norms use and update their
    batch's statistics if asked.

    Args:
        network: suffix and head.
        boundary: which layers of the suffix are thawed.
        update_statistics: whether thawed batch norms follow the batches.

    Returns:
        A function that does it.
    """

    def enter() -> None:
        network.suffix.eval()
        network.head.train()
        set_batch_norm_mode(network.suffix, boundary, update_statistics)

    return enter
