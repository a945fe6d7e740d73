"""Does the diagnosis name planted faults, and keep silent about healthy runs?

python benchmarks/diagnosis.py --half judging      all runs of that half; goes on where it was interrupted
python benchmarks/diagnosis.py --table             the table of what is there

Every run is a real training of a small pretrained network on real images; results are appended to
benchmarks/results/diagnosis.jsonl. A fault counts as found if one of the findings that name it is made, suspected or
not. A healthy run counts as a false alarm if it has any warning or error.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import retop
from diagnosis_data import DataSet, draw, shared_folder, usable, write
from diagnosis_faults import FAULTS, Fault
from retop.errors import RetopError
from retop.evaluation import wilson_interval
from retop.events import ignore

RESULTS = Path(__file__).resolve().parent / "results" / "diagnosis.jsonl"
SIZES = {"train": 40, "validation": 40, "test": 40}
HEALTHY = Fault("healthy", ())
BACKBONE = "mobilenetv2_035"
INPUT_PIXELS = 96
STOPPED = "DivergedError"
"""A run that stops with this error names its fault itself."""

Result = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One run."""

    fault: Fault
    data: DataSet
    seed: int

    @property
    def key(self) -> str:
        """What identifies it among the results."""
        return f"{self.fault.name}; {self.data.name}; {self.seed}"


def trials(half: str, per_fault: int, num_healthy: int) -> Iterator[Trial]:
    """All runs of a half: data sets and seeds take turns."""
    data = usable(half)
    for place in range(num_healthy):
        yield Trial(HEALTHY, data[place % len(data)], place)
    for place in range(per_fault):
        for fault in FAULTS:
            yield Trial(fault, data[place % len(data)], place)


def small_weights(folder: Path) -> Path:
    """The pretrained network for small images."""
    source = shared_folder() / "weights" / BACKBONE
    config = json.loads((source / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, INPUT_PIXELS, INPUT_PIXELS]
    (folder / BACKBONE).mkdir(parents=True)
    (folder / BACKBONE / "config.json").write_text(json.dumps(config))
    (folder / BACKBONE / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


def run(trial: Trial, weights: Path) -> Result:
    """Train, diagnose, and say what was found."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="retop-diagnosis-") as place:
        folder = Path(place)
        generator = np.random.default_rng(trial.seed)
        # Sizes differ between runs, as those of users do.
        sizes = {split: int(number * generator.uniform(0.8, 1.6)) for split, number in SIZES.items()}
        splits = trial.fault.plant(draw(trial.data, sizes | trial.fault.sizes, trial.seed), generator)
        data = write(splits, folder / "data")
        try:
            with trial.fault.training():
                retop.train(
                    data,
                    "retop_scratch" if trial.fault.weights else BACKBONE,
                    weights=trial.fault.weights or weights,
                    settings=trial.fault.settings,
                    seeds=[trial.seed],
                    out=folder / "run",
                    cache=folder / "cache",
                    listener=ignore,
                )
            other = trial.fault.after(folder / "run", data)
            found = retop.diagnose(folder / "run", predictions=[other] if other else [])
            codes = {finding.code: finding.severity for finding in found}
        except RetopError as error:
            # A run that stops with an error names its fault itself.
            codes = {type(error).__name__: "error"}
    return {
        "key": trial.key, "fault": trial.fault.name, "data": trial.data.name, "half": trial.data.half,
        "seed": trial.seed, "found": codes, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


def table(results: Sequence[Result]) -> str:
    """Rates with their intervals, one half after the other."""
    lines = []
    for half in ("tuning", "judging"):
        own = [one for one in results if one["half"] == half]
        if not own:
            continue
        lines += [f"\n{half} half\n", "| fault | named by | found | rate, 95 % interval |", "|---|---|---|---|"]
        for fault in FAULTS:
            tried = [one for one in own if one["fault"] == fault.name]
            right = sum(any(code in one["found"] for code in (*fault.named_by, STOPPED)) for one in tried)
            lines.append(_row(fault.name, ", ".join(fault.named_by), right, len(tried)))
        tried = [one for one in own if one["fault"] == HEALTHY.name]
        alarmed = [one for one in tried if set(one["found"].values()) - {"note"}]
        lines.append(_row("healthy: false alarms", "any warning", len(alarmed), len(tried)))
        for one in alarmed:
            graver = [code for code, severity in one["found"].items() if severity != "note"]
            lines.append(f"\n- {one['key']}: {', '.join(graver)}")
    return "\n".join(lines)


def _row(name: str, codes: str, number: int, n: int) -> str:
    if not n:
        return f"| {name} | {codes} | not run | |"
    one = wilson_interval(number, n)
    rate = f"{100 * one.value:.0f} % ({100 * one.low:.0f} to {100 * one.high:.0f})"
    return f"| {name} | {codes} | {number} of {n} | {rate} |"


def main() -> None:
    """Run what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("tuning", "judging"), default="judging")
    parser.add_argument("--per-fault", type=int, default=20)
    parser.add_argument("--healthy", type=int, default=100)
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    done = [json.loads(line) for line in options.results.read_text().splitlines()] if options.results.exists() else []
    if not options.table:
        known = {one["key"] for one in done}
        with tempfile.TemporaryDirectory(prefix="retop-diagnosis-weights-") as place:
            weights = small_weights(Path(place))
            for trial in trials(options.half, options.per_fault, options.healthy):
                if trial.key in known or options.only not in trial.fault.name:
                    continue
                done.append(run(trial, weights))
                with options.results.open("a") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                print(done[-1]["key"], done[-1]["found"], f"{done[-1]['seconds']} s", flush=True)
    print(table(done))


if __name__ == "__main__":
    main()
