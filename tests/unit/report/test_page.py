"""The page from records alone: complete, self-contained, escaped, and without anything that was not recorded."""

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from plotly import graph_objects

from example_records import contender, write_comparison
from images import write_shapes
from retop.errors import RunError
from retop.recipe import ImbalanceRecipe
from retop.records import ComparisonRecord, Finding, read_record, write_record
from retop.report import report_facts, write_report
from retop.report.contents import comparison_facts, open_folder
from retop.report.cost import CostFacts, PartCost
from retop.report.interactive import cost_figure
from retop.report.page import _keys, group_findings, page_figures, render_markdown, render_page
from retop.report.page_figure import SERIES, line_of
from retop.report.paper import COLOURS

GOLDEN = Path(__file__).parent / "report.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    contenders = [
        contender("a", accuracy=0.97, seeds=2),
        contender("b", accuracy=0.9, seeds=2),
        contender("probe-a", "probe", accuracy=0.9, seeds=2),
        contender("scratch", "scratch", accuracy=0.7, seeds=2),
    ]
    (tmp_path / "photos").mkdir()
    write_comparison(tmp_path / "photos", contenders)
    return tmp_path / "photos"


class Reader(HTMLParser):
    """What a page asks for, and its headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[str] = []
        self._heading = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [given[name] or "" for name in ("src", "srcset", "data") if name in given]
        if tag == "link":
            self.addresses.append(given.get("href") or "")
        if tag == "a":
            self.links.append(given.get("href") or "")
        if "id" in given:
            self.ids.append(given["id"] or "")
        self._heading = tag == "h2"

    def handle_data(self, data: str) -> None:
        if self._heading:
            self.headings.append(data)
            self._heading = False


def test_page_asks_the_network_for_nothing_and_its_links_lead_somewhere(folder: Path) -> None:
    page = write_report([folder])
    reader = Reader(page.read_text("utf-8"))
    assert all(address.startswith("data:") for address in reader.addresses)
    assert all(link.removeprefix("#") in reader.ids for link in reader.links)
    assert len(set(reader.ids)) == len(reader.ids)
    assert page.stat().st_size < 12_000_000


def test_sections_stand_in_the_order_of_a_reader(folder: Path) -> None:
    assert Reader(write_report([folder]).read_text("utf-8")).headings == [
        "Question and answer", "Ranking", "Findings", "Accuracy and loss over epochs", "Confusion matrices",
        "Precision, recall and F1 per class", "Worst and most doubtful images", "Can the confidence be believed?",
        "Data", "Networks", "Cost", "To repeat it",
    ]  # fmt: skip


def test_every_figure_is_one_that_plotly_knows(folder: Path) -> None:
    facts, _ = report_facts([folder])
    for figure in page_figures(facts):
        text = re.sub(r'"@shades"', '[[0, "#fff"], [1, "#000"]]', json.dumps(figure.spec))
        graph_objects.Figure(json.loads(re.sub(r'"@\w+"', '"#123456"', text)))
        assert figure.rows
        assert all(len(row) == len(figure.columns) for row in figure.rows)


def test_facts_as_text(folder: Path) -> None:
    assert write_report([folder], "markdown").read_text("utf-8") == GOLDEN.read_text("utf-8")


def test_data_in_a_folder_whose_name_is_not_unicode_is_recorded_as_it_is_and_reported(folder: Path) -> None:
    record = read_record(ComparisonRecord, folder / "comparison.json")
    odd = replace(record, data=replace(record.data, location="/data/caf\udce9"))
    write_record(folder / "comparison.json", odd)
    assert read_record(ComparisonRecord, folder / "comparison.json") == odd
    assert r"/data/caf\udce9" in write_report([folder]).read_text("utf-8")
    assert r"/data/caf\udce9" in write_report([folder], "json").read_text("utf-8")


def test_what_the_audit_found_is_told_in_sentences_and_beside_the_data(folder: Path) -> None:
    facts, opened = report_facts([folder])
    audited = Finding("D06", "near copies across splits", "warning", "2 images lie in two", "", "leave them out", {})
    assert "The audit found" not in render_page(facts, opened)
    facts = replace(facts, comparisons=(replace(facts.comparisons[0], findings=(audited,)),))
    assert "2 images lie in two. Leave them out." in render_markdown(facts)
    data = render_page(facts, opened).split(">Data</h2>")[1].split(">Networks</h2>")[0]
    assert "The audit found near copies across splits" in data


@pytest.mark.parametrize(
    ("imbalance", "images", "said", "columns"),
    [
        (
            ImbalanceRecipe("balanced"),
            (900, 100),
            "Weights of the classes in the loss (1 in the mean over the training images): cat: 0.556, dog: 5.",
            [("cat", 900, 0.556, 1.0), ("dog", 100, 5.0, 1.0)],
        ),
        (
            ImbalanceRecipe({"cat": 3.0, "dog": 1.0}),
            (500, 500),
            "Weights of the classes in the loss (1 in the mean over the training images): dog: 0.5, cat: 1.5.",
            [("cat", 500, 1.5, 1.0), ("dog", 500, 0.5, 1.0)],
        ),
        (
            ImbalanceRecipe(sampling="balanced"),
            (900, 100),
            "Balanced sampling: in the mean an epoch draws each image of the smallest class, dog (n = 100), 5 times "
            "and each of the largest, cat (n = 900), 0.556 times: 9 times as often.",
            [("cat", 900, 1.0, 0.556), ("dog", 100, 1.0, 5.0)],
        ),
        (ImbalanceRecipe(), (900, 100), "", [("cat", 900), ("dog", 100)]),
    ],
)
def test_what_each_class_counts_in_training_stands_beside_the_data(
    folder: Path, imbalance: ImbalanceRecipe, images: tuple[int, int], said: str, columns: list[tuple[Any, ...]]
) -> None:
    record = read_record(ComparisonRecord, folder / "comparison.json")
    train, *others = record.data.splits
    data = replace(record.data, splits=(replace(train, per_class=images), *others))
    write_record(
        folder / "comparison.json", replace(record, data=data, recipe=replace(record.recipe, imbalance=imbalance))
    )
    facts, opened = report_facts([folder])
    assert facts.comparisons[0].imbalance == said
    text, page = render_markdown(facts), render_page(facts, opened)
    data_section = page.split(">Data</h2>")[1].split(">Networks</h2>")[0]
    assert (f"<p>{said}</p>" in data_section) == bool(said)
    assert (said in text, "### Data" in text) == (True, bool(said))
    numbers = next(figure for figure in page_figures(facts) if figure.name == "photos-classes")
    shown = [name not in ("validation", "test") for name in numbers.columns]
    rows = [[round(value, 3) if isinstance(value, float) else value for value in row] for row in numbers.rows]
    assert [tuple(value for value, kept in zip(row, shown, strict=True) if kept) for row in rows] == columns


def test_facts_as_data(folder: Path) -> None:
    """After a change that is meant, the file is written anew from `_facts_as_data`."""
    assert _facts_as_data(folder) == json.loads(GOLDEN.with_suffix(".json").read_text("utf-8"))


def _facts_as_data(folder: Path) -> Any:
    facts = json.loads(write_report([folder], "json").read_text("utf-8"))
    for one in facts["comparisons"]:
        del one["environment"]
    return _rounded(facts)


def _rounded(value: Any) -> Any:
    """Without the last digits of float64, in which mathematical libraries differ."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def test_json_holds_every_fact(folder: Path) -> None:
    facts = json.loads(write_report([folder], "json").read_text("utf-8"))
    shown = facts["comparisons"][0]
    assert [row["name"] for row in shown["rows"]] == [one["name"] for one in shown["contenders"]]
    assert {"asked", "answer", "ranking", "findings", "cost", "data", "environment"} < shown.keys()


