"""The HTML table of a notebook."""

import re
from dataclasses import replace
from html.parser import HTMLParser

from example_records import comparison_record, contender
from retop.recipe import Recipe
from retop.records import PlannedPart, PlanRecord, SplitRecord
from retop.report import comparison_html


def test_table_is_complete_and_everything_is_escaped() -> None:
    record = comparison_record([contender("a"), contender("b", accuracy=0.6)])
    hostile = replace(record, name="<script>x</script>", statements=('<img src=x onerror="y">',))
    html = comparison_html(replace(hostile, rows=tuple(replace(row, name=f"<b>{row.name}") for row in hostile.rows)))
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)

    Reader().feed(html)
    assert not {"script", "img", "b"} & set(tags)
    assert tags.count("tr") == 3
    assert tags.count("td") == 2 * tags.count("th")


def test_columns_have_different_names_and_digits_follow_n() -> None:
    record = comparison_record([contender("a", validation_accuracy=0.5)])
    html = comparison_html(replace(record, rows=(replace(record.rows[0], stage1_accuracy=0.56789),)))
    headers = re.findall(r"<th[^>]*>(.*?)</th>", html)
    assert len(set(headers)) == len(headers)
    assert "56.8 %" in html
    few = replace(record.data, splits=(SplitRecord("validation", (10, 10)),))
    row = replace(record.rows[0], stage1_accuracy=0.56789)
    assert ">57 %<" in comparison_html(replace(record, data=few, rows=(row,)))


def test_comparison_without_rows_is_shown() -> None:
    record = comparison_record([contender("a")])
    assert "<table" in comparison_html(replace(record, rows=(), pairs=(), recommended=None))


def test_metrics_and_plans_show_themselves_with_every_text_escaped() -> None:
    metrics = contender("a", classes=("<b>cat", "dog")).runs[0].test
    assert metrics is not None
    html = metrics._repr_html_()
    assert "&lt;b&gt;cat" in html and "<b>" not in html
    assert f"{metrics.num_right} of 300 images right" in html
    parts = PlannedPart("<b>-0", "prefix", "once", 100, 2**20), PlannedPart("<b>-0", "stage 2", "twice", None, 0)
    plan = PlanRecord("ab", Recipe(), (), parts, 2**31, 2**40)._repr_html_()
    assert "&lt;b&gt;-0" in plan and "<b>" not in plan
    assert re.findall(r"<td[^>]*>([^<]*)</td>", plan)[-5:] == ["all", "", "", "100", "1"]
