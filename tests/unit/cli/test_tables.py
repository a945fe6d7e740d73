"""Tables on the terminal."""

import io

import pytest
from rich.console import Console, RenderableType

from example_records import GROUPS, comparison_record, contender
from retop.cli.tables import comparison_table, groups_table, metrics_table, misses_table, plan_table
from retop.recipe import ImbalanceRecipe, Recipe
from retop.records import PlannedPart, PlanRecord, class_shares


def shown(table: RenderableType, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= width
    return text


CONTENDERS = [
    contender("mobilenetv2_100", accuracy=0.98),
    contender("inception_v3", accuracy=0.97),
    contender("probe-mobilenetv2_100", "probe", accuracy=0.7),
]


def test_wide_table_shows_everything() -> None:
    text = shown(comparison_table(comparison_record(CONTENDERS)))
    for part in (
        "1 tied",
        " * ",
        "probe-mobilenetv2_100",
        "224",
        "2.22 M",
        "300 test",
        "prefix",
        "st. 2",
    ):
        assert part in text
    assert "…" not in text
    assert "One seed each" in text
    assert any(line.startswith(" 1 tied  mobilenetv2_100") for line in text.splitlines())


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_table_keeps_every_number_whole(width: int) -> None:
    text = shown(comparison_table(comparison_record(CONTENDERS)), width)
    assert "1 tied" in text
    assert "…" not in text


def test_a_narrow_ranking_tells_the_seconds_of_each_part_below() -> None:
    record = comparison_record(CONTENDERS)
    wide, narrow = (shown(comparison_table(record), width) for width in (92, 80))
    assert "Seconds in" not in wide
    told = " ".join(narrow.split()).partition("Seconds in prefix, stage 1, stage 2: ")[2].partition(". ")[0]
    assert [one.split(" ")[0] for one in told.split("; ")] == [row.name for row in record.rows]
    for row, one in zip(record.rows, told.split("; "), strict=True):
        prefix = row.seconds.get("prefix", 0.0)
        assert one.split(" ")[1].rstrip(",") == (
            f"{prefix:,.0f}" if prefix >= 10 else f"{prefix:.1f}" if prefix else "–"
        )


def test_ranking_on_validation_is_labelled_in_the_caption() -> None:
    text = shown(comparison_table(comparison_record([contender("a", split="validation")])))
    assert "which selection has touched" in text


def test_markup_in_names_is_shown_as_it_is() -> None:
    one = contender("a", n=30, accuracy=0.5, classes=("[red]cat", "[/]dog"))
    assert "[red]cat" in shown(misses_table(one.predictions and one.runs[0].test))  # type: ignore[arg-type]


def test_classes_and_runs_are_shown_as_they_are() -> None:
    metrics = contender("a", n=30, accuracy=0.5, classes=("[red]cat", ":dog:")).runs[0].test
    assert metrics is not None
    for text in (shown(metrics_table(metrics)), shown(misses_table(metrics))):
        assert "[red]cat" in text
        assert ":dog:" in text
    assert "[x]-0: " in shown(misses_table(metrics, run="[x]-0"))


def test_names_neither_make_lines_nor_move_what_stands_in_a_table() -> None:
    forged, escaped = "cat\n1 dog\x1b[2J\u202e\x9b", r"cat\n1 dog\u001b[2J\u202e\u009b"
    tables = []
    for name in (forged, escaped):
        metrics = contender("a", n=30, accuracy=0.5, classes=(name, "dog")).runs[0].test
        assert metrics is not None
        tables.append(shown(metrics_table(metrics)) + shown(misses_table(metrics)))
    assert tables[0] == tables[1]
    assert escaped in tables[0]


def test_where_the_other_misses_are_is_true() -> None:
    metrics = contender("a", n=300, accuracy=0.5).runs[0].test
    assert metrics is not None
    assert "a-0/predictions.parquet holds them all" in shown(misses_table(metrics, 3, run="a-0"))
    folded = shown(misses_table(metrics, 3, run="a-0-f0", folds=3))
    assert folded.strip().startswith("a-0: ")
    assert "predictions.parquet in a-0-f0 to -f2 hold them all" in folded
    evaluated = shown(misses_table(metrics, 3))
    assert "parquet" not in evaluated
    assert f"--json lists {len(metrics.missed)} of them" in evaluated


def test_misses_are_counted_beyond_those_listed() -> None:
    metrics = contender("a", n=100, accuracy=0.5).runs[0].test
    assert metrics is not None
    assert f"and {metrics.n - metrics.num_right - 3} more" in shown(misses_table(metrics, 3))


def test_groups_show_what_is_thawed() -> None:
    text = shown(groups_table("example", GROUPS, "blocks.1"))
    assert text.count("frozen") == 2
    assert text.count("thawed in stage 2") == 1
    assert "2.24 M" in text


def test_plan_adds_up_and_admits_what_it_does_not_know() -> None:
    parts = PlannedPart("a-0", "prefix", "once", 100, 2**30), PlannedPart("a-0", "stage 2", "15 epochs", None, 0)
    text = shown(plan_table(PlanRecord("ab", Recipe(), (), parts, 2**31, 2**40)))
    assert "100 s + ?" in text
    assert "2.0 GiB of memory" in text


def test_a_plan_says_what_each_class_counts_and_of_many_the_first_and_the_last() -> None:
    def planned(imbalance: ImbalanceRecipe, images: dict[str, int]) -> str:
        shares = class_shares(imbalance, list(images), list(images.values()))
        return " ".join(shown(plan_table(PlanRecord("ab", Recipe(), (), (), 0, 0, class_shares=shares))).split())

    few = {"[red]owl\n": 1, "cat": 9}
    assert r"mean over the training images): cat: 0.556, [red]owl\n: 5." in planned(ImbalanceRecipe("balanced"), few)
    assert "Weights" not in planned(ImbalanceRecipe(), few)
    many = {f"c{number:02}": number for number in range(1, 12)}
    assert planned(ImbalanceRecipe("balanced"), many).endswith(
        "of 11 classes the smallest are c11: 0.545, c10: 0.6, c09: 0.667; the largest are c03: 2, c02: 3, c01: 6."
    )
    assert planned(ImbalanceRecipe(sampling="balanced"), many).endswith(
        "draws each image of the smallest class, c01 (n = 1), 6 times and each of the largest, c11 (n = 11), 0.545 "
        "times: 11 times as often."
    )
    assert planned(ImbalanceRecipe(sampling="balanced"), {"a": 5, "b": 5}).endswith(
        "it gives all of them the same weight."
    )