@pytest.mark.parametrize("form", ["csv", "png", "svg"])
def test_every_figure_is_a_file_too(folder: Path, form: str) -> None:
    written = write_report([folder], form)  # type: ignore[arg-type]
    names = {path.name for path in written.iterdir()}
    of_all = {"ranking", "differences", "all-accuracy", "all-loss", "coverage", "classes", "cost"}
    of_each = {
        f"{name}-{figure}" for name in ("a", "b", "probe-a", "scratch")
        for figure in ("confusion", "per-class", "reliability", "curves-accuracy", "curves-loss")
        if not (name == "probe-a" and figure.startswith("curves"))
    }  # fmt: skip
    assert names == {f"photos-{figure}.{form}" for figure in of_all | of_each}


def test_files_of_confusion_and_classes_hold_the_metrics(folder: Path) -> None:
    written = write_report([folder], "csv")
    metrics = read_record(ComparisonRecord, folder / "comparison.json").rows[0].metrics
    labels = [one.label for one in metrics.classes]
    with (written / "photos-a-confusion.csv").open(newline="") as file:
        cells = {(row["true class"], row["predicted class"]): int(row["images"]) for row in csv.DictReader(file)}
    assert [[cells.get((t, p), 0) for p in labels] for t in labels] == [list(row) for row in metrics.confusion]
    with (written / "photos-a-per-class.csv").open(newline="") as file:
        assert [(row["class"], int(row["n"]), float(row["F1"])) for row in csv.DictReader(file)] == [
            (one.label, one.n, one.f1) for one in metrics.classes
        ]


