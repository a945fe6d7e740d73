"""``make bench``: retop against the loops that people write, each side in a process of its own."""

import argparse
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from hardware import describe_hardware
from images import make_images
from processes import HERE, measure
from results import Results
from spec import IMAGE_SIZES, Spec
from table import write_page

SIDES = {
    "prefix": ("prefix", {}),
    "ours": ("ours", {}),
    "ours_choosing": ("ours", {"choosing": True}),
    "plain_torch": ("plain_torch", {}),
    "plain_torch_tuned": ("plain_torch", {"channels_last": True}),
    "keras_tf": ("keras_tf", {}),
}
"""Module and changes to the spec, by name. ``prefix`` is measured once, not for every number of views."""

QUICK_BACKBONE = "resnet50"
QUICK_SIDES = ("ours", "plain_torch", "keras_tf")


@dataclass(frozen=True)
class Settings:
    """What is measured; in the results file.

    Attributes:
        quick: whether this is the check that everything works.
        device: ``cpu`` or ``cuda``.
        num_train: training images.
        num_validation: validation images.
        head_epochs: epochs of stage 1.
        late_epochs: epochs of stage 2.
        batch_size: images per step.
        views: numbers of views, 1 being no augmentation.
        measure_steps: steps timed per pass on the other sides; None for all.
        workers: decoding processes of plain PyTorch.
        images: what the images are, in words.
        order: all backbones.
    """

    quick: bool
    device: str
    num_train: int
    num_validation: int
    head_epochs: int
    late_epochs: int
    batch_size: int
    views: list[int]
    measure_steps: int | None
    workers: int
    images: str
    order: list[str]


@dataclass(frozen=True)
class Job:
    """One measurement to be made."""

    backbone: str
    side: str
    views: int


def main() -> None:
    chosen = _arguments()
    hardware = describe_hardware()
    settings = _settings(chosen)
    jobs = list(_jobs(chosen, settings))
    with tempfile.TemporaryDirectory(prefix="retop-bench-images-") as name:
        folder = Path(name) / "images"
        settings = replace(settings, images=make_images(folder, settings.num_train, settings.num_validation))
        default = HERE / "results" / f"{'quick-' if chosen.quick else ''}{date.today()}-{hardware.slug}.json"
        run_jobs(jobs, settings, folder, Results(chosen.out or default, hardware, asdict(settings)), chosen.limit)


def run_jobs(
    jobs: list[Job],
    settings: Settings,
    images: Path,
    results: Results,
    limit_seconds: float,
    sides: dict[str, tuple[str, dict[str, object]]] = SIDES,
) -> None:
    """Make the measurements one after the other and write results as they come.

    Args:
        jobs: what to measure.
        settings: how.
        images: folder with ``train/`` and ``validation/``.
        results: receives every outcome.
        limit_seconds: for each measurement.
        sides: as `SIDES`.
    """
    page = results.path.parent / ("quick.md" if settings.quick else f"latest{'-gpu' * (settings.device == 'cuda')}.md")
    for number, job in enumerate(jobs, 1):
        module, changes = sides[job.side]
        print(f"[{number}/{len(jobs)}] {job.backbone}, {job.side}, views {job.views}: ", end="", flush=True)
        spec = replace(_spec(settings, images, job), **changes)
        outcome = measure(module, spec, limit_seconds)
        results.add(job.backbone, job.side, job.views, outcome)
        page.write_text(write_page(results), encoding="utf-8")
        print(_describe(outcome.status, outcome.result, outcome.process_seconds, outcome.error), flush=True)
    print(f"\n{results.path}\n{page}")


def _describe(status: str, result: dict | None, process_seconds: float, error: str) -> str:
    if result is None:
        return f"{status} after {process_seconds:.0f} s\n{error}"
    if "seconds" not in result:
        return f"{result['images_per_second']:.1f} images/s ({process_seconds:.0f} s)"
    return f"{'~' if result['extrapolated'] else ''}{result['seconds']:.1f} s (measured in {process_seconds:.0f} s)"


def _spec(settings: Settings, images: Path, job: Job) -> Spec:
    return Spec(
        backbone=job.backbone,
        images=str(images),
        num_train=settings.num_train,
        num_validation=settings.num_validation,
        scratch="",
        head_epochs=settings.head_epochs,
        late_epochs=settings.late_epochs,
        batch_size=settings.batch_size,
        views=job.views,
        measure_steps=settings.measure_steps,
        device=settings.device,
        workers=settings.workers,
    )


def _settings(chosen: argparse.Namespace) -> Settings:
    quick = chosen.quick
    return Settings(
        quick=quick,
        device="cpu",
        num_train=32 if quick else 512,
        num_validation=32 if quick else 128,
        head_epochs=1 if quick else 10,
        late_epochs=1 if quick else 10,
        batch_size=32,
        views=[1] if quick else [1, 4],
        measure_steps=None if quick or chosen.whole else chosen.measure_steps,
        workers=2,
        images="",
        order=list(IMAGE_SIZES),
    )


def _jobs(chosen: argparse.Namespace, settings: Settings) -> Iterator[Job]:
    """Backbone by backbone, so that what is compared is measured side by side."""
    for backbone in chosen.backbones or ([QUICK_BACKBONE] if chosen.quick else list(IMAGE_SIZES)):
        for views in [chosen.views] if chosen.views else settings.views:
            for side in chosen.sides or (QUICK_SIDES if chosen.quick else tuple(SIDES)):
                if views == 1 or side != "prefix":
                    yield Job(backbone, side, views)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", type=some_of(IMAGE_SIZES), help=f"some of {','.join(IMAGE_SIZES)}; default: all")
    parser.add_argument("--sides", type=some_of(SIDES), help=f"some of {','.join(SIDES)}; default: all")
    parser.add_argument("--views", type=int, help="only with this number of views; default: 1 and 4")
    parser.add_argument("--quick", action="store_true", help="32 images, one epoch, one backbone: does it run?")
    parser.add_argument("--whole", action="store_true", help="run every epoch of every side: hours, nothing calculated")
    parser.add_argument("--measure-steps", type=int, default=6, help="steps timed per pass of the others; default: 6")
    parser.add_argument("--limit", type=float, default=3600, help="seconds for one measurement; default: 3600")
    parser.add_argument("--out", type=Path, help="results file; one that exists is continued")
    return parser.parse_args()


def some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there is {', '.join(known)}")
        return names

    return parse


if __name__ == "__main__":
    main()
