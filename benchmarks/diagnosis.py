"""Does the diagnosis name planted faults, and keep silent about healthy runs?

python benchmarks/diagnosis.py --half judging      all runs of that half; goes on where it was interrupted
python benchmarks/diagnosis.py --again             applies the rules as they are now to the runs that were made
python benchmarks/diagnosis.py --table             the table of what is there

Every run is a real training of a small pretrained network on real images; results are appended to
benchmarks/results/diagnosis.jsonl. A fault counts as named if one of the findings that stand for it is made. Whether
the fault came about is measured apart from the rules (`Fault.present`). "Others, too" counts runs with a warning or an
error beside those that stand for the fault. A healthy run counts as a false alarm if it
has any warning or error.
"""

import argparse
import json
import multiprocessing
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from diagnosis_data import DataSet, usable
from diagnosis_faults import FAULTS
from diagnosis_runs import HEALTHY, Result, Site, apply_rules, evidence_file
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


def table(results: Sequence[Result]) -> str:
    """Rates with their intervals, one half after the other."""
    lines = []
    for half in ("tuning", "judging"):
        own = [one for one in results if one["half"] == half]
        if not own:
            continue
        lines += [
            f"\n{half} half\n",
            "| fault | named by | runs | came about | of these named | named | rate, 95 % interval | others, too |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for fault in FAULTS:
            tried = [one for one in own if one["fault"] == fault.name]
            named = [one for one in tried if any(code in one["found"] for code in (*fault.named_by, STOPPED))]
            others = sum(
                any(one["found"][code] != "note" for code in set(one["found"]) - {*fault.named_by, STOPPED})
                for one in tried
            )
            present, of_these = (sum(one["present"] for one in some) for some in (tried, named))
            lines.append(f"| {fault.name} | {', '.join(fault.named_by)} | {len(tried)} | {present} | {of_these} | "
                         f"{len(named)} | {_rate(len(named), len(tried))} | {others} |")  # fmt: skip
        tried = [one for one in own if one["fault"] == HEALTHY.name]
        alarmed = [one for one in tried if set(one["found"].values()) - {"note"}]
        lines.append(f"| none (healthy): false alarms | any warning | {len(tried)} | | | {len(alarmed)} | "
                     f"{_rate(len(alarmed), len(tried))} | |")  # fmt: skip
        lines += [f"\n- {one['data']}, seed {one['seed']}: {_graver(one)}" for one in alarmed]
    return "\n".join(lines)


def _rate(number: int, n: int) -> str:
    if not n:
        return "not run"
    one = wilson_interval(number, n)
    return f"{100 * one.value:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f})"


def _graver(result: Result) -> str:
    return ", ".join(code for code, severity in result["found"].items() if severity != "note")


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
    print(table(read_results(options.results)))


if __name__ == "__main__":
    main()