def test_names_that_letters_cannot_tell_apart_are_numbered_and_no_others() -> None:
    assert _keys(["a", "vgg 16", "vgg/16", "VGG-16", "b"]) == ["a", "vgg-16", "vgg-16-2", "VGG-16-3", "b"]


def test_images_are_shown_from_where_they_lie(tmp_path: Path) -> None:
    data = write_shapes(tmp_path / "shapes", 4, ("disc", "square"))
    one = contender("a", n=8, classes=("disc", "square"), accuracy=0.5)
    paths = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.*"))
    one.predictions[0].__dict__["paths"] = tuple(paths)
    (tmp_path / "run").mkdir()
    write_comparison(tmp_path / "run", [one])
    assert "The images are not shown" in write_report([tmp_path / "run"]).read_text("utf-8")
    page = write_report([tmp_path / "run"], data=data).read_text("utf-8")
    assert "The images are not shown" not in page
    assert page.count("data:image/jpeg;base64") == 8


def test_run_without_test_images_epochs_or_predictions_is_shown_in_words(tmp_path: Path) -> None:
    one = contender("a", n=60, split="validation")
    write_comparison(tmp_path, [one])
    (tmp_path / "a-0" / "metrics.jsonl").unlink()
    (tmp_path / "a-0" / "predictions.parquet").unlink()
    page = write_report([tmp_path]).read_text("utf-8")
    for words in ("which selection has touched", "There is no test split", "metrics.jsonl) were not kept",
                  "so single answers are not known", "no plan was kept", "There is one contender"):  # fmt: skip
        assert words in page


def test_single_run_is_a_comparison_of_one(folder: Path) -> None:
    facts = comparison_facts(open_folder(folder / "a-0"))
    assert [row.name for row in facts.rows] == ["a"]
    assert facts.rows[0].metrics == read_record(ComparisonRecord, folder / "comparison.json").rows[0].metrics


