"""Everything a report shows, as plain data: computed first, tested, and only then drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from retop.data.audit import as_followed
from retop.diagnosis import diagnose, diagnose_comparison, evidence_of, merge_findings, sort_findings
from retop.errors import RunError
from retop.recipe import Recipe
from retop.records import (
    AuditRecord,
    ClassShare,
    ComparisonRecord,
    ComparisonRow,
    DataRecord,
    Environment,
    FailedRun,
    Finding,
    FinishedComparison,
    FinishedRun,
    Metrics,
    PairedComparison,
    Predictions,
    describe_shares,
    kind_of_folder,
    read_finished_comparison,
    read_finished_run,
    read_record,
    shares_of,
)
from retop.report.answered import AnswerFacts, answer_facts, sample_images
from retop.report.confidence import ConfidenceFacts, confidence_facts
from retop.report.cost import CostFacts, NetworkFacts, cost_facts, network_facts
from retop.report.facts import ConfusionFacts, CurveFacts, RankingFacts, confusion_facts, curve_facts, ranking_facts
from retop.report.question import answer, asked

SAMPLES_PER_CLASS = 4


@dataclass(frozen=True)
class ContenderFacts:
    """One backbone or baseline."""

    name: str
    """Its name."""

    kind: Literal["fine-tuned", "scratch", "probe"]
    """As in run.json."""

    curves: tuple[CurveFacts, ...]
    """One per seed; empty where nothing was trained in epochs."""

    confusion: ConfusionFacts
    """Of its first seed."""

    metrics: Metrics
    """Of its first seed."""

    answers: AnswerFacts | None
    """Of its first seed; None where predictions were not kept."""

    confidence: ConfidenceFacts | None
    """Of its first seed; None where predictions were not kept."""

    network: NetworkFacts
    """Its network."""

    warnings: tuple[str, ...]
    """Warnings that were shown while its runs were made."""


@dataclass(frozen=True)
class ComparisonFacts:
    """One comparison, or one run shown as a comparison of one."""

    name: str
    """Name of its folder."""

    asked: str
    """What was asked."""

    answer: tuple[str, ...]
    """The answer, in two sentences."""

    ranking: RankingFacts | None
    """None where no run finished."""

    rows: tuple[ComparisonRow, ...]
    """Best first."""

    pairs: tuple[PairedComparison, ...]
    """Every pair."""

    recommended: str | None
    """Chosen on validation."""

    statements: tuple[str, ...]
    """What the numbers can and cannot show."""

    findings: tuple[Finding, ...]
    """Of the data's audit and of the diagnosis, the gravest first."""

    contenders: tuple[ContenderFacts, ...]
    """In the order of the rows."""

    data: DataRecord
    """Classes, sizes, split."""

    divided: str
    """How its images were divided, in words."""

    class_shares: tuple[ClassShare, ...]
    """What each class counts in training; empty where classes of different sizes are not corrected for."""

    imbalance: str
    """The same in a sentence; empty for none."""

    samples: dict[str, tuple[str, ...]]
    """Paths of a few images of every class."""

    cost: CostFacts
    """Time and disk."""

    recipe: Recipe
    """All of it."""

    seeds: tuple[int, ...]
    """Of every backbone."""

    failed: tuple[FailedRun, ...]
    """Runs that did not finish."""

    environment: Environment
    """Where, with what, by which command."""


@dataclass(frozen=True)
class JointFacts:
    """Contenders of several folders side by side."""

    ranking: RankingFacts | None
    """All of them in one ranking; None where their numbers cannot be set side by side."""

    pairs: tuple[PairedComparison, ...]
    """Every pair, corrected over all."""

    reason: str | None
    """Why there is no common ranking."""


@dataclass(frozen=True)
class ReportFacts:
    """The whole page."""

    title: str
    """Of the page."""

    comparisons: tuple[ComparisonFacts, ...]
    """One per folder, in the order given."""

    joint: JointFacts | None
    """None for a single folder."""


def open_folder(folder: Path) -> FinishedComparison:
    """Read a comparison's folder, or a run's as a comparison of one.

    Args:
        folder: of either.

    Returns:
        The comparison.

    Raises:
        RunError: it is neither, or a record cannot be read.
    """
    if kind_of_folder(folder) == "comparison":
        return read_finished_comparison(folder)
    run = read_finished_run(folder)
    return FinishedComparison(folder.parent, _alone(run), None, (run,))


def report_facts(folders: Sequence[Path]) -> tuple[ReportFacts, tuple[FinishedComparison, ...]]:
    """Read folders and compute everything the page shows.

    Args:
        folders: of comparisons or runs; at least one.

    Returns:
        The facts, and the records that they come from.

    Raises:
        RunError: a folder is neither, or a record cannot be read.
    """
    opened = _told_apart(folders, [open_folder(folder) for folder in folders])
    parts = tuple(comparison_facts(one) for one in opened)
    names = " and ".join(part.name for part in parts)
    joint = _joint(opened) if len(opened) > 1 else None
    return ReportFacts(f"retop report: {names}", parts, joint), opened


