"""The page: facts, figures and images in one HTML file that needs nothing else."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from retop.evaluation.numerals import count, p_value, percent, percent_range, points, seconds, short, size
from retop.records import Finding, FinishedComparison
from retop.report.answered import AnsweredImage
from retop.report.contents import ComparisonFacts, ContenderFacts, ReportFacts
from retop.report.heatmaps import HeatMap, Heatmaps
from retop.report.interactive import class_figure, cost_figure, difference_figure, ranking_figure, score_figure
from retop.report.interactive_confidence import coverage_figure, heatmap_figure, reliability_figure
from retop.report.interactive_curves import curve_figures, overlay_figures
from retop.report.page_figure import PageFigure
from retop.report.thumbnails import Thumbnails
from retop.schema import to_plain

MOST_TABLE_CLASSES = 12


@dataclass(frozen=True)
class ContenderView:
    """One contender with its figures."""

    facts: ContenderFacts
    curves: tuple[PageFigure, ...]
    matrix: PageFigure
    many_classes: bool
    """Whether the page shows the matrix as this picture; a smaller one is a table there."""
    scores: PageFigure
    reliability: PageFigure | None
    key: str


@dataclass(frozen=True)
class ComparisonView:
    """One comparison with its figures."""

    facts: ComparisonFacts
    key: str
    ranking: PageFigure | None
    differences: PageFigure | None
    overlays: tuple[PageFigure, ...]
    contenders: tuple[ContenderView, ...]
    coverage: PageFigure | None
    classes: PageFigure
    cost: PageFigure
    recipe_text: str


def comparison_view(facts: ComparisonFacts, key: str) -> ComparisonView:
    """Draw all figures of a comparison.

    Args:
        facts: of the comparison.
        key: beginning of the names of its figures, unique on the page.

    Returns:
        Facts and figures.
    """
    keys = _keys([one.name for one in facts.contenders])
    contenders = tuple(_contender_view(one, f"{key}-{own}") for one, own in zip(facts.contenders, keys, strict=True))
    firsts = [one.curves[0] for one in facts.contenders if one.curves]
    confidences = [one.confidence for one in facts.contenders if one.confidence]
    return ComparisonView(
        facts=facts,
        key=key,
        ranking=ranking_figure(facts.ranking, f"{key}-ranking") if facts.ranking else None,
        differences=difference_figure(facts.pairs, f"{key}-differences", facts.recommended or facts.rows[0].name)
        if facts.pairs
        else None,
        overlays=overlay_figures(firsts, f"{key}-all") if len(firsts) > 1 else (),
        contenders=contenders,
        coverage=coverage_figure(confidences, f"{key}-coverage") if confidences else None,
        classes=class_figure(facts.data, facts.class_shares, f"{key}-classes"),
        cost=cost_figure(facts.cost, f"{key}-cost"),
        recipe_text=json.dumps(to_plain(facts.recipe), indent=1, ensure_ascii=False),
    )


def page_figures(facts: ReportFacts) -> Iterator[PageFigure]:
    """Every figure of a report, those that the page shows as tables included.

    Args:
        facts: of the report.

    Yields:
        The figures, in the order of the page.
    """
    for view in _views(facts):
        yield from _figures(view)
        for contender in view.contenders:
            if not contender.many_classes:
                yield contender.matrix
            yield contender.scores
    yield from _joint_figures(facts)


def render_page(facts: ReportFacts, opened: Sequence[FinishedComparison], data: Path | None = None) -> str:
    """The whole page.

    Args:
        facts: of the report.
        opened: the comparisons that the facts are of, in their order.
        data: where the images lie now, if they were moved; of the first comparison.

    Returns:
        HTML that opens from disk and asks the network for nothing.
    """
    views, joint_figures = _views(facts), _joint_figures(facts)
    thumbnails = Thumbnails()
    for one, comparison in zip(facts.comparisons, opened, strict=True):
        columns = comparison.record.recipe.data.columns
        thumbnails.add(one.data, _wanted(one), data, comparison.folder, columns)
    figures = [*(figure for view in views for figure in _figures(view)), *joint_figures]
    payload = {
        "figures": {figure.name: figure.spec for figure in figures},
        "thumbnails": thumbnails.images,
        "cells": {
            contender.key: _cells(contender.facts, view.facts, thumbnails)
            for view in views
            for contender in view.contenders
        },
    }
    template = _environment(thumbnails, [Heatmaps(one) for one in opened]).get_template("report.html.j2")
    return template.render(
        facts=facts,
        views=views,
        joint_figures=joint_figures,
        payload=Markup(_embedded(payload)),
        style=Markup(_template("report.css")),
        script=Markup(_template("report.js")),
        plotly=Markup(_plotly()),
        problems=thumbnails.problems,
    )


def render_markdown(facts: ReportFacts) -> str:
    """The report in a few lines of Markdown, for a pull request.

    Args:
        facts: of the report.

    Returns:
        Markdown with a table; names are escaped.
    """
    return _environment(Thumbnails(), (), escape=False).get_template("report.md.j2").render(facts=facts)


def _views(facts: ReportFacts) -> tuple[ComparisonView, ...]:
    keys = _keys([one.name for one in facts.comparisons])
    return tuple(comparison_view(one, key) for one, key in zip(facts.comparisons, keys, strict=True))


def _joint_figures(facts: ReportFacts) -> tuple[PageFigure, ...]:
    """Of all contenders of all folders, where they can be set side by side."""
    joint = facts.joint
    if joint is None or joint.ranking is None:
        return ()
    drawn = [ranking_figure(joint.ranking, "all-together")]
    if joint.pairs:
        drawn.append(difference_figure(joint.pairs, "all-together-differences", joint.ranking.rows[0].name))
    return tuple(drawn)


def _keys(names: Sequence[str]) -> list[str]:
    """Parts of elements' and files' names; only those that letters cannot tell apart are numbered."""
    keys: list[str] = []
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w.-]+", "-", name)
        tries = (plain if number == 1 else f"{plain}-{number}" for number in range(1, len(names) + 2))
        # Some file systems tell names apart by more than the case of their letters only.
        keys.append(next(one for one in tries if one.casefold() not in taken))
        taken.add(keys[-1].casefold())
    return keys


def _contender_view(facts: ContenderFacts, key: str) -> ContenderView:
    return ContenderView(
        facts,
        curve_figures(facts.curves, f"{key}-curves") if facts.curves else (),
        heatmap_figure(facts.confusion, f"{key}-confusion"),
        len(facts.confusion.classes) > MOST_TABLE_CLASSES,
        score_figure(facts.metrics, facts.name, f"{key}-per-class"),
        reliability_figure(facts.confidence, f"{key}-reliability") if facts.confidence else None,
        key,
    )


def _figures(view: ComparisonView) -> Iterator[PageFigure]:
    """Those that the page draws."""
    own: list[PageFigure | None] = [view.ranking, view.differences, *view.overlays, view.coverage, view.classes]
    for contender in view.contenders:
        own += [*contender.curves, contender.matrix if contender.many_classes else None, contender.reliability]
    yield from (figure for figure in (*own, view.cost) if figure)


def _wanted(facts: ComparisonFacts) -> Iterator[str]:
    """Paths of the images the page wants, the most important first."""
    for finding in facts.findings:
        yield from finding_files(finding)
    for contender in facts.contenders:
        if contender.answers:
            yield from (image.path for image in (*contender.answers.worst, *contender.answers.doubtful))
    for paths in facts.samples.values():
        yield from paths
    for contender in facts.contenders:
        if contender.answers:
            yield from (image.path for cell in contender.answers.cells for image in cell.images)


def finding_files(finding: Any, most: int | None = 12) -> list[str]:
    """Files that a finding names, at most so many; all where it is None."""
    groups = finding.evidence.get("files", ())
    return [str(path) for group in groups for path in (group if isinstance(group, list | tuple) else [group])][:most]


def audit_names(findings: Sequence[Finding]) -> list[str]:
    """What the audit of the data found, each once; the codes of its rules begin with D."""
    return list(dict.fromkeys(one.name for one in findings if one.code.startswith("D")))


def as_sentence(text: str, capital: bool = True) -> str:
    """A text that may begin small and end without a full stop, as those of the audit do; names keep their letters."""
    stop = "" if text.endswith((".", "?", "!")) else "."
    return f"{text[:1].upper() if capital else text[:1]}{text[1:]}{stop}"


def group_findings(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that differ only in what was seen, together, in the order of the first of each."""
    groups: dict[object, list[Finding]] = {}
    for one in findings:
        alike = (one.code, one.severity, one.suspected, one.why, one.fix, one.isolating_test)
        groups.setdefault(alike, []).append(one)
    return list(groups.values())


