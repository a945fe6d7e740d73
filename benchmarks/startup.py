"""How long the command, the package and each pocket backbone take to be there, each time in a process of its own.

    python benchmarks/startup.py [--rounds 15]

A backbone's time begins where torch and timm are imported and ends where the network holds its weights, so that
importing what builds it counts too.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

from hardware import describe_hardware
from retop.backbones import embedded_backbones
from spec import write_json

HERE = Path(__file__).resolve().parent
LOADING = """
import time, torch, timm
start = time.perf_counter()
from retop.backbones import build_backbone
build_backbone({name!r})
print(time.perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="processes for each figure; default: 15")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "startup.json")
    chosen = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = Path(sys.executable).with_name("retop")
    measured: dict[str, list[float]] = {"python -c pass": [], "import retop": [], "retop --help": []}
    measured |= {name: [] for name in embedded_backbones()}
    # The first round compiles what is not compiled yet and is not counted; rounds go over all, so that a slow minute
    # of the machine falls on all of them.
    for number in range(chosen.rounds + 1):
        for name, seconds in measured.items():
            taken = _measure(name, command)
            if number:
                seconds.append(taken)
    rows = {
        name: {"median_s": statistics.median(taken), "least_s": min(taken), "most_s": max(taken), "n": len(taken)}
        for name, taken in measured.items()
    }
    threads = os.environ.get("OMP_NUM_THREADS")
    hardware = describe_hardware()
    write_json(chosen.out, {"date": str(date.today()), "hardware": vars(hardware), "threads": threads, "seconds": rows})
    print("| | median, ms | least | most | n |\n|---|--:|--:|--:|--:|")
    for name, row in rows.items():
        figures = " | ".join(f"{1000 * row[key]:.0f}" for key in ("median_s", "least_s", "most_s"))
        print(f"| {name} | {figures} | {row['n']} |")


def _measure(name: str, command: Path) -> float:
    if name in ("python -c pass", "import retop", "retop --help"):
        whole = {"retop --help": [str(command), "--help"]}
        code = "pass" if name.startswith("python") else name
        start = time.perf_counter()
        subprocess.run(whole.get(name, [sys.executable, "-c", code]), check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start
    return float(subprocess.check_output([sys.executable, "-c", LOADING.format(name=name)]))


if __name__ == "__main__":
    main()
