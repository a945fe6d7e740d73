"""The public functions; the command line calls them and prints."""

import datetime
import inspect
import itertools
import json
import math
import operator
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from retop.activations import ActivationStore
from retop.comparison import ComparisonRequest, compare_backbones, make_plan
from retop.comparison.compare import PLAN, check_folder, claim_folder
from retop.comparison.request import Baseline
from retop.data import Dataset, open_dataset, open_evaluation
from retop.data.audit import audit_dataset, audit_survey, exclusions, say_findings
from retop.data.audit.page import write_page
from retop.data.digits import write_digits
from retop.data.lists import write_exclusions as write_exclusion_list
from retop.data.survey import survey_images
from retop.device import DeviceName
from retop.errors import RetopError, RunError, SchemaError, ServingError, UsageError
from retop.evaluation import measure
from retop.events import Event, Listener, Notice, PartFinished, PartStarted
from retop.pipeline import Setting, only_process_in
from retop.places import cache_folder
from retop.predictor import Predictor
from retop.recipe import Recipe, apply_settings, load_recipe
from retop.records import (
    AuditRecord,
    ComparisonRecord,
    Finding,
    Metrics,
    PlanRecord,
    read_record,
    write_record,
    write_split,
)
from retop.records.storing import writing
from retop.report import Format, comparison_html, write_comparison_figures, write_run_figures
from retop.report import write_report as write_report_files
from retop.report.findings import diagnose_folder
from retop.schema import from_plain, to_plain
from retop.stopping import stop_on_signals
from retop.training import choose_runtime

if TYPE_CHECKING:
    from retop.export import Exported
    from retop.export import Format as ExportFormat
    from retop.export.hub import Pushed


def warn(event: Event) -> None:
    """The listener of Python programs: warnings become Python's own, the rest is not shown."""
    if isinstance(event, Notice) and event.level == "warning":
        warnings.warn(event.message, stacklevel=_levels_to_caller())


def _levels_to_caller() -> int:
    """How far above `warn` the call of retop stands: a warning names the user's line, not one of ours."""
    frame: FrameType | None = sys._getframe(1)
    level = outermost = 1
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == "retop":
            outermost = level
        frame, level = frame.f_back, level + 1
    return outermost + 1


@dataclass(frozen=True)
class Comparison:
    """A finished comparison.

    Attributes:
        record: what comparison.json holds.
        folder: where everything was written.
    """

    record: ComparisonRecord
    folder: Path

    @property
    def recommended(self) -> Path:
        """The model folder of the recommended backbone, of its first seed.

        Raises:
            UsageError: no fine-tuned backbone finished.
        """
        for row in self.record.rows:
            if row.name == self.record.recommended:
                return self.folder / row.runs[0] / "model"
        raise UsageError(f"{self.folder} has no recommended model: no fine-tuned backbone finished")

    def load(self) -> Predictor:
        """The recommended model, ready to predict."""
        return Predictor(self.recommended)

    def _repr_html_(self) -> str:
        return comparison_html(self.record)


