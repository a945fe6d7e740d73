"""Tables on the terminal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from retop.evaluation.numerals import count, percent, percent_range, seconds, short, size
from retop.records import ComparisonRecord, ComparisonRow, GroupRecord, Metrics, PlanRecord, describe_shares
from retop.terminal import printable

if TYPE_CHECKING:
    from retop.export import Exported

WIDE = 92
MEDIUM = 72
PARTS = ("prefix", "stage 1", "stage 2")


def comparison_table(record: ComparisonRecord) -> RenderableType:
    """The ranking, what it was made with, and what it can and cannot show.

    Args:
        record: of the comparison.

    Returns:
        A renderable; on a terminal narrower than 92 columns it keeps one column for all seconds and
        tells those of the parts below, narrower than 72 only rank, name and accuracy.
    """
    return _Ranking(record)


def plan_table(plan: PlanRecord) -> RenderableType:
    """What will be computed, how often, for how long, with how much disk.

    Args:
        plan: of a run or a comparison.

    Returns:
        A renderable with the sums in its last line.
    """
    table = _table()
    table.add_column("run", overflow="fold")
    table.add_column("part", no_wrap=True)
    table.add_column("computed", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("disk", justify="right", no_wrap=True)
    before = ""
    for part in plan.parts:
        time = "?" if part.seconds is None else seconds(part.seconds)
        disk = size(part.disk_bytes) if part.disk_bytes else ""
        table.add_row(*map(Text, (part.run if part.run != before else "", part.part, part.how_often, time, disk)))
        before = part.run
    table.add_section()
    unknown = " + ?" if any(part.seconds is None for part in plan.parts) else ""
    total = seconds(sum(part.seconds or 0.0 for part in plan.parts)) + unknown
    table.add_row("all", "", "", total, size(sum(part.disk_bytes for part in plan.parts)), style="bold")
    notes = [f"At most {size(plan.memory_bytes)} of memory; the store may take {size(plan.disk_free_bytes)} of disk."]
    if plan.class_shares:
        notes.append(printable(describe_shares(plan.class_shares)))
    return Group(table, *(Padding(Text(note), (0, 0, 0, 1)) for note in notes))


def groups_table(name: str, groups: Sequence[GroupRecord], boundary: str | None = None) -> RenderableType:
    """A backbone's groups, from stem to last stage.

    Args:
        name: of the backbone.
        groups: in order.
        boundary: first group that is thawed; None to mark none.

    Returns:
        A renderable.
    """
    table = _table(f"{name}: groups from stem to last stage")
    for column in ("group", "parameters", "FLOPs", "stored per view"):
        table.add_column(column, justify="left" if column == "group" else "right", no_wrap=True)
    if boundary:
        table.add_column("")
    thawed = False
    for group in groups:
        thawed = thawed or group.name == boundary
        cells = (group.name, short(group.parameters), short(group.flops), size(group.stored_bytes))
        state = ("thawed in stage 2" if thawed else "frozen",) if boundary else ()
        table.add_row(*map(Text, cells + state), style="" if thawed or not boundary else "dim")
    all_parameters, all_flops = sum(group.parameters for group in groups), sum(group.flops for group in groups)
    table.add_section()
    table.add_row("all", short(all_parameters), short(all_flops), "")
    note = "--thaw GROUP trains that group and all below it in this table; stored: activations at that boundary."
    return Group(table, Padding(note, (0, 0, 0, 1)))


def metrics_table(metrics: Metrics) -> RenderableType:
    """Quality on one split, and per class.

    Args:
        metrics: as measured.

    Returns:
        A renderable.
    """
    split = "no split" if metrics.split == "all" else metrics.split
    table = _table(f"{split}, {metrics.n:,} images, {metrics.precision}")
    for name in ("class", "n", "precision", "recall", "F1"):
        table.add_column(name, justify="left" if name == "class" else "right")
    for row in metrics.classes:
        values = [f"{value:.3f}" if value is not None else "" for value in (row.precision, row.recall, row.f1)]
        table.add_row(Text(printable(row.label)), f"{row.n:,}", *values)
    n = metrics.n
    note = (
        f"{metrics.num_right:,} of {n:,} right: accuracy {percent(metrics.accuracy.value, n)} "
        f"({percent_range(metrics.accuracy, n)}); balanced accuracy {percent(metrics.balanced_accuracy.value, n)}; "
        f"macro F1 {metrics.macro_f1.value:.3f}; log loss {metrics.log_loss:.3f}; "
        f"calibration error {metrics.calibration_error:.3f}"
    )
    if metrics.calibrated is not None:
        note += (
            f"; after temperature {metrics.calibrated.temperature:.2f}: log loss {metrics.calibrated.log_loss:.3f}, "
            f"calibration error {metrics.calibrated.calibration_error:.3f}"
        )
    return Group(table, Padding(note, (0, 0, 0, 1)))


def misses_table(metrics: Metrics, most: int = 20, *, run: str = "", folds: int | None = None) -> RenderableType:
    """The wrong answers, the most confident first.

    Args:
        metrics: of one split.
        most: rows at most.
        run: name of the run that was measured; none where a model was evaluated and nothing is written.
        folds: how many runs measured it together, of which `run` is the first; None for one.

    Returns:
        A renderable; a sentence where nothing was missed.
    """
    missed = metrics.n - metrics.num_right
    images = count(metrics.n, "image" if metrics.split == "all" else f"{metrics.split} image")
    measured, beside = run, f"{run}/predictions.parquet holds"
    if folds is not None:
        measured = run.removesuffix("-f0")
        beside = f"predictions.parquet in {measured}-f0 to -f{folds - 1} hold"
    owner = f"{measured}: " if run else ""
    if not missed:
        return Text(f"{owner}none of {images} missed.")
    table = _table(f"{owner}{missed:,} of {images} missed")
    table.add_column("image", overflow="fold")
    table.add_column("label", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("confidence", justify="right", no_wrap=True)
    for image in metrics.missed[:most]:
        names = [Text(printable(name)) for name in (image.path, image.label, image.predicted)]
        table.add_row(*names, percent(image.confidence, 1000))
    if missed <= most:
        return table
    listed = f"{beside} them all" if run else f"--json lists {len(metrics.missed)} of them"
    return Group(table, Padding(Text(f"and {missed - most:,} more: {listed}."), (0, 0, 0, 1)))


@dataclass(frozen=True)
class _Ranking:
    record: ComparisonRecord

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.record.rows:
            yield self._table(options.max_width)
        yield Padding(Text(self._caption(), style="dim"), (0, 0, 0, 1))
        if self.record.rows and options.max_width < WIDE:
            yield Padding(Text(self._seconds_of_parts(), style="dim"), (0, 0, 0, 1))
        if self.record.statements:
            yield ""
        for statement in self.record.statements:
            bullet = Table.grid(padding=(0, 1))
            bullet.add_row("-", Text(printable(statement)))
            yield Padding(bullet, (0, 0, 0, 1))

    def _table(self, room: int) -> Table:
        table = _table()
        for place, (header, justify) in enumerate(self._headers(room)):
            table.add_column(header, justify=justify, no_wrap=place != 1, overflow="fold")
        for row in self.record.rows:
            chosen = row.name == self.record.recommended
            table.add_row(*map(Text, self._cells(row, room)), style="bold" if chosen else "")
        return table

    def _headers(self, room: int) -> list[tuple[str, Literal["left", "right"]]]:
        accuracy = f"accuracy, %\n{self.record.rows[0].metrics.n:,} {self.record.ranked_on}"
        numbers = [accuracy]
        if room >= MEDIUM:
            parts = ("prefix\ns", "st. 1\ns", "st. 2\ns") if room >= WIDE else ("all\ns",)
            numbers = ["input", "trained", accuracy, "st. 1\nval. %", "st. 2\nval. %", *parts]
        return [("rank", "left"), ("backbone", "left"), *((text, "right") for text in numbers)]

    def _cells(self, row: ComparisonRow, room: int) -> list[str]:
        mark = " *" if row.name == self.record.recommended else ""
        mean, n = row.seeds.mean, row.metrics.n
        spread = percent_range(mean, n).removesuffix(" %").replace(" to ", "–")
        front = [f"{row.rank} tied" if row.tied_with else f"{row.rank}", row.name + mark + " †" * row.recipe_differs]
        accuracy = f"{_number(mean.value, n)} ({spread})"
        if room < MEDIUM:
            return [*front, accuracy]
        height, width = row.input_size
        square = f"{height}" if height == width else f"{height}x{width}"
        parts = PARTS if room >= WIDE else ("total",)
        stages = [self._on_validation(value) for value in (row.stage1_accuracy, row.stage2_accuracy)]
        times = [_seconds(row.seconds.get(part, 0.0)) for part in parts]
        return [*front, square, short(row.parameters_trained), accuracy, *stages, *times]

    def _seconds_of_parts(self) -> str:
        """What a narrow table has no room for."""
        told = [
            f"{row.name} {', '.join(_seconds(row.seconds.get(part, 0.0)) or '–' for part in PARTS)}"
            for row in self.record.rows
        ]
        return f"Seconds in {', '.join(PARTS)}: {'; '.join(told)}."

    def _on_validation(self, accuracy: float | None) -> str:
        sizes = {split.name: sum(split.per_class) for split in self.record.data.splits}
        return "" if accuracy is None else _number(accuracy, sizes.get("validation", 1000))

    def _caption(self) -> str:
        record = self.record
        seeds = ", ".join(map(str, record.seeds))
        notes = [
            f"Recipe {record.recipe.name}, the same for all{' but those with †' * _any_differs(record)}; "
            f"{'seed' if len(record.seeds) == 1 else 'seeds'} {seeds}; ranked on {record.ranked_on}"
            f"{', which selection has touched' * (record.ranked_on == 'validation')}; in brackets the 95 % interval; "
            f"st.: stage, val.: validation."
        ]
        if any(row.tied_with for row in record.rows):
            notes.append("Tied: no difference established.")
        if record.recommended:
            notes.append("* recommended, chosen on validation.")
        return " ".join(notes)


def parity_table(exported: "Exported") -> RenderableType:
    """What the parity check found, one row per file; what all files share stands in the title."""
    first = exported.rows[0]
    judged = (
        "equal to the model"
        if first.allowed_drop is None
        else f"{first.precision}, at most {first.allowed_drop:.1%} of the answers lost"
    )
    table = _table(f"{exported.folder}: {judged}, on {first.n} images")
    cells = [
        (
            row.file,
            f"{row.largest_difference:.1e}",
            str(row.num_changed),
            f"{row.num_lost} ({100 * row.lost.low:.1f} to {row.lost.high:.1%})",
            "" if row.accuracy is None else f"{row.accuracy:.3f} -> {row.accuracy_exported:.3f}",
        )
        for row in exported.rows
    ]
    headings = ("file", "largest difference", "other class", "answers lost (95 % interval)", "accuracy")
    for heading, values in zip(headings, zip(*cells, strict=True), strict=True):
        # Headings may be broken; a figure that is cut short says nothing.
        table.add_column(heading, no_wrap=heading == "file", min_width=max(map(len, values)))
    for row_of_cells in cells:
        table.add_row(*row_of_cells)
    return table


def _any_differs(record: ComparisonRecord) -> bool:
    return any(row.recipe_differs for row in record.rows)


def _number(fraction: float, n: int) -> str:
    return percent(fraction, n).removesuffix(" %")


def _seconds(value: float) -> str:
    return "" if value == 0 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _table(title: str | None = None) -> Table:
    return Table(
        title=title and Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1),
        pad_edge=False, collapse_padding=True,
    )  # fmt: skip
