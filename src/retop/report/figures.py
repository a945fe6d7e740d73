"""Figures of a run and of a comparison, from their folders into their folders."""

from pathlib import Path

from retop.records import ComparisonRecord, RunRecord, read_epochs, read_record
from retop.report.facts import ConfusionFacts, CurveFacts, confusion_facts, curve_facts, ranking_facts

FIGURES_FOLDER = "figures"


def write_run_figures(folder: Path) -> tuple[Path, ...]:
    """Draw a run's curves and confusion matrix.

    Args:
        folder: of the run, with run.json and, where epochs were trained, metrics.jsonl.

    Returns:
        What was written: ``figures/curves.png`` and ``.svg`` (not for a probe, which has no epochs),
        ``figures/confusion.png`` and ``.svg``.

    Raises:
        RunError: a record is missing or cannot be read.
    """
    run = read_record(RunRecord, folder / "run.json")
    curves, matrix = _curves(folder, run), confusion_facts(run.contender, run.test or run.validation)
    from retop.report.confusion import draw_confusion
    from retop.report.curves import draw_curves
    from retop.report.style import save_figure, settings

    with settings():
        written = save_figure(draw_curves(curves), folder / FIGURES_FOLDER, "curves") if curves else ()
        return written + save_figure(draw_confusion(matrix), folder / FIGURES_FOLDER, "confusion")


def write_comparison_figures(folder: Path) -> tuple[Path, ...]:
    """Draw a comparison's ranking, and curves and confusion matrices of all its rows side by side.

    Every row shows its first seed, as the table's metrics do.

    Args:
        folder: of the comparison, with comparison.json and the run folders it names.

    Returns:
        What was written: ``ranking``, ``curves`` and ``confusion`` in ``figures/``, each as PNG and SVG; nothing
        where no run finished.

    Raises:
        RunError: a record is missing or cannot be read.
    """
    record = read_record(ComparisonRecord, folder / "comparison.json")
    ranking, matrices, curves = ranking_facts(record), _matrices(record), _all_curves(folder, record)
    if ranking is None:
        return ()
    from retop.report.confusion import draw_confusion_side_by_side
    from retop.report.curves import draw_curves_side_by_side
    from retop.report.placing import draw_ranking
    from retop.report.style import save_figure, settings

    figures = folder / FIGURES_FOLDER
    with settings():
        written = save_figure(draw_ranking(ranking), figures, "ranking")
        if curves:
            written += save_figure(draw_curves_side_by_side(curves), figures, "curves")
        return written + save_figure(draw_confusion_side_by_side(matrices), figures, "confusion")


def _matrices(record: ComparisonRecord) -> tuple[ConfusionFacts, ...]:
    return tuple(confusion_facts(row.name, row.metrics) for row in record.rows)


def _all_curves(folder: Path, record: ComparisonRecord) -> tuple[CurveFacts, ...]:
    first_runs = [folder / row.runs[0] for row in record.rows]
    facts = (_curves(run, read_record(RunRecord, run / "run.json")) for run in first_runs)
    return tuple(one for one in facts if one is not None)


def _curves(folder: Path, run: RunRecord) -> CurveFacts | None:
    if run.kind == "probe":
        return None
    return curve_facts(run, read_epochs(folder / "metrics.jsonl"))
