"""One export from model to proven files, in reading order."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from retop.data import Dataset
from retop.errors import ExportError, UsageError
from retop.events import Listener, Notice, PartFinished, PartStarted, ignore
from retop.export.parity import ExportedPart, ParityRow, Part, Precision, check_parity
from retop.export.sample import Sample, find_dataset, read_pixels, take_sample
from retop.predictor import Predictor
from retop.records.storing import writing
from retop.schema import write_bytes, write_json

Format = Literal["onnx", "torch", "timm", "openvino"]
FORMATS: tuple[Format, ...] = ("onnx", "torch", "timm", "openvino")
CALIBRATION_IMAGES = 128
UNCHECKED = ".unchecked"
"""Folder of what has not passed the check yet."""


@dataclass(frozen=True)
class Exported:
    """What an export left.

    Attributes:
        folder: where it is.
        rows: the parity check of each file.
    """

    folder: Path
    rows: tuple[ParityRow, ...]


@dataclass(frozen=True)
class ExportRequest:
    """What shall be written.

    Attributes:
        format: of the files.
        precision: ``fp32``; ``fp16`` and ``int8`` for ONNX.
        images: images of the parity check, at least 64.
        allowed_drop: fraction of the images whose right answer fp16 and int8 may lose.
    """

    format: Format
    precision: Precision = "fp32"
    images: int = 64
    allowed_drop: float = 0.02

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(f"no format {self.format!r}; there are {', '.join(FORMATS)}")
        if self.precision not in ("fp32", "fp16", "int8"):
            raise UsageError(f"no precision {self.precision!r}; there are fp32, fp16 and int8")
        if self.precision != "fp32" and self.format != "onnx":
            raise UsageError(f"--precision {self.precision} exists for --format onnx; received --format {self.format}")
        if not 0 <= self.allowed_drop <= 1:
            raise UsageError(f"--allowed-drop must lie between 0 and 1; received {self.allowed_drop}")

    @property
    def name(self) -> str:
        """Of the folder, such as ``onnx-int8``."""
        return self.format if self.precision == "fp32" else f"{self.format}-{self.precision}"


def export_model(
    predictor: Predictor,
    request: ExportRequest,
    data: str | Path | None = None,
    out: Path | None = None,
    listener: Listener = ignore,
) -> Exported:
    """Write a model in another format and prove that it answers as the model does.

    Args:
        predictor: the model.
        request: what shall be written.
        data: images for the check; None for those of the model's run.
        out: folder to write; None for one beside the model folder, named after format and precision.
        listener: receives progress and notices.

    Returns:
        The folder and the check of each file.

    Raises:
        UsageError: the folder holds something, or nothing says where images are.
        ExportError: the format cannot hold the model, or a file does not answer as the model does; then it is named
            ``.failed``.
    """
    folder = out if out is not None else predictor.folder.parent / request.name
    with writing(folder):
        # What an interrupted export left unchecked is nobody's.
        if folder.exists() and any(entry.name != UNCHECKED for entry in folder.iterdir()):
            raise UsageError(
                f"{folder} holds something already, and nothing is overwritten; choose another --out (out=...)"
            )
    dataset = find_dataset(predictor, data, listener)
    sample = take_sample(predictor, dataset, request.images)
    rows = []
    listener(PartStarted(f"export to {request.name}", None, "files"))
    with writing(folder):
        shutil.rmtree(folder / UNCHECKED, ignore_errors=True)
        (folder / UNCHECKED).mkdir(parents=True)
        for exported in _write(predictor, request, folder, dataset, listener):
            rows.append(check_parity(exported, sample, request.precision, request.allowed_drop))
            _name(folder, rows[-1].passed)
        (folder / UNCHECKED).rmdir()
        write_json(folder / "parity.json", {"format": request.format, "rows": rows})
    listener(PartFinished(f"export to {request.name}", 0.0))
    _refuse_failures(folder, rows)
    return Exported(folder, tuple(rows))


def _name(folder: Path, passed: bool) -> None:
    """Give what was written and checked last its name, with all that belongs to it."""
    for entry in (folder / UNCHECKED).iterdir():
        entry.rename(folder / (entry.name if passed else f"{entry.name}.failed"))


def _write(
    predictor: Predictor, request: ExportRequest, folder: Path, dataset: Dataset, listener: Listener
) -> Iterator[ExportedPart]:
    """Write the files one after the other below `UNCHECKED`, each opened in its own runtime."""
    try:
        if request.format == "timm":
            from retop.export.timm_folder import open_timm, write_timm

            write_timm(predictor, folder / UNCHECKED / "timm")
            with open_timm(folder / UNCHECKED / "timm", predictor) as exported:
                yield exported
            return
        from retop.export.onnx_files import describe_model

        if request.format == "torch":
            from retop.export.torch_file import open_torch, write_torch

            file = folder / UNCHECKED / "network.pt2"
            write_torch(predictor, file, describe_model(predictor, "network", "fp32"))
            yield open_torch(file)
            return
        yield from _write_onnx(predictor, request, folder, dataset, listener)
    except ImportError as error:
        extra = "openvino" if request.format == "openvino" else "export"
        raise ExportError(f"--format {request.format} needs {error.name}: pip install 'retop[{extra}]'") from error


def _write_onnx(
    predictor: Predictor, request: ExportRequest, folder: Path, dataset: Dataset, listener: Listener
) -> Iterator[ExportedPart]:
    from retop.export.onnx_files import convert_network, describe_in, halve, join, open_onnx, quantise
    from retop.export.script import write_script

    network = convert_network(predictor)
    if request.precision == "fp16":
        network = halve(network)
    elif request.precision == "int8":
        rows = np.linspace(0, len(dataset.train) - 1, min(CALIBRATION_IMAGES, len(dataset.train))).round()
        pixels_nchw = read_pixels([(dataset.train, rows.astype(np.int64))], predictor.trained.preprocessing)
        network = quantise(network, pixels_nchw)
    models = {"network": network}
    try:
        models["whole"] = join(predictor, network)
    except ExportError as error:
        listener(Notice("warning", f"{error}; only the network part is written"))
    for part, model in models.items():
        which: Part = "whole" if part == "whole" else "network"
        describe_in(model, predictor, which, request.precision)
        if request.format == "openvino":
            from retop.export.openvino_files import open_openvino, write_openvino

            write_openvino(model, folder / UNCHECKED / f"{which}.xml")
            yield open_openvino(folder / UNCHECKED / f"{which}.xml", which)
        else:
            write_bytes(folder / UNCHECKED / f"{which}.onnx", model.SerializeToString())
            yield open_onnx(folder / UNCHECKED / f"{which}.onnx", which)
    if (folder / "whole.onnx").exists():
        write_script(folder / "predict.py")


def _refuse_failures(folder: Path, rows: list[ParityRow]) -> None:
    failed = [row for row in rows if not row.passed]
    if not failed:
        return
    found = "; ".join(
        f"{row.file}: probabilities differ by up to {row.largest_difference:.2g} (allowed: {row.tolerance}), "
        f"{row.num_changed} of {row.n} images have another class"
        if row.tolerance is not None
        else f"{row.file}: {row.num_lost} of {row.n} answers are lost (allowed: {row.allowed_drop:.1%}), "
        f"{row.num_changed} images have another class"
        for row in failed
    )
    raise ExportError(
        f"{found}. The files are kept in {folder} under names that end in .failed; parity.json has the figures. "
        f"--precision fp32 or another --format may do"
    )


__all__ = ["FORMATS", "ExportRequest", "Exported", "Format", "Sample", "export_model"]