def compare(
    data: str | Path,
    backbones: Sequence[str],
    *,
    weights: str | Path | None = None,
    recipe: str | Path | Recipe = "default",
    settings: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = 1,
    baselines: Sequence[Baseline] = (),
    out: str | Path | None = None,
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    listener: Listener = warn,
    on_plan: Callable[[PlanRecord, Path], None] | None = None,
) -> Comparison:
    """Fine-tune several backbones on a folder of labelled images and compare them.

    Args:
        data: the folder: ``train/``, ``validation/`` and perhaps ``test/`` with one sub-folder per class, or just
            one sub-folder per class.
        backbones: names: ``vgg16``, ``resnet50``, ``inception_v3``, ``xception``, or any of timm's.
        weights: None for the hub; a folder or ``.safetensors`` file; ``"random"``.
        recipe: a preset's name, a YAML file, or a recipe.
        settings: changes to the recipe, ``{"stage2.epochs": 5}``; with a backbone's name in front for that one alone,
            ``{"vgg16.thaw": "block4"}``.
        seeds: how many, or which.
        baselines: ``"probe"``, ``"scratch"``.
        out: folder of the comparison; None for ``runs/<data>-<time>``. An interrupted comparison goes on in its
            folder.
        device: ``auto`` takes a GPU if there is one.
        cache: True or ``"on"`` for the usual activation store, False or ``"off"`` for none, or a folder.
        cache_limit_bytes: most that the store may hold; None for half of the free disk.
        listener: receives progress and notices; without one, warnings come as Python warnings.
        on_plan: receives the plan and the output folder before the work begins.

    Returns:
        The comparison, which also shows itself in a notebook.

    Raises:
        UsageError: options contradict each other or do not exist.
        DataError: the images cannot be used.
        BackboneError: no such network, or no weights.
        RunError: the output folder holds something else, cannot be written or is in use, or no run finished.
        StoppedError: Ctrl-C or SIGTERM; everything is saved, and `resume` goes on.
    """
    arguments = dict(locals())
    request = build_request(backbones, weights, recipe, settings, seeds, baselines)
    setting = build_setting(request.recipe, device, cache, cache_limit_bytes, listener)
    dataset = _open(data, request.recipe, listener)
    folder = Path(out) if out is not None else default_folder(data)
    request = replace(request, folds=len(dataset.folds) or None)
    audit = audit_dataset(dataset)
    say_findings(audit, listener)
    prepared = check_folder(folder, request, dataset, setting)
    if prepared is None:
        prepared = replace(make_plan(request, dataset, setting, folder), arguments=_repeatable(arguments, request))
    claim_folder(folder, prepared)
    with writing(folder):
        write_record(folder / AUDIT, audit)
        write_split(folder / SPLIT, dataset.split_table())
    if on_plan is not None:
        on_plan(prepared, folder)
    with only_process_in(folder, setting.command, listener), stop_on_signals() as stop:
        record = compare_backbones(request, dataset, prepared, replace(setting, stop=stop), folder)
    with writing(folder):
        draw(folder, record)
        _write_page(folder, listener)
    return Comparison(record, folder)


def resume(
    run: str | Path, *, listener: Listener = warn, on_plan: Callable[[PlanRecord, Path], None] | None = None
) -> Comparison:
    """Go on with a comparison that was interrupted, with the arguments that began it.

    Args:
        run: folder of the comparison, or of one of its runs.
        listener: see `compare`.
        on_plan: see `compare`.

    Returns:
        What `compare` would have returned.

    Raises:
        RunError: the folder holds no comparison.
        RetopError: as `compare`.
    """
    folder = next((each for each in (Path(run), Path(run).absolute().parent) if (each / PLAN).is_file()), None)
    if folder is None:
        raise RunError(f"{run} holds no comparison: it has no {PLAN}. Give the folder that --out (out=) named")
    arguments = dict(read_record(PlanRecord, folder / PLAN).arguments)
    if not arguments:
        raise RunError(f"{folder / PLAN} does not say how it was begun; run the same command again with --out {folder}")
    try:
        arguments["recipe"] = from_plain(Recipe, arguments["recipe"])
        inspect.signature(compare).bind(**arguments)
    except (KeyError, TypeError, SchemaError) as error:
        raise RunError(
            f"{folder / PLAN} was written by another version of retop ({error}); run the same command again with "
            f"--out {folder}"
        ) from error
    return compare(**arguments, out=folder, listener=listener, on_plan=on_plan)