def _cells(contender: ContenderFacts, facts: ComparisonFacts, thumbnails: Thumbnails) -> dict[str, Any]:
    if contender.answers is None:
        return {}
    places = {name: place for place, name in enumerate(contender.confusion.classes)}
    return {
        f"{places[cell.label]},{places[cell.predicted]}": {
            "title": f"{contender.name}: true {cell.label}, predicted {cell.predicted}",
            "count": cell.num_images,
            "images": [
                [thumbnails.place(facts.data, image.path), image.path, _confidence(image)] for image in cell.images
            ],
        }
        for cell in contender.answers.cells
    }


def _confidence(image: AnsweredImage) -> str:
    return percent(image.confidence, 1000)


def _environment(thumbnails: Thumbnails, heatmaps: Sequence[Heatmaps], escape: bool = True) -> Environment:
    environment = Environment(
        loader=PackageLoader("retop.report"), autoescape=escape, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "count": count, "percent": percent, "percent_range": percent_range, "points": points, "p_value": p_value,
        "seconds": seconds, "short": short, "size": size, "cell": _table_cell, "md": _escaped_markdown,
        "sentence": as_sentence,
        "seconds_or_none": lambda value: "" if value is None else seconds(value),
        "size_or_none": lambda value: "" if value is None else size(value),
    }  # fmt: skip

    def heat_map(place: int, contender: str, path: str) -> HeatMap | None:
        return heatmaps[place].find(contender, path) if place < len(heatmaps) else None

    environment.globals |= {"thumb": thumbnails.place, "heat_map": heat_map,
                            "heat_map_legend": lambda place: heatmaps[place].legend,
                            "finding_files": finding_files, "group_findings": group_findings,
                            "audit_names": audit_names}  # fmt: skip
    return environment


def _table_cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _escaped_markdown(text: str) -> str:
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _embedded(value: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _template(name: str) -> str:
    return (files("retop.report") / "templates" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())
