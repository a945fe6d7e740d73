"""The table of the fault-injection benchmark says what its results say."""

import json
from pathlib import Path

import pytest

from retop.evaluation import wilson_interval

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
ROWS = json.loads((BENCHMARKS / "results" / "diagnosis-judging.json").read_text("utf-8"))["rates"]


@pytest.mark.parametrize("row", ROWS, ids=[row["fault"] for row in ROWS])
def test_the_table_of_faults_is_that_of_the_results(row: dict[str, object]) -> None:
    interval = wilson_interval(int(str(row["named"])), int(str(row["runs"])))
    assert [row["rate"], row["low"], row["high"]] == [
        round(value, 4) for value in (interval.value, interval.low, interval.high)
    ]
    shown = f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f})"
    healthy = row["fault"] == "healthy"
    cells = [row["runs"], "", "", row["named"]] if healthy else [
        row[name] for name in ("runs", "came about", "of these named", "named")
    ]  # fmt: skip
    begin = "none (healthy)" if healthy else f"{row['fault']} |"
    lines = [line for line in (BENCHMARKS / "README.md").read_text("utf-8").splitlines() if f"| {begin}" in line]
    found = [cell.strip() for cell in lines[0].split("|")[3:8]]
    assert found == [*(str(cell) for cell in cells), shown]
