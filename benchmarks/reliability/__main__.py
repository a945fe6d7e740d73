"""`make reliability`: kill, damage, starve and deceive retop, and write what came of it.

    python benchmarks/reliability                       all sections, in full: an hour or two on two cores
    python benchmarks/reliability --sections kills,disks --share 0.1

Each section writes ``benchmarks/results/reliability-<section>.json``, and ``reliability-<section>-<share>.json`` where
it was a part of the full number. docs/reliability.md holds the figures.
"""

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def kills(work: Path, share: float) -> dict[str, Any]:
    """R1, C3: at least 100 SIGKILLs, 36 of them inside a save."""
    from kills import kill_and_resume

    return kill_and_resume(work, max(6, round(104 * share)), max(2, round(36 * share)))


def damaged(work: Path, share: float) -> dict[str, Any]:
    """R2: 1,000 damaged checkpoints."""
    from damage import damage_checkpoints

    return damage_checkpoints(work, max(10, round(1000 * share)), max(1, round(5 * share)))


def disks(work: Path, share: float) -> dict[str, Any]:
    """R3: the disk is full at 50 writes of all kinds."""
    from full_disk import can_mount, fill_disks

    if not can_mount(work / "try"):
        return {"skipped": "this process may not mount a small file system (root is needed)"}
    return fill_disks(work, max(2, round(50 * share)))


def folders(work: Path, share: float) -> dict[str, Any]:
    """S1, S2, S3: 100,000 changed model folders."""
    from fuzzing import fuzz

    return fuzz(work, max(300, round(100_000 * share)))


def claims(work: Path, share: float) -> dict[str, Any]:
    """R3, R5 to R8, S2, S3, C2, C3, and faults: what tests show by injecting it."""
    from claims import run_claims

    return run_claims(work)


def overhead(work: Path, share: float) -> dict[str, Any]:
    """What checkpoints and determinism cost."""
    from overhead import measure_overhead, rounds

    return measure_overhead(work, rounds(share))


SECTIONS: dict[str, Callable[[Path, float], dict[str, Any]]] = {
    "kills": kills, "damaged": damaged, "disks": disks, "folders": folders, "claims": claims,
    "overhead": overhead,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--share", type=float, default=1.0, help="of the full numbers")
    given = parser.parse_args()
    # timm and hypothesis say things about networks and folders that nobody means to use.
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(Path(__file__).parent))
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    import torch
    from section import write_section

    torch.set_num_threads(1)
    broken = []
    for name in given.sections.split(","):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="retop-reliability-") as work:
            found = SECTIONS[name](Path(work), given.share)
        part = "" if given.share == 1 else f"-{given.share:g}"
        write_section(f"reliability-{name}{part}", found, time.monotonic() - started)
        broken += [name] if is_broken(found) else []
    if broken:
        sys.exit(f"not as it should be: {', '.join(broken)}")


def is_broken(found: dict[str, Any]) -> bool:
    """Whether a section found what must not be: another result, another ending, or a test that failed."""
    failed = any(claim.get("failed") for claim in found.values() if isinstance(claim, dict))
    passed_over = found.get("the one before was used", 0) != found.get("damaged", 0)
    wrong = [found.get(name) for name in ("different", "other endings", "did not come", "temporary files left")]
    return any(wrong) or failed or passed_over


if __name__ == "__main__":
    main()