def train(
    data: str | Path,
    backbone: str,
    *,
    weights: str | Path | None = None,
    recipe: str | Path | Recipe = "default",
    settings: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = 1,
    baselines: Sequence[Baseline] = (),
    out: str | Path | None = None,
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    listener: Listener = warn,
    on_plan: Callable[[PlanRecord, Path], None] | None = None,
) -> Comparison:
    """Fine-tune one backbone: `compare` with one contender, baselines aside.

    Args:
        data: as in `compare`, like all the others.
        backbone: name of the network.
        weights: see `compare`.
        recipe: see `compare`.
        settings: see `compare`.
        seeds: see `compare`.
        baselines: see `compare`.
        out: see `compare`.
        device: see `compare`.
        cache: see `compare`.
        cache_limit_bytes: see `compare`.
        listener: see `compare`.
        on_plan: see `compare`.

    Returns:
        A comparison with one contender, baselines aside.

    Raises:
        RetopError: as `compare`.
    """
    return compare(
        data,
        [backbone],
        weights=weights,
        recipe=recipe,
        settings=settings,
        seeds=seeds,
        baselines=baselines,
        out=out,
        device=device,
        cache=cache,
        cache_limit_bytes=cache_limit_bytes,
        listener=listener,
        on_plan=on_plan,
    )


def pretrain(
    data: str | Path,
    backbone: str,
    *,
    recipe: str | Path | Recipe = "pretrain",
    settings: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = 1,
    out: str | Path | None = None,
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    listener: Listener = warn,
    on_plan: Callable[[PlanRecord, Path], None] | None = None,
) -> Comparison:
    """Train one backbone from random weights: `train` with the recipe ``pretrain``.

    Args:
        data: as in `compare`, like all the others.
        backbone: name of the network.
        recipe: see `compare`.
        settings: see `compare`.
        seeds: see `compare`.
        out: see `compare`.
        device: see `compare`.
        cache: see `compare`.
        cache_limit_bytes: see `compare`.
        listener: see `compare`.
        on_plan: see `compare`.

    Returns:
        A comparison with one contender; its ``recommended`` is a folder that ``weights`` takes.

    Raises:
        RetopError: as `compare`.
    """
    return train(
        data,
        backbone,
        weights="random",
        recipe=recipe,
        settings=settings,
        seeds=seeds,
        out=out,
        device=device,
        cache=cache,
        cache_limit_bytes=cache_limit_bytes,
        listener=listener,
        on_plan=on_plan,
    )


def demo_data() -> Path:
    """The images of `retop demo`: scikit-learn's handwritten digits as an image folder, written on first use.

    Returns:
        The folder, which `compare` takes.
    """
    return write_digits(cache_folder() / "demo" / "digits")


def plan(
    data: str | Path,
    backbones: Sequence[str],
    *,
    weights: str | Path | None = None,
    recipe: str | Path | Recipe = "default",
    settings: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] = 1,
    baselines: Sequence[Baseline] = (),
    device: DeviceName = "auto",
    cache: bool | str | Path = True,
    cache_limit_bytes: int | None = None,
    listener: Listener = warn,
) -> PlanRecord:
    """Say what `compare` with the same arguments would compute, how often, for how long, with how much disk.

    Args:
        data: as in `compare`, like all the others.
        backbones: see `compare`.
        weights: see `compare`.
        recipe: see `compare`.
        settings: see `compare`.
        seeds: see `compare`.
        baselines: see `compare`.
        device: see `compare`.
        cache: see `compare`.
        cache_limit_bytes: see `compare`.
        listener: receives progress and notices; without one, warnings come as Python warnings.

    Returns:
        The plan.

    Raises:
        RetopError: as `compare`.
    """
    request = build_request(backbones, weights, recipe, settings, seeds, baselines)
    setting = build_setting(request.recipe, device, cache, cache_limit_bytes, listener)
    dataset = _open(data, request.recipe, listener)
    say_findings(audit_dataset(dataset), listener)
    return make_plan(replace(request, folds=len(dataset.folds) or None), dataset, setting)


