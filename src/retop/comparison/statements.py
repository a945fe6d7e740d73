"""What a comparison's numbers can and cannot show, in sentences."""

from collections.abc import Sequence

from retop.evaluation import SIGNIFICANCE, smallest_decidable
from retop.evaluation.numerals import count, listing, p_value, percent, points
from retop.recipe import Recipe
from retop.records import ComparisonRow, DataRecord, FailedRun, Interval, PairedComparison

FEW_IMAGES = 200


def describe(
    rows: Sequence[ComparisonRow],
    pairs: Sequence[PairedComparison],
    data: DataRecord,
    recommended: str | None,
    failed: Sequence[FailedRun] = (),
    recipe: Recipe | None = None,
) -> tuple[str, ...]:
    """Say what a ranking supports.

    Args:
        rows: of the ranking, best first.
        pairs: every pair of contenders.
        data: the data.
        recommended: name of the recommended contender; None where nothing was fine-tuned.
        failed: runs that did not finish.
        recipe: of the comparison.

    Returns:
        Sentences, the most important first; numbers exact, with their n.
    """
    sentences: list[str] = []
    if rows:
        sentences += _recommendation(rows, recommended)
        sentences += _touched_by_selection(rows, data)
        sentences += _folds(data)
        sentences += _leaks(rows)
        sentences += _few_images(rows, pairs)
        sentences += _order(rows, pairs)
        sentences += _lift_over_probe(rows, pairs)
        sentences += _lift_over_scratch(rows, pairs, recommended)
        sentences += _seeds(rows)
        sentences += _other_recipes(rows)
    return tuple(sentences + _imbalance(recipe) + _left_out(data) + _failures(failed))


def _folds(data: DataRecord) -> list[str]:
    if data.folds is None:
        return []
    return [
        f"{data.folds} folds: every image was tested once, by a model that had neither learned from it nor been chosen "
        f"by it. The intervals take the answers as independent, which folds that share training images are not quite."
    ]


def _leaks(rows: Sequence[ComparisonRow]) -> list[str]:
    leaking = [row for row in rows if row.num_without_leaks is not None]
    if not leaking:
        return []
    split, where = leaking[0].metrics.split, "(first seed; retop check names the images)"
    if not any(row.num_without_leaks for row in leaking):
        return [
            f"All {leaking[0].metrics.n:,} {split} images have copies among the images of other splits, so the "
            f"accuracies say nothing of new images {where}."
        ]
    named = "; ".join(
        f"{row.name} {100 * row.metrics.accuracy.value:.1f} % with them (n = {row.metrics.n:,}), "
        f"{100 * row.without_leaks.value:.1f} % ({100 * row.without_leaks.low:.1f} to "
        f"{100 * row.without_leaks.high:.1f}) without (n = {row.num_without_leaks:,})"
        for row in leaking
        if row.without_leaks is not None
    )
    return [
        f"Some {split} images have copies among the images of other splits, so the accuracies may flatter: {named} "
        f"{where}."
    ]


def _imbalance(recipe: Recipe | None) -> list[str]:
    if recipe is None:
        return []
    if recipe.imbalance.sampling == "balanced":
        return ["In training every class had an equal share of each epoch's images (balanced sampling)."]
    if recipe.imbalance.class_weights == "balanced":
        return ["In training the classes were weighted in inverse proportion to their sizes (--class-weights)."]
    if recipe.imbalance.class_weights != "none":
        return ["In training the classes had the weights that the recipe gives (--class-weights)."]
    return []


def _recommendation(rows: Sequence[ComparisonRow], recommended: str | None) -> list[str]:
    row = next((row for row in rows if row.name == recommended), None)
    if row is None:
        return []
    n, accuracy = row.metrics.n, f"{100 * row.validation_accuracy:.1f} %"
    only = sum(row.kind == "fine-tuned" for row in rows) == 1
    why = (
        f"the only {'fine-tuned backbone' if len(rows) > 1 else 'network'} (validation accuracy {accuracy})"
        if only
        else f"for the best validation accuracy among the fine-tuned backbones ({accuracy})"
    )
    if row.metrics.split == "validation":
        return [f"Recommended: {row.name}, {why}."]
    seen = f"{percent(row.seeds.mean.value, n)} of {count(n, f'{row.metrics.split} image')}"
    unseen = "It answers" if only else "The test images had no say. It answers"
    return [f"Recommended: {row.name}, {why}. {unseen} {seen} rightly."]


