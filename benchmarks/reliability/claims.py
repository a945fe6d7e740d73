"""Bars that tests show: real signals, real limits of memory, closed folders, values that are not finite."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

CHECKOUT = Path(__file__).resolve().parents[2]
FAULTS = "tests/unit/pipeline/test_faults.py"
CLAIMS = {
    "R3 folders that are closed, deleted, limited": (
        f"{FAULTS}::test_a_folder_that_cannot_be_written_any_more_is_one_error_and_loses_nothing",
        f"{FAULTS}::test_a_run_whose_folder_is_deleted_says_so",
        "tests/e2e/test_interruptions.py::test_a_file_that_the_system_does_not_let_grow_is_one_error_and_loses_nothing",
        "tests/unit/records/test_quota.py",
    ),
    "R4 what a killed save leaves": ("tests/unit/records/test_partial_files.py",),
    "R5 Ctrl-C and SIGTERM": (
        "tests/unit/test_stopping.py",
        "tests/e2e/test_interruptions.py::test_a_run_stopped_in_stage_2_and_resumed_equals_the_uninterrupted_one",
        "tests/e2e/test_interruptions.py::test_a_second_ctrl_c_leaves_at_once_with_one_line_and_without_damage",
        f"{FAULTS}::test_a_stop_while_the_head_is_calibrated_comes_before_any_step_and_changes_nothing",
    ),
    "R6 not finite: loss, gradient, weights": (
        f"{FAULTS}::test_what_is_not_finite_is_named_rolled_back_once_and_never_saved",
    ),
    "R7 out of memory": (
        f"{FAULTS}::test_without_memory_for_a_batch_its_parts_make_the_same_step",
        f"{FAULTS}::test_without_memory_for_one_image_the_way_out_is_named",
        "tests/unit/training/test_step.py",
        "tests/unit/training/test_optimiser_memory.py",
        "tests/unit/pipeline/test_memory_need.py",
        "tests/unit/backbones/test_footprint.py",
        "tests/unit/test_room.py",
    ),
    "R8 seeds and contents alone": ("tests/parity/test_determinism.py", "tests/parity/test_resuming.py"),
    "what fails after training costs none of it": (
        f"{FAULTS}::test_a_failure_after_training_keeps_what_was_trained",
        f"{FAULTS}::test_a_stop_in_the_evaluation_keeps_what_was_trained",
        "tests/unit/training/test_isolation.py::test_a_test_that_fails_is_named_and_nothing_else_is_lost",
    ),
    "store damaged, evicted or deleted in use": ("tests/unit/activations/test_store.py",),
    "an image that vanishes": (f"{FAULTS}::test_an_image_that_vanishes_is_named",),
    "a decoder that is killed": ("tests/e2e/test_server.py::test_a_decoder_that_is_killed_is_replaced",),
    "another process": (
        f"{FAULTS}::test_a_second_process_is_told_who_is_at_work_and_a_dead_one_holds_nothing",
        "tests/e2e/test_interruptions.py::test_ctrl_c_says_how_to_go_on_and_a_second_process_is_told_who_is_at_work",
    ),
    "S2, S3 hostile folders, and those of every version": ("tests/unit/artifact/test_hostile_folders.py",),
    "C2, C3 one run fails; nothing is made twice": (
        "tests/e2e/test_commands.py::test_compare_ranks_what_finished_and_names_what_failed",
        "tests/e2e/test_commands.py::test_the_same_comparison_again_makes_no_run_again",
        "tests/unit/comparison/test_schedule.py",
    ),
}  # fmt: skip


def run_claims(work: Path, claims: Mapping[str, Sequence[str]] = CLAIMS) -> dict[str, Any]:
    """Run the tests of every claim, the slow ones too.

    Args:
        work: an empty folder.
        claims: tests by claim.

    Returns:
        By claim: tests that passed, failed, and were left out because the machine lacks something.
    """
    found: dict[str, Any] = {}
    for claim, tests in claims.items():
        report = work / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "not gpu", "-p", "no:randomly", f"--junitxml={report}"]
        done = subprocess.run([*command, *tests], cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=False)
        suite = ElementTree.parse(report).getroot()[0].attrib
        failed, skipped = int(suite["failures"]) + int(suite["errors"]), int(suite["skipped"])
        # A test that is named here and does not exist leaves a report of none.
        failed += done.returncode != 0 and failed == 0
        found[claim] = {
            "passed": int(suite["tests"]) - failed - skipped,
            "failed": failed,
            "left out": skipped,
        }
        print(f"{claim}: {found[claim]}", flush=True)
    return found