def check(
    data: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    embeddings: tuple[Sequence[str], npt.NDArray[np.float32]] | None = None,
    page: str | Path | None = None,
    write_exclusions: str | Path | None = None,
    listener: Listener = warn,
) -> AuditRecord:
    """Audit a set of labelled images: what is wrong or odd with it, and what to do. Nothing of it is changed.

    Args:
        data: as in `compare`.
        settings: changes to the recipe's section ``data``, such as ``{"data.exclude": "list.csv"}``.
        embeddings: paths, and the vectors [N, F] of a network for them, to find copies that look different.
        page: a file for the same as one page with pictures; it must not exist.
        write_exclusions: a file for the list of images that ``--exclude`` would leave out; it must not exist.
        listener: receives progress and notices; without one, warnings come as Python warnings.

    Returns:
        The findings, the gravest first.

    Raises:
        DataError: the images cannot be listed, or none can be read.
        UsageError: an option does not fit the data, or a file exists already.
    """
    recipe = apply_settings(load_recipe("default"), _as_texts(settings)).data
    survey = survey_images(data, recipe, listener)
    record = audit_survey(survey, recipe, embeddings)
    if write_exclusions is not None:
        write_exclusion_list(Path(write_exclusions), exclusions(record))
    if page is not None:
        write_page(Path(page), record, survey.source)
    return record


def load(
    model: str | Path,
    device: DeviceName = "cpu",
    *,
    reject_below: float | None = None,
    target_accuracy: float | None = None,
) -> Predictor:
    """Load a trained model.

    Args:
        model: a model folder, or a run's folder.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for a GPU if there is one.
        reject_below: refuse answers with a lower confidence ("none of these"); None for the threshold in the folder.
        target_accuracy: choose that threshold so that the answers given reach this accuracy on validation.

    Returns:
        A predictor: ``load(folder).predict("photo.jpg")``.

    Raises:
        ModelFolderError: the folder cannot be loaded.
        UsageError: the device is not there, or the threshold cannot be had.
    """
    return Predictor(model, device, reject_below=reject_below, target_accuracy=target_accuracy)


def export(
    model: str | Path | Predictor,
    format: "ExportFormat" = "onnx",  # noqa: A002 - the option's name
    *,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    data: str | Path | None = None,
    out: str | Path | None = None,
    images: int = 64,
    allowed_drop: float = 0.02,
    listener: Listener = warn,
) -> "Exported":
    """Write a model in another format, and prove on real images that it answers as the model does.

    Args:
        model: a model folder, or a loaded predictor on the CPU.
        format: ``onnx``, ``torch`` (torch.export), ``timm`` or ``openvino``.
        precision: ``fp32``; ``fp16`` and ``int8`` for ONNX.
        data: images for the check; None for those of the model's run.
        out: folder to write; None for one beside the model folder.
        images: of the check, at least 64.
        allowed_drop: fraction of the images that fp16 and int8 may lose.
        listener: receives progress and notices.

    Returns:
        The folder and the figures of the check.

    Raises:
        UsageError: arguments contradict each other, the folder holds something, or nothing says where images are.
        DataError: the images cannot be used.
        ExportError: the format cannot hold the model, or a file does not answer as the model does.
    """
    from retop.export import ExportRequest, export_model

    request = ExportRequest(format, precision, images, allowed_drop)
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    return export_model(predictor, request, data, None if out is None else Path(out), listener)