def _touched_by_selection(rows: Sequence[ComparisonRow], data: DataRecord) -> list[str]:
    if rows[0].metrics.split == "test":
        return []
    # Where the data says the split, fractions have no say.
    way_out = {"retop": "--split 70/15/15", "folders": "a folder test/"}.get(data.split_by, "rows of the split test")
    return [
        f"There is no test split, so the ranking is on validation, which also chose epochs and penalties: these "
        f"accuracies flatter. Images that no choice has seen need a test split ({way_out})."
    ]


def _few_images(rows: Sequence[ComparisonRow], pairs: Sequence[PairedComparison]) -> list[str]:
    n, split, best = rows[0].metrics.n, rows[0].metrics.split, rows[0].seeds.mean
    if n >= FEW_IMAGES:
        return []
    sentences = [
        f"{count(n, f'{split} image')} are few: {percent(best.value, n)} right ({rows[0].name}) means between "
        f"{percent(best.low, n)} and {percent(best.high, n)}."
    ]
    for family, tested in _families(rows, pairs):
        if tested and all(pair.test == "exact McNemar" for pair in tested):
            sentences.append(_smallest_difference(n, split, f"{count(len(tested), 'pair')} {family}", len(tested)))
    return sentences


def _families(
    rows: Sequence[ComparisonRow], pairs: Sequence[PairedComparison]
) -> tuple[tuple[str, list[PairedComparison]], ...]:
    """The families within which `rank` corrects: what one is asked takes nothing away from the other."""
    backbones = {row.name for row in rows if row.kind == "fine-tuned"}
    between = [pair for pair in pairs if {pair.first, pair.second} <= backbones]
    return ("of backbones", between), ("with a baseline", [pair for pair in pairs if pair not in between])


def _smallest_difference(n: int, split: str, tested: str, num_pairs: int) -> str:
    needed = smallest_decidable(1 - SIGNIFICANCE / num_pairs)
    given = f"With {count(n, f'{split} image')} and {tested}"
    if needed > n:
        return f"{given}, no difference can be established, however large it is."
    return (
        f"{given}, a difference is established at the earliest by {needed} images ({percent(needed / n, n)} of them) "
        f"that one answers rightly and the other wrongly, with none the other way round."
    )


def _order(rows: Sequence[ComparisonRow], pairs: Sequence[PairedComparison]) -> list[str]:
    established = [pair for pair in pairs if pair.established]
    n, split = rows[0].metrics.n, rows[0].metrics.split
    if not pairs:
        return []
    if not established:
        all_rows = "both rows" if len(rows) == 2 else f"all {len(rows)} rows"
        closest = min(pairs, key=lambda pair: (pair.p_holm, pair.p, -abs(pair.difference.value)))
        return [
            f"No difference is established on these {count(n, f'{split} image')}: {all_rows} are tied. The "
            f"clearest, {closest.first} against {closest.second}, is {_interval(closest.difference, n)} "
            f"({p_value(closest.p_holm)} after Holm's correction)."
        ]
    return [_established(established, len(pairs), n), *_ties(rows), *_not_told_apart(rows, pairs)]


def _established(established: Sequence[PairedComparison], num_pairs: int, n: int) -> str:
    shown = tuple(_better(pair, n) for pair in sorted(established, key=lambda pair: pair.p_holm)[:4])
    return (
        f"{len(established)} of {count(num_pairs, 'pair')} established as different: "
        f"{'; '.join(shown)}{_more([pair.first for pair in established])}."
    )


def _better(pair: PairedComparison, n: int) -> str:
    difference = pair.difference
    better, worse = pair.first, pair.second
    if difference.value < 0:
        better, worse = worse, better
        difference = _reversed(difference)
    return f"{better} above {worse} by {_interval(difference, n)}, {p_value(pair.p_holm)}"