def comparison_facts(comparison: FinishedComparison) -> ComparisonFacts:
    """Compute everything that is shown of one comparison.

    Args:
        comparison: with its runs.

    Returns:
        The facts.
    """
    record = comparison.record
    ranked = next((answers[0] for row in record.rows if (answers := comparison.answers_of(row))), None)
    shares = shares_of(record.recipe, record.data)
    return ComparisonFacts(
        name=record.name,
        asked=asked(record),
        answer=answer(record),
        ranking=ranking_facts(record),
        rows=record.rows,
        pairs=record.pairs,
        recommended=record.recommended,
        statements=record.statements,
        findings=find(comparison),
        contenders=tuple(_contender(row, comparison) for row in record.rows),
        data=record.data,
        divided=_divided(record.data),
        class_shares=shares,
        imbalance=describe_shares(shares),
        samples=sample_images(ranked, SAMPLES_PER_CLASS) if ranked else {},
        cost=cost_facts([run.record for run in comparison.runs], comparison.plan),
        recipe=record.recipe,
        seeds=record.seeds,
        failed=record.failed,
        environment=record.environment,
    )


def _contender(row: ComparisonRow, comparison: FinishedComparison) -> ContenderFacts:
    runs = [run for run in comparison.runs if run.name == row.name]
    answers = next(iter(comparison.answers_of(row)), None)
    curves = (curve_facts(run.record, run.epochs) for run in runs)
    return ContenderFacts(
        name=row.name,
        kind=row.kind,
        curves=tuple(one for one in curves if one is not None),
        confusion=confusion_facts(row.name, row.metrics),
        metrics=row.metrics,
        answers=None if answers is None else answer_facts(row.name, answers, row.metrics.temperature),
        confidence=None if answers is None else confidence_facts(row.name, answers, row.metrics.temperature),
        network=network_facts(row.name, runs[0].record),
        warnings=tuple(dict.fromkeys(warning for run in runs for warning in run.record.warnings)),
    )


def _divided(data: DataRecord) -> str:
    groups = ", groups kept together" if data.grouped else ""
    by = {
        "folders": "split by the folders",
        "table": "split by the table",
        "file": "split by a file (--split-file)",
        "retop": f"split by retop (stratified, by content{groups})",
    }[data.split_by]
    folds = "" if data.folds is None else f"; these are the numbers of the first of {data.folds} folds"
    return f"{by}{folds}" + (f"; {data.excluded:,} more left out (--exclude)" if data.excluded else "")


def find(comparison: FinishedComparison, others: Sequence[Predictions] = ()) -> tuple[Finding, ...]:
    """What the audit of the data found, and what the records of the runs mean.

    Args:
        comparison: with its runs; of every contender the first seed is diagnosed.
        others: another program's answers on the same images, compared with those of every run.

    Returns:
        The gravest first.
    """
    file = comparison.folder / "audit.json"
    audit = read_record(AuditRecord, file).findings if file.is_file() else ()
    audit = as_followed(audit, comparison.record.recipe.imbalance)
    first = comparison.first_runs()
    # A baseline is there to be beaten; its faults are of interest only where there is nothing else.
    shown = [run for run in first if run.record.kind == "fine-tuned"] or first
    runs = [(run.name, _diagnose(run, audit, others)) for run in shown]
    return sort_findings((*audit, *merge_findings(runs), *diagnose_comparison(comparison.record)))


def _diagnose(run: FinishedRun, audit: Sequence[Finding], others: Sequence[Predictions]) -> tuple[Finding, ...]:
    """One run beside each of another program's answers: what was found with the first that disagrees, if one does."""
    found = [diagnose(evidence_of(run, audit, other)) for other in others or (None,)]
    return next((one for one in found if any(finding.code == "R16" for finding in one)), found[0])


def _told_apart(folders: Sequence[Path], opened: Sequence[FinishedComparison]) -> tuple[FinishedComparison, ...]:
    """Comparisons under names that differ: those of one name take those of the folders around them before theirs."""
    names = [one.record.name for one in opened]
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        return tuple(opened)
    for depth in range(1, max(map(len, parts)) + 1):
        names = [
            name if names.count(name) == 1 else "/".join(own[-depth:]) for name, own in zip(names, parts, strict=True)
        ]
    return tuple(replace(one, record=replace(one.record, name=name)) for one, name in zip(opened, names, strict=True))


def _alone(run: FinishedRun) -> ComparisonRecord:
    """A comparison of one contender with one seed."""
    from retop.comparison.ranking import Contender, rank, recommended
    from retop.comparison.statements import describe

    record = run.record
    if run.ranked is None:
        raise RunError(f"{run.folder} has no predictions.parquet, which its report needs; give the comparison's folder")
    contender = Contender(run.name, record.kind, (record,), (run.ranked,), (run.folder.name,))
    rows, pairs = rank([contender], record.recipe)
    choice = recommended([contender])
    return ComparisonRecord(
        name=record.name,
        data=record.data,
        recipe=record.recipe,
        seeds=(record.seed,),
        ranked_on="validation" if record.test is None else "test",
        rows=rows,
        pairs=pairs,
        recommended=choice,
        statements=describe(rows, pairs, record.data, choice),
        failed=(),
        environment=record.environment,
    )


def _joint(opened: Sequence[FinishedComparison]) -> JointFacts:
    """Rank the contenders of all folders together, where they answered the same images."""
    from retop.comparison.ranking import Contender, rank

    contenders = []
    for one in opened:
        for row in one.record.rows:
            runs = tuple(run for run in one.runs if run.name == row.name)
            kept = one.answers_of(row)
            contenders.append(
                Contender(f"{one.record.name}/{row.name}", row.kind, tuple(run.record for run in runs), kept, row.runs)
            )
    try:
        rows, pairs = rank(contenders, opened[0].record.recipe)
    except RunError as error:
        return JointFacts(None, (), str(error))
    joined = ComparisonRecord(
        "all", opened[0].record.data, opened[0].record.recipe, (), opened[0].record.ranked_on, rows, pairs, None, (),
        (), opened[0].record.environment,
    )  # fmt: skip
    return JointFacts(ranking_facts(joined), pairs, None)