def serve(
    models: Sequence[str | Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key_file: str | Path | None = None,
    reject_below: float | None = None,
    target_accuracy: float | None = None,
    device: DeviceName = "auto",
    limits: Mapping[str, float] | None = None,
) -> None:
    """Serve trained models over HTTP until the process is told to stop.

    Args:
        models: model folders or run folders; ``NAME=FOLDER`` names one.
        host: address to listen on; anything but this machine takes a key.
        port: 0 takes a free one.
        api_key_file: holds the key that requests must carry.
        reject_below: refuse answers with a lower confidence; None for the threshold in each folder.
        target_accuracy: choose that threshold so that the answers given reach this accuracy on validation.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for a GPU if there is one.
        limits: changes to `retop.serving.Limits`.

    Raises:
        UsageError: two models have one name, or the options contradict each other.
        ModelFolderError: a folder cannot be loaded.
        ServingError: the address cannot be had, or the server's packages are missing.
    """
    try:
        from retop.serving import Limits, serve_models
    except ImportError as error:
        raise ServingError(f"the server needs {error.name}: pip install 'retop[serve]'") from error

    predictors: dict[str, Predictor] = {}
    for model in models:
        name, folder = name_model(str(model))
        if name in predictors:
            raise UsageError(f"two models are called {name!r}; name them: retop serve first={folder} second=...")
        predictors[name] = Predictor(folder, device, reject_below=reject_below, target_accuracy=target_accuracy)
    key_file = None if api_key_file is None else Path(api_key_file)
    serve_models(predictors, host, port, key_file, Limits(**dict(limits or {})))  # type: ignore[arg-type]


def explain(model: str | Path | Predictor, image: str | Path, folder: str | Path, label: str | None = None) -> Path:
    """Write a heat map: the parts of an image that speak for a class.

    Args:
        model: a model folder, or a loaded predictor.
        image: path of an image.
        folder: where to; created.
        label: the class; None for the most probable one.

    Returns:
        The PNG, named after the image; a number is added where the name is taken.

    Raises:
        UnreadableImageError: the image cannot be read.
    """
    from retop.explanation import overlay_of
    from retop.predictor.prediction import read_pixels

    predictor = model if isinstance(model, Predictor) else Predictor(model)
    picture = overlay_of(predictor, read_pixels(image, predictor.trained.preprocessing), label)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    names = itertools.chain([Path(image).stem], (f"{Path(image).stem}-{n}" for n in itertools.count(2)))
    file = next(place / f"{name}.png" for name in names if not (place / f"{name}.png").exists())
    picture.save(file)
    return file


def push(model: str | Path | Predictor, repository: str, *, private: bool = False, dry_run: bool = False) -> "Pushed":
    """Share a model on the Hugging Face hub.

    Args:
        model: a model folder, or a loaded predictor.
        repository: ``user/name``; made where it does not exist.
        private: make a new repository private.
        dry_run: send nothing.

    Returns:
        The files, and the address.

    Raises:
        UsageError: the name is no repository's.
        ExportError: the hub refuses, or cannot be reached.
    """
    from retop.export.hub import push_model

    predictor = model if isinstance(model, Predictor) else Predictor(model)
    return push_model(predictor, repository, private, dry_run)


def name_model(text: str) -> tuple[str, Path]:
    """Name and folder of ``NAME=FOLDER``, or of a folder: the run's name, else the folder's."""
    name, equals, folder = text.partition("=")
    if equals and re.fullmatch(r"[\w.-]+", name) and not Path(text).exists():
        return name, Path(folder)
    path = Path(text).resolve()
    own = path.parent.name if path.name == "model" else path.name
    return re.sub(r"[^\w.-]+", "-", own) or "model", Path(text)


def evaluate(
    model: str | Path | Predictor,
    data: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    device: DeviceName = "cpu",
    listener: Listener = warn,
) -> Metrics:
    """Measure a trained model on labelled images.

    Args:
        model: a model folder, or a loaded predictor.
        data: a folder as for `compare`: its test images are used, or its validation images. Where there are neither:
            if the model was trained on this folder with the default split, the test images of that split; otherwise
            all, with a warning, for the model may have been trained on some of them.
        settings: changes to the recipe's section ``data``: columns, exclusions, and the split of training.
        device: ``cpu``, ``cuda``, ``mps``, or ``auto`` for a GPU if there is one; a loaded predictor keeps its own.
        listener: receives progress and notices; without one, warnings come as Python warnings.

    Returns:
        The metrics.

    Raises:
        ModelFolderError: the folder cannot be loaded.
        UsageError: the device is not there.
        DataError: the images cannot be used.
    """
    predictor = model if isinstance(model, Predictor) else Predictor(model, device)
    recipe = apply_settings(load_recipe("default"), _as_texts(settings)).data
    images = open_evaluation(data, predictor.classes, listener, predictor.trained.data_fingerprint, recipe)
    listener(PartStarted("evaluation", len(images), "images"))
    predictions = predictor.evaluate(images, "evaluation", listener)
    listener(PartFinished("evaluation", 0.0))
    return measure(predictions, predictor.precision, predictor.temperature)


def write_report(
    *runs: str | Path,
    form: Format = "html",
    out: str | Path | None = None,
    data: str | Path | None = None,
    explain: bool = False,
) -> Path:
    """Write a report of finished comparisons or runs, from their records alone.

    Args:
        *runs: folders of comparisons or of single runs; several are shown on one page.
        form: ``html`` one self-contained page; ``markdown``; ``json``; ``csv``: the facts of every figure, a file
            each; ``png`` and ``svg``: the main figures, a file each.
        out: where to; None for a place in the first folder.
        data: where the images lie now, if they were moved.
        explain: first make heat maps (Grad-CAM) of the worst and the most doubtful images, with the saved models.

    Returns:
        What was written.

    Raises:
        UsageError: no folder is named.
        RunError: a folder holds no finished comparison or run, or the report cannot be written.
    """
    if not runs:
        raise UsageError("a report needs the folder of a comparison or a run: retop report RUN (write_report(folder))")
    return write_report_files(
        [Path(run) for run in runs],
        form,
        None if out is None else Path(out),
        None if data is None else Path(data),
        explain,
    )


def diagnose(run: str | Path, *, predictions: Sequence[str | Path] = ()) -> tuple[Finding, ...]:
    """Say what a finished run's records mean.

    Args:
        run: folder of a comparison or of a single run.
        predictions: files of another program's predictions on the same images (predictions.parquet), to be compared.

    Returns:
        Findings, the gravest first.

    Raises:
        RunError: the folder holds no finished comparison or run, or a file cannot be read.
    """
    return diagnose_folder(Path(run), [Path(file) for file in predictions])


def _as_texts(settings: Mapping[str, Any] | None) -> dict[str, str]:
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in (settings or {}).items()}