def _ties(rows: Sequence[ComparisonRow]) -> list[str]:
    groups: dict[int, tuple[str, ...]] = {}
    for row in rows:
        if row.tied_with:
            groups[row.rank] = (*groups.get(row.rank, ()), row.name)
    return [
        f"Tied at rank {place}: {listing(names)}; their order in the table is not evidence."
        for place, names in sorted(groups.items())
    ]


def _not_told_apart(rows: Sequence[ComparisonRow], pairs: Sequence[PairedComparison]) -> list[str]:
    """A tie is not transitive: a rank may differ because of a third contender alone."""
    ranks = {row.name: row.rank for row in rows}
    apart = tuple(
        f"{pair.first} and {pair.second}"
        for pair in pairs
        if not pair.established and ranks[pair.first] != ranks[pair.second]
    )
    return [f"Not told apart although their ranks differ: {'; '.join(apart[:4])}{_more(apart)}."] if apart else []


def _more(names: Sequence[str], shown: int = 4) -> str:
    return f"; and {len(names) - shown} more" if len(names) > shown else ""


def _lift_over_probe(rows: Sequence[ComparisonRow], pairs: Sequence[PairedComparison]) -> list[str]:
    sentences = []
    for row in rows:
        lift = _lift(row.name, f"probe-{row.name}", pairs)
        if row.kind == "fine-tuned" and lift:
            sentences.append(f"Fine-tuning {row.name} against a logistic regression on its frozen features: {lift}.")
    return sentences


def _lift_over_scratch(
    rows: Sequence[ComparisonRow], pairs: Sequence[PairedComparison], recommended: str | None
) -> list[str]:
    scratch = next((row.name for row in rows if row.kind == "scratch"), None)
    lift = _lift(recommended, scratch, pairs) if recommended and scratch else None
    return [f"{recommended} against a small network trained from scratch: {lift}."] if lift else []


def _lift(name: str, baseline: str, pairs: Sequence[PairedComparison]) -> str | None:
    for pair in pairs:
        if {pair.first, pair.second} == {name, baseline}:
            difference = pair.difference if pair.first == name else _reversed(pair.difference)
            verdict = "established" if pair.established else "not established"
            return f"{_interval(difference, pair.n)} ({verdict}, {p_value(pair.p_holm)})"
    return None


def _seeds(rows: Sequence[ComparisonRow]) -> list[str]:
    spreads = [(row.seeds.standard_deviation, row.name) for row in rows if row.seeds.standard_deviation is not None]
    if not spreads:
        return [
            "One seed each: the ranking is of these trained models. How far another seed moves a backbone, --seeds 3 "
            "shows."
        ]
    (least, steadiest), (most, loosest) = min(spreads), max(spreads)
    number = max(len(row.seeds.seeds) for row in rows)
    once = tuple(row.name for row in rows if len(row.seeds.seeds) == 1)
    said = f"Accuracies are means over {number} seeds" + (f", of {listing(once)} over one" if once else "")
    if len(spreads) == 1:
        return [f"{said}; the standard deviation of {loosest} between seeds is {100 * most:.1f} points."]
    return [
        f"{said}; the standard deviation between seeds is {100 * least:.1f} points ({steadiest}) to "
        f"{100 * most:.1f} points ({loosest})."
    ]


def _other_recipes(rows: Sequence[ComparisonRow]) -> list[str]:
    names = tuple(row.name for row in rows if row.recipe_differs)
    verb = "was trained" if len(names) == 1 else "were trained"
    return [f"{listing(names)} {verb} with another recipe than the rest (see run.json)."] if names else []


def _left_out(data: DataRecord) -> list[str]:
    paths = tuple(image.path for image in data.unreadable)
    if not paths:
        return []
    verb = "was" if len(paths) == 1 else "were"
    return [f"{count(len(paths), 'image')} could not be read and {verb} left out: {listing(paths)}."]


def _failures(failed: Sequence[FailedRun]) -> list[str]:
    return [f"{run.name} did not finish and is not ranked: {run.error}" for run in failed]


def _interval(difference: Interval, n: int) -> str:
    return f"{points(difference.value, n)} points ({points(difference.low, n)} to {points(difference.high, n)})"


def _reversed(difference: Interval) -> Interval:
    return Interval(-difference.value, -difference.high, -difference.low)
