"""Does the diagnosis name planted faults, and keep silent about healthy runs?

python benchmarks/diagnosis.py --half judging      all runs of that half; goes on where it was interrupted
python benchmarks/diagnosis.py --again             applies the rules as they are now to the runs that were made
python benchmarks/diagnosis.py --table             the table of what is there; --summary FILE keeps it as JSON

Every run is a real training of a small pretrained network on real images; results are appended to
benchmarks/results/diagnosis.jsonl. A fault counts as named if one of the findings that stand for it is made. Whether
the fault came about is measured apart from the rules (`Fault.present`). "Others, too" counts runs with a warning or an
error beside those that stand for the fault. A healthy run counts as a false alarm if it
has any warning or error.
"""

import argparse
import dataclasses
import datetime
import json
import multiprocessing
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diagnosis_data import DataSet, usable
from diagnosis_faults import FAULTS
from diagnosis_runs import HEALTHY, Result, Site, apply_rules, evidence_file
from hardware import describe_hardware
from retop.evaluation import wilson_interval

RESULTS = Path(__file__).resolve().parent / "results" / "diagnosis.jsonl"
STOPPED = "DivergedError"
"""A run that stops with this error names its fault itself."""
Known = set[tuple[str, str, int]]


def sites(half: str, first: int, most: int) -> Iterator[tuple[DataSet, int]]:
    """Data sets and seeds take turns; all runs of a site share its images and its store."""
    data = usable(half)
    for place in range(most):
        yield data[place % len(data)], first + place


def work(options: argparse.Namespace, share: int, known: Known) -> None:
    """One process's share of the runs."""
    import torch

    torch.set_num_threads(1)
    for data, seed in sites(options.half, options.first_seed, max(options.per_fault, options.healthy)):
        place = seed - options.first_seed
        wanted = [fault for fault in FAULTS if place < options.per_fault]
        wanted += [HEALTHY] if place < options.healthy else []
        wanted = [one for one in wanted if options.only in one.name and (one.name, data.name, seed) not in known]
        if seed % options.jobs != share or not wanted:
            continue
        with tempfile.TemporaryDirectory(prefix="retop-diagnosis-") as folder:
            site = Site(data, seed, Path(folder), options.evidence)
            for fault in wanted:
                result = site.run(fault)
                with options.results.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                about = "" if result["present"] else "NOT PRESENT"
                print(fault.name, data.name, seed, result["found"], f"{result['seconds']} s", about, flush=True)


def rates(results: Sequence[Result], half: str) -> list[dict[str, Any]]:
    """Counts and rates with their intervals: one row for each fault, and one for the healthy runs."""
    own = [one for one in results if one["half"] == half]
    rows = []
    for fault in FAULTS:
        standing = {*fault.named_by, STOPPED}
        tried = [one for one in own if one["fault"] == fault.name]
        named = [one for one in tried if standing & set(one["found"])]
        others = [one for one in tried if any(one["found"][code] != "note" for code in set(one["found"]) - standing)]
        rows.append({
            "fault": fault.name, "named by": list(fault.named_by), "runs": len(tried),
            "came about": sum(one["present"] for one in tried), "of these named": sum(one["present"] for one in named),
            "named": len(named), **_interval(len(named), len(tried)), "others, too": len(others),
        })  # fmt: skip
    tried = [one for one in own if one["fault"] == HEALTHY.name]
    alarmed = [one for one in tried if _graver(one)]
    warned = [{"data": one["data"], "seed": one["seed"], "by": _graver(one)} for one in alarmed]
    rows.append({"fault": HEALTHY.name, "runs": len(tried), "named": len(alarmed),
                 **_interval(len(alarmed), len(tried)), "warned of": warned})  # fmt: skip
    return rows


def table(results: Sequence[Result]) -> str:
    """The rates as Markdown, one half after the other."""
    lines = []
    for half in sorted({one["half"] for one in results}, reverse=True):
        lines += [
            f"\n{half} half\n",
            "| fault | named by | runs | came about | of these named | named | rate, 95 % interval | others, too |",
            "|---|---|---|---|---|---|---|---|",
        ]
        *faults, healthy = rates(results, half)
        for row in faults:
            counts = " | ".join(str(row[name]) for name in ("runs", "came about", "of these named", "named"))
            lines.append(f"| {row['fault']} | {', '.join(row['named by'])} | {counts} | {_shown(row)} | "
                         f"{row['others, too']} |")  # fmt: skip
        lines.append(f"| none (healthy): false alarms | any warning | {healthy['runs']} | | | {healthy['named']} | "
                     f"{_shown(healthy)} | |")  # fmt: skip
        lines += [f"\n- {one['data']}, seed {one['seed']}: {', '.join(one['by'])}" for one in healthy["warned of"]]
    return "\n".join(lines)


def summary(results: Sequence[Result], options: argparse.Namespace) -> dict[str, Any]:
    """What is kept of a whole draw: how it was made, and its rates."""
    seeds = [one["seed"] for one in results]
    return {
        "date": datetime.date.today().isoformat(),
        "command": f"python benchmarks/diagnosis.py --half {options.half} --first-seed {options.first_seed} "
        f"--per-fault {options.per_fault} --healthy {options.healthy}",
        "rules applied again": options.again,
        "retop": version("retop"),
        "packages": {name: version(name) for name in ("torch", "timm", "numpy", "scipy")},
        "hardware": dataclasses.asdict(describe_hardware()),
        "seeds": [min(seeds), max(seeds)],
        "data": sorted({one["data"] for one in results}),
        "rates": rates(results, options.half),
    }


def _interval(number: int, n: int) -> dict[str, float | None]:
    if not n:
        return {"rate": None, "low": None, "high": None}
    one = wilson_interval(number, n)
    return {"rate": round(one.value, 4), "low": round(one.low, 4), "high": round(one.high, 4)}


def _shown(row: dict[str, Any]) -> str:
    if not row["runs"]:
        return "not run"
    return f"{100 * row['rate']:.0f} % ({100 * row['low']:.0f} to {100 * row['high']:.0f})"


def _graver(result: Result) -> list[str]:
    return [code for code, severity in result["found"].items() if severity != "note"]


def read_results(file: Path) -> list[Result]:
    """What earlier processes left."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def apply_again(options: argparse.Namespace) -> None:
    """Results of the rules as they are now, from what earlier runs left."""
    results = read_results(options.results)
    for one in results:
        kept = evidence_file(options.evidence, one["fault"], one["data"], one["seed"])
        if kept.exists():
            # Only this benchmark writes these files, and they never leave the machine.
            one["found"] = apply_rules(pickle.loads(kept.read_bytes()))
    options.results.write_text("".join(json.dumps(one) + "\n" for one in results))


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("tuning", "judging"), default="judging")
    parser.add_argument("--per-fault", type=int, default=20)
    parser.add_argument("--healthy", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0, help="for draws of images that no rule has seen")
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--evidence", type=Path, default=RESULTS.with_name("diagnosis-evidence"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--summary", type=Path, help="also write the rates there, as JSON")
    options = parser.parse_args()
    if options.again:
        apply_again(options)
    elif not options.table:
        known = {(one["fault"], one["data"], one["seed"]) for one in read_results(options.results)}
        start = multiprocessing.get_context("spawn")
        jobs = [start.Process(target=work, args=(options, share, known)) for share in range(options.jobs)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
    results = read_results(options.results)
    print(table(results))
    if options.summary:
        kept = summary([one for one in results if one["half"] == options.half], options)
        options.summary.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