def build_request(
    backbones: Sequence[str],
    weights: str | Path | None,
    recipe: str | Path | Recipe,
    settings: Mapping[str, Any] | None,
    seeds: int | Sequence[int],
    baselines: Sequence[Baseline],
) -> ComparisonRequest:
    """The request that the arguments of `compare` make.

    Raises:
        UsageError: they contradict each other or do not exist.
    """
    if isinstance(backbones, str):
        raise UsageError(f"backbones must be a list of names; received the text {backbones!r}")
    chosen = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    shared, overrides = {}, []
    for key, value in (settings or {}).items():
        backbone = _backbone_of(key, backbones)
        if backbone is None:
            shared[key] = _as_yaml(key, value)
        else:
            overrides.append((backbone, key.removeprefix(f"{backbone}."), _as_yaml(key, value)))
    return ComparisonRequest(
        backbones=tuple(backbones),
        weights=None if weights is None else str(weights),
        recipe=apply_settings(chosen, shared),
        overrides=tuple(overrides),
        seeds=_read_seeds(seeds),
        baselines=tuple(baselines),
    )


def _backbone_of(key: str, backbones: Sequence[str]) -> str | None:
    """The backbone that a setting is for; None where it is for all."""
    # A name may begin with another one: resnet50.tv_in1k and resnet50.
    for name in sorted((*backbones, "scratch"), key=len, reverse=True):
        if key.startswith(f"{name}."):
            return name
    first, dot, _ = key.partition(".")
    return first if dot and first not in {field.name for field in fields(Recipe)} else None