def test_folders_on_the_same_images_are_ranked_together(folder: Path) -> None:
    facts, _ = report_facts([folder, folder / "b-1"])
    assert facts.joint is not None
    assert facts.joint.ranking is not None
    assert len(facts.joint.ranking.rows) == 5
    page = write_report([folder, folder / "b-1"]).read_text("utf-8")
    assert 'data-figure="all-together-differences"' in page
    drawn = next(one for one in page_figures(facts) if one.name == "all-together-differences")
    assert len(drawn.rows) == len(facts.joint.pairs) == 10
    lines = write_report([folder, folder / "b-1"], "markdown").read_text("utf-8").splitlines()
    table = [line for line in lines[lines.index("## All together") :] if line.startswith("|")]
    assert [line.split(" | ")[1].replace("\\", "") for line in table[2:]] == [
        row.name for row in facts.joint.ranking.rows
    ]


def test_folders_of_one_name_are_told_apart_by_those_around_them(tmp_path: Path) -> None:
    folders = [tmp_path / "first" / "run", tmp_path / "second" / "run"]
    for folder, name in zip(folders, "ab", strict=True):
        folder.mkdir(parents=True)
        write_comparison(folder, [contender("same", right=np.arange(300)[None] % (7 if name == "a" else 9) > 0)])
    facts, _ = report_facts(folders)
    assert [one.name for one in facts.comparisons] == ["first/run", "second/run"]
    assert facts.joint is not None
    assert facts.joint.ranking is not None
    assert {row.name for row in facts.joint.ranking.rows} == {"first/run/same", "second/run/same"}
    again, _ = report_facts([folders[0], folders[0]])
    assert again.joint is not None
    assert "different names" in (again.joint.reason or "")


def test_overlaid_curves_are_all_that_their_axis_makes_room_for(folder: Path) -> None:
    facts, _ = report_facts([folder])
    figures = {one.name: one for one in page_figures(facts)}
    for quantity in ("accuracy", "loss"):
        figure = figures[f"photos-all-{quantity}"]
        colours: dict[str, set[str]] = {}
        for trace in figure.spec["data"]:
            colours.setdefault(trace["name"], set()).add(trace["line"]["color"])
            assert (trace["line"]["width"] == 1) == ("train" in trace["hovertemplate"])
        assert {name: len(own) for name, own in colours.items()} == {"a": 1, "b": 1, "scratch": 1}
        drawn = [value for trace in figure.spec["data"] for value in trace["y"] if value is not None]
        first = facts.comparisons[0].contenders[0].curves[0].stages[-1]
        assert {getattr(first, f"train_{quantity}")[-1], getattr(first, f"validation_{quantity}")[-1]} <= set(drawn)
        low, high = figure.spec["layout"]["yaxis"]["range"]
        best = min(drawn) if quantity == "loss" else max(drawn)
        assert low <= best <= high


def test_lines_and_parts_differ_to_the_eye() -> None:
    lines = [line_of(place) for place in range(32)]
    assert len({(line["color"], line["dash"]) for line in lines}) == 32
    parts = ("build", "prefix", "features", "stage 1", "stage 2", "evaluation", "isolating tests", "other")
    costs = tuple(PartCost("a-0", part, 1.0, None, None, None) for part in parts)
    drawn = cost_figure(CostFacts(costs, (), 8.0, None, None, None, None), "cost").spec["data"]
    assert len({trace["marker"]["color"] for trace in drawn}) == len(parts)


def test_costs_are_stacked_in_the_order_of_the_work_from_zero_seconds_on() -> None:
    parts = [PartCost("probe-a-0", "evaluation", 1.0, 1.0, None, None)]
    parts += [PartCost("a-0", part, 1.0, 9.0, None, None) for part in ("stage 2", "evaluation")]
    totals = tuple(PartCost("all", part, 1.0, 9.0, None, None) for part in ("stage 2", "evaluation"))
    spec = cost_figure(CostFacts(tuple(parts), totals, 3.0, None, None, None, None), "cost").spec
    assert [trace["name"] for trace in spec["data"]] == ["stage 2", "evaluation", "planned"]
    assert spec["layout"]["xaxis"]["rangemode"] == "tozero"


