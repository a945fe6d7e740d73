"""What a comparison was asked, and its answer in two sentences."""

import re

from retop.evaluation.numerals import count, listing, p_value, percent, percent_range, points
from retop.records import ComparisonRecord, ComparisonRow, PairedComparison


def asked(record: ComparisonRecord) -> str:
    """The question in words: contenders, images, recipe.

    Args:
        record: of the comparison.

    Returns:
        Two sentences.
    """
    data = record.data
    sizes = listing(tuple(f"{sum(split.per_class):,} {_use(split.name)}" for split in data.splits))
    tuned = tuple(row.name for row in record.rows if row.kind == "fine-tuned")
    baselines = tuple(row.name for row in record.rows if row.kind != "fine-tuned")
    question = (
        f"How well does {tuned[0]}" if len(tuned) == 1 else f"Which of {listing(tuned, 8)}" if tuned else "How well"
    )
    verb = "tell" if len(tuned) == 1 else "best tells" if tuned else "do the baselines tell"
    classes = f"the {count(len(data.classes), 'class', 'classes')} of {_last(data.location)} apart"
    beside = f", beside {listing(baselines)}" if baselines and tuned else ""
    seeds = f"seed{'s' if len(record.seeds) > 1 else ''} {listing(tuple(map(str, record.seeds)))}"
    return (
        f"{question} {verb} {classes}{beside}? Fine-tuned with the recipe {record.recipe.name}, {seeds}, with {sizes} "
        f"images."
    )


def _last(location: str) -> str:
    """The last part of a path or an address; all of it stands beside the data."""
    return re.split(r"[/\\]", location.rstrip("/\\"))[-1] or location


def answer(record: ComparisonRecord) -> tuple[str, ...]:
    """The answer: what is recommended and how good it is; and what is established about the others.

    Args:
        record: of the comparison.

    Returns:
        Two sentences; one where nothing can be recommended.
    """
    row = next((row for row in record.rows if row.name == record.recommended), None)
    if row is None:
        return ("No fine-tuned backbone finished, so there is nothing to recommend.",)
    return (_quality(row), _standing(row, record))


def _quality(row: ComparisonRow) -> str:
    n, mean = row.metrics.n, row.seeds.mean
    over = f"mean of {len(row.seeds.seeds)} seeds; " if len(row.seeds.seeds) > 1 else ""
    touched = (
        "these images also chose its epochs, so the figure flatters"
        if row.metrics.split == "validation"
        else "these images had no say in the choice"
    )
    return (
        f"{row.name} answers {percent(mean.value, n)} of {count(n, f'{row.metrics.split} image')} rightly ({over}95 % "
        f"interval {percent_range(mean, n)}); {touched}."
    )


def _standing(row: ComparisonRow, record: ComparisonRecord) -> str:
    others = len(record.rows) - 1
    if not others:
        return "It is shown alone, beside no other backbone and no baseline (--baseline probe adds one)."
    mine = [pair for pair in record.pairs if row.name in (pair.first, pair.second)]
    better = [pair for pair in mine if pair.established and _lead(pair, row.name) > 0]
    worse = [pair for pair in mine if pair.established and _lead(pair, row.name) < 0]
    open_ = [pair for pair in mine if not pair.established]
    parts = [
        f"{verb} {listing(tuple(_other(pair, row.name) for pair in pairs))}"
        for verb, pairs in (
            ("is established as better than", better),
            ("is established as worse than", worse),
            ("cannot be told apart from", open_),
        )
        if pairs
    ]
    closest = min(open_, key=lambda pair: pair.p_holm) if open_ else None
    evidence = (
        f" (the clearest difference: {points(abs(closest.difference.value), closest.n).lstrip('+')} points, "
        f"{p_value(closest.p_holm)})"
        if closest and closest.difference.value
        else ""
    )
    return f"It {'; it '.join(parts)}{evidence}."


def _lead(pair: PairedComparison, name: str) -> float:
    return pair.difference.value if pair.first == name else -pair.difference.value


def _other(pair: PairedComparison, name: str) -> str:
    return pair.second if pair.first == name else pair.first


def _use(split: str) -> str:
    return {"train": "training"}.get(split, split)