def _as_yaml(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        # Scalars and arrays of NumPy know themselves as Python values.
        return json.dumps(value, default=lambda other: other.tolist())
    except (AttributeError, TypeError, ValueError) as error:
        raise UsageError(
            f"settings[{key!r}] must be text, a number, a list, a mapping or None; received {type(value).__name__}"
        ) from error


def _read_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    try:
        # Whole numbers of any library, but no text and no fractions.
        return tuple(map(operator.index, seeds if isinstance(seeds, Iterable) else range(operator.index(seeds))))
    except TypeError as error:
        raise UsageError(
            f"seeds must be a whole number (how many) or a list of them (which) (--seeds); received {seeds!r}"
        ) from error


def build_setting(
    recipe: Recipe, device: DeviceName, cache: bool | str | Path, cache_limit_bytes: int | None, listener: Listener
) -> Setting:
    """Device, store and listener of a comparison.

    Raises:
        UsageError: the device is not there, or the store has no name or no size.
    """
    if not str(cache).strip():
        raise UsageError("cache is empty; it takes True, False or a folder (--cache on|off|DIR)")
    if cache_limit_bytes is not None and not 0 < cache_limit_bytes < math.inf:
        raise UsageError(f"cache_limit_bytes must be above 0 (--cache-limit); received {cache_limit_bytes}")
    folder = None if cache in (True, "on") else Path(str(cache))
    store = None if cache in (False, "off") else ActivationStore(folder, cache_limit_bytes)
    return Setting(choose_runtime(device, recipe.precision), store, _command(), listener)


AUDIT, SPLIT = "audit.json", "split.parquet"


def default_folder(data: str | Path) -> Path:
    """``runs/<name of the data>-<time>``."""
    name = re.sub(r"[^\w.-]+", "-", Path(str(data)).resolve().name) or "data"
    return Path("runs") / f"{name}-{datetime.datetime.now().astimezone():%Y%m%d-%H%M%S}"


def draw(folder: Path, record: ComparisonRecord) -> tuple[Path, ...]:
    """Curves and confusion matrices of every run and of the whole.

    Args:
        folder: of the comparison.
        record: what comparison.json holds.

    Returns:
        The files.
    """
    files: list[Path] = []
    for row in record.rows:
        for run in row.runs:
            files += write_run_figures(folder / run)
    return (*files, *write_comparison_figures(folder))


def _write_page(folder: Path, listener: Listener) -> None:
    try:
        write_report(folder)
    except RetopError as error:
        # The comparison is finished and on disk; a page can be written again at any time.
        listener(Notice("warning", f"no report was written: {error}. Try again: retop report {folder}"))


def _repeatable(arguments: dict[str, Any], request: ComparisonRequest) -> dict[str, Any]:
    """Arguments of `compare` as JSON can hold them, with which it can be called again from anywhere."""
    kept = {name: value for name, value in arguments.items() if name not in ("out", "listener", "on_plan")}
    kept |= {"backbones": request.backbones, "seeds": request.seeds, "baselines": request.baselines}
    recipe = kept["recipe"]
    kept["recipe"] = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    for name, value in kept.items():
        # The working folder may be another one later; a word such as "random" is none of its files.
        place = name in ("data", "weights") and value not in (None, "random") and Path(str(value)).exists()
        if place or isinstance(value, Path):
            kept[name] = str(Path(value).absolute())
        elif isinstance(value, Mapping):
            kept[name] = {key: str(item) if isinstance(item, Path) else item for key, item in value.items()}
    return {name: to_plain(value) for name, value in kept.items()}


def _open(data: str | Path, recipe: Recipe, listener: Listener) -> Dataset:
    return open_dataset(data, recipe.data, listener)


def _command() -> str:
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