def test_every_colour_is_one_of_the_page_in_both_schemes_and_of_paper(folder: Path) -> None:
    style = (files("retop.report") / "templates/report.css").read_text("utf-8")
    for name in SERIES:
        assert style.count(f"--{name[1:]}:") == 2
        assert f"--{name[1:]}: {COLOURS[name]};" in style


def test_differences_are_drawn_in_points(folder: Path) -> None:
    facts, _ = report_facts([folder])
    figure = next(one for one in page_figures(facts) if one.name == "photos-differences")
    drawn = [x for trace in figure.spec["data"] for x in trace["x"]]
    assert sorted(drawn) == pytest.approx(sorted(100 * pair.difference.value for pair in facts.comparisons[0].pairs))
    assert "points" in figure.spec["layout"]["xaxis"]["title"]["text"]
    assert "%" not in figure.spec["layout"]["xaxis"]["tickformat"]


def test_what_is_hidden_from_eyes_is_not_hidden_from_ears(folder: Path) -> None:
    page = write_report([folder]).read_text("utf-8")
    assert '<span class="unseen"> of Images per class and split</span>' in page
    assert "<span hidden" not in page


def test_folders_on_other_images_are_not(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_comparison(tmp_path / "other", [contender("c", n=40)])
    facts, _ = report_facts([folder, tmp_path / "other"])
    assert facts.joint is not None
    assert facts.joint.ranking is None
    assert "measured on different images" in (facts.joint.reason or "")


def test_everything_from_outside_is_escaped(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>"
    write_comparison(tmp_path, [contender("a", n=40, classes=(hostile, "<img src=x onerror=y>"))])
    write_record(
        tmp_path / "audit.json",
        {
            "location": hostile, "images": 1, "classes": [hostile], "checked": [],
            "findings": [Finding("D01", hostile, "error", hostile, hostile, hostile, {"files": [[hostile]]})],
        },
    )  # fmt: skip
    page = write_report([tmp_path]).read_text("utf-8")
    assert "alert(1)</script>" not in page
    assert "<img src=x" not in page


def test_many_classes_become_a_heat_map(tmp_path: Path) -> None:
    classes = tuple(f"class {k}" for k in range(30))
    write_comparison(tmp_path, [contender("a", right=np.arange(300)[None] % 5 > 0, classes=classes)])
    facts, _ = report_facts([tmp_path])
    assert any(figure.spec["data"][0]["type"] == "heatmap" for figure in page_figures(facts))
    page = write_report([tmp_path]).read_text("utf-8")
    assert "Most frequent confusions" in page
    answers = facts.comparisons[0].contenders[0].answers
    assert answers is not None
    listed = set(re.findall(r'<button type="button" class="close" [^>]*data-cell="(\d+),(\d+)"', page))
    assert listed == {(str(classes.index(one.label)), str(classes.index(one.predicted))) for one in answers.errors}
    assert len(listed) > 10


def test_other_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds neither"):
        write_report([tmp_path])


def test_images_behind_columns_of_other_names_are_shown_where_they_lay_and_where_they_lie_now(tmp_path: Path) -> None:
    shapes = write_shapes(tmp_path / "shapes", 4, ("disc", "square"))
    files = sorted(shapes.rglob("*.*"))
    table = pa.table({"photo": [file.read_bytes() for file in files], "sketch": [b""] * 8, "kind": ["x"] * 8})
    pq.write_table(table, tmp_path / "shapes.parquet")
    one = contender("a", n=8, classes=("disc", "square"), accuracy=0.5)
    one.predictions[0].__dict__["paths"] = tuple(f"shapes.parquet::{number}" for number in range(8))
    (tmp_path / "run").mkdir()
    record = write_comparison(tmp_path / "run", [one])
    named = replace(record.recipe, data=replace(record.recipe.data, columns={"image": "photo", "label": "kind"}))
    there = replace(record.data, location=str(tmp_path / "shapes.parquet"))
    write_record(tmp_path / "run" / "comparison.json", replace(record, recipe=named, data=there))
    page = write_report([tmp_path / "run"]).read_text("utf-8")
    assert page.count("data:image/jpeg;base64") == 8
    (tmp_path / "moved").mkdir()
    (tmp_path / "shapes.parquet").rename(tmp_path / "moved" / "shapes.parquet")
    assert "The images are not shown" in write_report([tmp_path / "run"]).read_text("utf-8")
    moved = write_report([tmp_path / "run"], data=tmp_path / "moved" / "shapes.parquet").read_text("utf-8")
    assert moved.count("data:image/jpeg;base64") == 8
    # Class folders have no columns: what they hold is under other names, but that is said of each image.
    folders = write_report([tmp_path / "run"], data=shapes).read_text("utf-8")
    assert "The images are not shown" not in folders
    assert "Not shown: shapes.parquet::" in folders


def test_heat_maps_are_made_on_request_and_shown(tmp_path: Path, small_weights: Path) -> None:
    import retop
    from retop.events import ignore
    from retop.records import HeatMapRecord

    data = write_shapes(tmp_path / "shapes", 12, ("disc", "square"))
    retop.train(
        data, "test_resnet", weights=small_weights, settings={"stage1.epochs": 1, "stage2.epochs": 0, "thaw": "none"},
        out=tmp_path / "run", listener=ignore,
    )  # fmt: skip
    without = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "where test_resnet looked for" not in without
    assert "heat map" not in without
    page = retop.write_report(tmp_path / "run", explain=True).read_text("utf-8")
    record = read_record(HeatMapRecord, tmp_path / "run" / "test_resnet-0" / "heatmaps" / "heatmaps.json")
    assert record.maps
    assert page.count('alt="Grad-CAM: where test_resnet looked for') >= len(record.maps)
    assert page.count("from blue over green and yellow to red") == 1
    # A file that has become another one is neither shown nor explained as if it were what was answered.
    changed = record.maps[0].path
    (data / changed).write_bytes((data / record.maps[1].path).read_bytes())
    after = retop.write_report(tmp_path / "run", explain=True).read_text("utf-8")
    assert f"{changed} is no longer the file that the run read" in after
    left = read_record(HeatMapRecord, tmp_path / "run" / "test_resnet-0" / "heatmaps" / "heatmaps.json")
    assert [one.path for one in left.maps] == [one.path for one in record.maps if one.path != changed]
    # Nor does one that is gone keep the others from being explained.
    (data / changed).unlink()
    assert f"{changed}: the file is no longer there" in retop.write_report(tmp_path / "run", explain=True).read_text()
    again = read_record(HeatMapRecord, tmp_path / "run" / "test_resnet-0" / "heatmaps" / "heatmaps.json")
    assert again.maps == left.maps


def test_findings_that_differ_only_in_what_was_seen_stand_together(tmp_path: Path) -> None:
    alike = [Finding("R07", "noise", "note", f"{name}: seen", "why", "fix") for name in ("a", "b")]
    other = Finding("R05", "too high", "warning", "seen", "why", "another fix")
    assert group_findings([alike[0], other, alike[1]]) == [alike, [other]]


def test_of_very_many_pairs_those_of_the_recommended_are_drawn_and_all_are_listed(tmp_path: Path) -> None:
    names = [f"network {place}" for place in range(7)]
    write_comparison(tmp_path, [contender(name, accuracy=0.7 + 0.04 * k) for k, name in enumerate(names)])
    facts, _ = report_facts([tmp_path])
    figure = next(one for one in page_figures(facts) if one.name.endswith("differences"))
    drawn = [name for trace in figure.spec["data"] for name in trace["y"]]
    assert len(drawn) == 6
    assert all(str(facts.comparisons[0].recommended) in name for name in drawn)
    assert len(figure.rows) == 21
